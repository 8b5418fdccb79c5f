"""Which rules of docs/report.md are about pretraining and curves, and which tests check them?"""

from __future__ import annotations

from collections.abc import Mapping

HERE = "tests/dashboards"
SOONER, STATED = f"{HERE}/evidence/test_sooner.py", f"{HERE}/evidence/test_paper_t5.py"
OVER = f"{HERE}/report/test_over_training.py"

RULES: Mapping[str, tuple[str, ...]] = {
    # how much sooner than base
    "After how many of its steps does a run that learns have the last loss of a base run?": (
        f"{SOONER}::test_rows_that_learn_are_told_in_every_column_that_has_base_and_no_others",
        f"{SOONER}::test_runs_with_few_evaluations_are_not_read",
        f"{SOONER}::test_a_metric_that_should_rise_has_none",
        f"{SOONER}::test_a_diverged_run_counts_with_the_worst_loss_at_every_step_and_a_failed_one_leaves_its_seed_out",
    ),
    "1. Base's last loss on a seed stands against": (
        f"{SOONER}::test_a_row_that_does_in_one_step_what_base_does_in_so_many_needs_so_many_times_fewer",
    ),
    "2. The 95% interval holds the ratios": (
        f"{SOONER}::test_the_interval_holds_just_the_steps_that_the_test_does_not_reject",
        f"{SOONER}::test_few_seeds_give_a_ratio_and_no_interval",
    ),
    "3. A curve counts as it is and not by its best so far": (
        f"{SOONER}::test_a_row_that_ends_above_base_has_not_reached_it_whatever_its_curve_had_before",
        f"{SOONER}::test_where_a_curve_rises_and_falls_again_the_step_from_which_on_it_is_no_worse_counts",
        f"{SOONER}::test_a_row_that_has_it_at_its_first_evaluation_is_told_as_more_than_could_be_read",
    ),
    "4. The same in compute time": (
        f"{SOONER}::test_a_row_that_does_in_one_step_what_base_does_in_so_many_needs_so_many_times_fewer",
    ),
    "5. If base was, in the mean over the seeds, at or below its last loss": (
        f"{SOONER}::test_it_is_told_where_base_itself_had_its_last_loss_long_before_and_rose_again",
    ),
    "says it of the claim's challenger, or among the paper's statements": (
        f"{SOONER}::test_the_terminal_tells_it_of_the_challenger_where_the_paper_states_nothing",
        f"{SOONER}::test_scripts_get_it_with_the_verdict_and_with_the_whole_answer",
    ),
    # the paper's statements on pretraining
    "A study whose base config states an objective": (
        f"{STATED}::test_a_study_pretrains_by_its_base_config",
        f"{STATED}::test_the_page_the_markdown_the_terminal_and_scripts_have_all_of_it",
        f"{STATED}::test_deviations_are_from_the_paper_s_pretraining",
    ),
    "- α (Figure F.2)": (
        f"{STATED}::test_of_alpha_the_settings_that_beat_base_are_counted_with_by_how_much",
        f"{STATED}::test_none_that_beats_base_is_as_in_the_paper_and_another_than_the_lowest_is_not",
        f"{STATED}::test_on_six_fresh_seeds_the_test_decides",
    ),
    "- β1 (Figure F.3)": (
        f"{STATED}::test_of_beta1_static_and_learned_rows_stand_against_base_and_its_own_spread",
        f"{STATED}::test_a_row_further_from_base_than_bases_own_runs_looks_otherwise",
        f"{STATED}::test_rows_on_six_seeds_are_tested",
    ),
    "- α and β1 (Figure 3)": (f"{STATED}::test_three_times_is_judged_by_the_interval",),
    'only "looks" as in the paper': (
        f"{STATED}::test_none_that_beats_base_is_as_in_the_paper_and_another_than_the_lowest_is_not",
    ),
    # figures
    "**Loss over training**": (
        f"{OVER}::test_every_setting_of_a_guided_grid_is_drawn_over_training_beside_base_and_the_chosen_one_is_known",
        f"{OVER}::test_a_column_without_a_search_has_the_means_over_the_fresh_seeds_that_all_its_rows_have",
        f"{OVER}::test_where_no_run_was_evaluated_six_times_nothing_is_drawn_over_training",
        f"{OVER}::test_a_loss_that_falls_by_more_than_a_decade_is_drawn_on_a_logarithmic_axis",
    ),
    "**Dev and train loss by repeats**": (
        f"{OVER}::test_dev_and_train_loss_are_told_by_how_often_the_text_is_read",
    ),
}
