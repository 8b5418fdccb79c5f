"""Which rules of docs/report.md are about averages and tasks, and which tests check them?"""

from __future__ import annotations

from collections.abc import Mapping

HERE = "tests/dashboards/evidence"
AVERAGE, COUNTED = f"{HERE}/test_average.py", f"{HERE}/test_tasks.py"
RANKING = f"{HERE}/test_ranking.py"
TABLES, PREPARED = f"{HERE}/test_task_tables.py", f"{HERE}/test_prepared.py"

RULES: Mapping[str, tuple[str, ...]] = {
    "8. An average: on every seed the mean over all columns": (
        f"{AVERAGE}::test_the_pairs_are_the_means_over_columns_and_the_sign_flip_test_is_of_them",
        f"{AVERAGE}::test_it_is_supported_refuted_and_undecided_by_these_means",
    ),
    "A seed that lacks a value in one of the columns is left out": (
        f"{AVERAGE}::test_a_seed_that_lacks_a_value_in_a_column_is_left_out_and_told",
    ),
    "an arm that runs begin with counts in each of them": (
        f"{AVERAGE}::test_cost_is_summed_over_the_columns_with_a_pretraining_in_each",
    ),
    "with the worst value of its column": (
        f"{AVERAGE}::test_a_diverged_run_counts_with_the_worst_value_of_its_column",
    ),
    "**Columns that are tasks.**": (
        f"{COUNTED}::test_tasks_are_counted_by_their_mean_and_chance_is_the_binomial_tail",
        f"{COUNTED}::test_with_enough_pairs_those_that_differ_after_holm_are_named",
    ),
    "with six seeds none of three columns can": (
        f"{COUNTED}::test_with_six_pairs_no_task_of_three_can_differ_after_holm_and_that_is_said",
    ),
    "so whole seeds are swapped, in all columns": (
        f"{COUNTED}::test_whole_seeds_are_swapped_in_all_tasks_at_once",
        f"{COUNTED}::test_tasks_that_rise_and_fall_together_are_no_independent_coins",
    ),
    "a seed stands for both, and intervals hold the spread of both": (
        f"{AVERAGE}::test_runs_of_one_pretraining_run_are_not_told_to_hold_its_spread",
    ),
    "none for the average": (f"{AVERAGE}::test_controls_are_told_by_column_and_none_of_the_average",),
    "A study whose columns are tasks and whose objective is `score`": (
        f"{COUNTED}::test_columns_are_tasks_where_each_has_one_of_its_own",
        f"{TABLES}::test_the_last_column_is_the_mean_over_the_others_seed_by_seed_with_its_interval",
        f"{TABLES}::test_a_row_that_lacks_a_column_has_no_average_and_a_seed_that_lacks_one_is_left_out",
        f"{TABLES}::test_tasks_are_lines_in_the_terminal_markdown_and_latex",
    ),
    "The row *commonest answer*": (
        f"{TABLES}::test_always_saying_the_commonest_is_a_row_with_no_seeds",
        f"{TABLES}::test_without_what_runs_report_of_it_there_is_no_such_row",
    ),
    "A second table has the best of the seeds": (
        f"{TABLES}::test_the_best_of_the_seeds_stands_in_a_table_of_its_own",
    ),
    "*Metric by metric* has the mean and the best": (
        f"{TABLES}::test_each_metric_of_a_task_has_its_mean_and_best",
        f"{TABLES}::test_what_a_run_reports_of_itself_is_no_metric",
    ),
    "Where columns are tasks of GLUE, SuperGLUE or SQuAD": (
        f"{TABLES}::test_beside_the_paper_s_tasks_stand_its_numbers_under_the_heads_that_they_belong_to",
        f"{TABLES}::test_the_paper_s_fifteen_of_eighteen_is_counted_with_how_often_chance_gives_as_much",
        f"{TABLES}::test_what_is_wrong_in_the_paper_s_tables_is_told_beside_its_tasks_alone",
    ),
    "Where there are more rows than columns, and more than six, the rows are the lines": (
        f"{RANKING}::test_many_rows_of_few_columns_are_lines_and_their_average_is_a_column",
    ),
    "*The ranking* of such a study": (
        f"{RANKING}::test_rows_stand_by_their_average_with_their_difference_from_the_challenger_and_holm_over_rows",
        f"{RANKING}::test_a_row_without_an_average_is_named_and_not_ranked",
        f"{RANKING}::test_a_study_of_one_target_or_of_another_claim_has_no_ranking",
    ),
    "Rows that pretrain as one of T5's Tables 2 or 4 to 7 does": (
        f"{RANKING}::test_every_row_of_the_studies_has_its_own_numbers_of_t5_s_tables",
        f"{RANKING}::test_the_order_is_compared_where_t5_s_is_beyond_its_noise",
        f"{RANKING}::test_differences_in_setup_are_from_t5_s_baseline",
    ),
    "Arms of phase `prepare` that pretrain with different objectives (or rates, or spans) or stacks": (
        f"{PREPARED}::test_rates_and_spans_make_other_targets_too",
        f"{PREPARED}::test_losses_of_different_targets_are_in_no_figure_and_rows_are_ranked_by_score",
        f"{PREPARED}::test_the_same_objective_stated_or_inherited_is_the_same",
    ),
    "- **Dev loss over pretraining**": (
        f"{PREPARED}::test_each_pretraining_is_drawn_in_the_mean_over_the_seeds_that_all_have",
        f"{PREPARED}::test_the_report_has_the_figure",
        f"{PREPARED}::test_runs_with_few_evaluations_and_studies_without_pretraining_have_none",
    ),
}
