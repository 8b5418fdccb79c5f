"""Does each rule of docs/report.md have a test, and does each paragraph that states rules have one here?

A rule is named by its first words, as they stand in the docs. A paragraph, list entry or table row of the
page that no rule below lies in fails the last test: add the rule with the test that checks it.
"""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.dashboards.evidence import rules_of_pretraining, rules_of_tasks

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "report.md").read_text()
HERE = "tests/dashboards"
VERDICT, CELLS = f"{HERE}/evidence/test_verdict.py", f"{HERE}/evidence/test_cells.py"
STATS, INVERSION = f"{HERE}/evidence/test_stats.py", f"{HERE}/evidence/test_inversion.py"
CONTRASTS, ALARMS = f"{HERE}/evidence/test_contrasts.py", f"{HERE}/evidence/test_false_alarms.py"
POWER, FRAMES = f"{HERE}/evidence/test_power.py", f"{HERE}/evidence/test_frames.py"
CONTROLS, TABLES = f"{HERE}/evidence/test_attribution.py", f"{HERE}/evidence/test_tables.py"
SPED = f"{HERE}/evidence/test_speedup.py"
WORTH, TARGETS = f"{HERE}/evidence/test_equivalent.py", f"{HERE}/evidence/test_targets.py"
SENTENCES, MATRIX = f"{HERE}/evidence/test_sentences.py", f"{HERE}/evidence/test_matrix.py"
AUDIT, CAUTIONS = f"{HERE}/evidence/test_hypergradients.py", f"{HERE}/evidence/test_cautions.py"
FIGURES, REPORT = f"{HERE}/report/test_figures.py", f"{HERE}/report/test_report.py"
SPEC, CHECKS = "tests/orchestrator/study/test_spec.py", "tests/orchestrator/engine/test_checks.py"
RUNNING = "tests/orchestrator/cli/test_cli_running.py"
CATALOG = "tests/studies/test_catalog.py"

RULES: Mapping[str, tuple[str, ...]] = {
    # the page as a whole
    "a study that was killed and resumed gives the same report": (
        f"{REPORT}::test_a_disturbed_study_and_an_undisturbed_one_have_equal_reports",
    ),
    "The report of a study that has not ended says so at the top": (
        f"{REPORT}::test_a_study_that_has_not_ended_says_so",
    ),
    "a target that was missed, and whatever is not finite, is null": (
        f"{REPORT}::test_all_files_are_written_and_the_spec_reads_back",
    ),
    # the verdict
    "One claim is registered in the spec before the first run": (
        f"{SPEC}::test_a_claim_that_no_test_can_judge_is_refused_in_a_sentence",
    ),
    "1. No claim: no verdict.": (f"{VERDICT}::test_without_a_claim_there_is_no_verdict",),
    "2. The study has not ended as planned": (
        f"{VERDICT}::test_a_study_that_has_not_ended_has_no_answer_yet",
        f"{VERDICT}::test_a_study_that_its_budget_ended_has_no_answer",
        f"{VERDICT}::test_a_cancelled_study_has_no_answer_and_is_not_said_to_go_on",
    ),
    "3. Every run of the challenger diverged": (
        f"{VERDICT}::test_a_challenger_of_which_no_run_completed_is_refuted",
        f"{VERDICT}::test_a_challenger_that_a_machine_failed_is_not_refuted",
    ),
    "4. One search of the challenger took more than `cost_ratio` times": (
        f"{VERDICT}::test_a_challenger_that_cost_more_than_claimed_is_refuted_whatever_it_reached",
    ),
    "With `steps`, it is the steps done": (f"{VERDICT}::test_by_steps_a_slow_machine_changes_nothing",),
    "Compilation and waiting have their own columns": (
        f"{VERDICT}::test_who_compiled_first_and_who_waited_is_not_charged_for_it",
    ),
    "With several replicates the cost is their mean.": (
        f"{VERDICT}::test_the_cost_is_that_of_one_search_however_often_it_was_repeated",
        f"{VERDICT}::test_sides_of_unequal_replicates_are_compared_by_one_search_of_each",
    ),
    "A fixed setting costs one run": (
        f"{VERDICT}::test_failures_of_a_repeated_setting_make_it_dearer_and_not_cheaper",
    ),
    "Waste counts; confirmations do not.": (f"{VERDICT}::test_waste_is_part_of_the_cost",),
    "5. Superiority of one pair of arms": (
        f"{VERDICT}::test_a_gain_on_six_seeds_supports_the_claim",
        f"{VERDICT}::test_a_loss_on_six_seeds_refutes_it",
    ),
    "Up to 16 pairs it is exact; above, it draws 50,000 of the swaps.": (
        f"{STATS}::test_the_permutation_test_is_scipys",
        f"{STATS}::test_many_pairs_are_drawn_and_come_close_to_all_swaps",
        f"{REPORT}::test_a_test_is_called_exact_where_it_is",
    ),
    "6. Non-inferiority: the same test, one-sided": (
        f"{CELLS}::test_a_challenger_a_little_worse_on_every_seed_is_within_a_margin_that_is_larger",
        f"{CELLS}::test_a_challenger_beyond_the_margin_on_every_seed_is_refuted_by_the_same_test",
        f"{CELLS}::test_the_test_is_of_the_difference_and_the_margin_on_the_log",
        f"{INVERSION}::test_p_on_one_side_is_half_of_that_on_both_where_no_two_swaps_are_alike",
    ),
    "7. At least k of m columns": (
        f"{INVERSION}::test_a_partial_conjunction_by_hand",
        f"{CELLS}::test_better_in_two_of_three_columns_is_supported_by_the_second_smallest_p_times_two",
    ),
    "**refuted** if by the same rule in the other direction more than m − k columns are worse": (
        f"{CELLS}::test_too_few_columns_that_can_be_better_refute_it_by_the_same_rule_the_other_way",
        f"{CELLS}::test_with_all_columns_claimed_one_that_is_surely_worse_refutes",
    ),
    "With k = m every column has to pass by itself": (
        f"{CELLS}::test_not_worse_in_all_columns_asks_that_each_passes_and_corrects_for_nothing",
    ),
    "A column in which nothing can be compared counts neither way": (
        f"{CELLS}::test_a_column_without_pairs_counts_neither_way",
    ),
    "costs are summed over the columns": (f"{CELLS}::test_cost_is_summed_over_the_columns",),
    "9. Otherwise **undecided**.": (
        f"{VERDICT}::test_a_small_difference_is_undecided_and_says_how_many_seeds_would_decide_it",
        f"{CELLS}::test_what_is_neither_within_nor_beyond_is_undecided_with_the_pairs_still_needed",
    ),
    # what is compared
    "If each arm chose once, the unit is a seed": (
        f"{VERDICT}::test_a_gain_on_six_seeds_supports_the_claim",
        f"{VERDICT}::test_confirmations_in_several_replicates_of_one_search_are_seeds",
    ),
    "If an arm chose in several replicates, the unit is a replicate": (
        f"{VERDICT}::test_with_replicates_they_are_the_unit_and_not_the_seeds",
        f"{VERDICT}::test_one_side_that_chose_anew_makes_its_replicates_the_unit",
    ),
    "whether an arm has fixed settings from the spec": (
        f"{VERDICT}::test_where_nothing_was_chosen_no_selection_is_spoken_of",
    ),
    "A diverged run counts as the worst value": (
        f"{VERDICT}::test_a_diverged_confirmation_counts_as_the_worst_run_of_the_study",
        f"{CONTRASTS}::test_a_diverged_run_counts_as_the_worst_of_its_own_column",
        f"{VERDICT}::test_a_search_that_diverged_as_a_whole_loses_its_replicate",
    ),
    "A failed run removes its pair": (f"{VERDICT}::test_a_failed_confirmation_takes_its_pair_away",),
    "**Which way is better.**": (
        f"{FRAMES}::test_which_way_is_better_follows_from_the_goal_or_the_name",
        f"{FRAMES}::test_the_goal_of_a_claim_is_that_of_its_metric",
    ),
    "is refused without a goal when its study is created": (
        f"{CHECKS}::test_a_claim_on_a_metric_of_unknown_direction_is_refused",
        f"{VERDICT}::test_a_stored_claim_whose_direction_nobody_knows_is_undecided",
    ),
    "**One test, one interval.**": (
        f"{CONTRASTS}::test_losses_are_compared_by_their_ratio_whose_interval_agrees_with_p",
    ),
    "Any other metric is compared as it is.": (
        f"{CONTRASTS}::test_a_metric_that_is_not_above_zero_everywhere_is_compared_as_it_is",
    ),
    'it excludes "no difference" exactly when p is at most .05': (
        f"{INVERSION}::test_the_interval_ends_where_the_test_begins_to_reject",
        f"{INVERSION}::test_zero_lies_outside_exactly_where_p_is_at_most_a_twentieth",
    ),
    "With fewer than six pairs the test rejects nothing": (
        f"{CONTRASTS}::test_with_five_pairs_there_is_no_interval",
    ),
    "the seed that makes most of the gap": (f"{CONTRASTS}::test_the_seed_that_makes_the_gap_is_named",),
    "**A margin in time.**": (f"{CELLS}::test_the_margin_is_told_as_time_and_as_a_ratio",),
    "κ is estimated from the study's own plain runs": (
        f"{CELLS}::test_kappa_is_read_off_plain_runs_of_two_lengths_seed_by_seed",
        f"{CELLS}::test_runs_of_other_columns_and_of_guided_arms_say_nothing_of_kappa",
    ),
    "κ is taken to be 2.2": (
        f"{CELLS}::test_a_challenger_a_little_worse_on_every_seed_is_within_a_margin_that_is_larger",
    ),
    "κ counts as 0": (f"{CELLS}::test_where_longer_training_does_not_help_no_time_makes_up_for_a_loss",),
    "A metric that should be high is refused with such a claim": (
        f"{SPEC}::test_a_claim_that_no_test_can_judge_is_refused_in_a_sentence",
    ),
    "if a loss is zero in some run the claim stays undecided": (
        f"{CELLS}::test_a_metric_that_is_zero_somewhere_has_no_margin_in_time",
    ),
    "**What the test assumes**": (
        f"{INVERSION}::test_false_alarms_and_coverage_are_what_the_report_says",
        f"{ALARMS}::test_a_challenger_exactly_at_the_margin_is_seldom_called_within_or_beyond",
        f"{ALARMS}::test_one_true_column_too_few_is_seldom_called_enough",
    ),
    "**Seeds still needed**": (
        f"{STATS}::test_the_seeds_needed_reach_the_power_of_the_test_that_decides_and_one_fewer_does_not",
        f"{STATS}::test_at_an_effect_of_one_and_a_half_seven_seeds_are_needed_and_not_the_six_of_the_t_test",
    ),
    "Fewer than six pairs can never reach p = .05": (
        f"{VERDICT}::test_five_seeds_decide_nothing_however_large_the_gain",
    ),
    "With fewer than two pairs the spread is unknown": (
        f"{VERDICT}::test_one_seed_gives_no_interval_and_asks_for_five_more",
    ),
    "A one-sided test needs at least five pairs": (
        f"{CELLS}::test_four_pairs_cannot_decide_on_one_side_and_one_more_is_asked_for",
        f"{POWER}::test_one_sided_pairs_reach_the_power_and_one_fewer_do_not",
        f"{POWER}::test_the_fewest_pairs_over_columns_follow_from_the_least_p_that_can_be_reached",
    ),
    "the k columns with the clearest effects": (
        f"{CELLS}::test_pairs_still_needed_are_those_of_the_columns_that_are_claimed",
    ),
    "shows in advance which effect the pairs of the spec can detect": (
        f"{POWER}::test_superiority_is_planned_by_the_two_sided_sign_flip_test_and_not_by_the_t_test",
        f"{POWER}::test_a_claim_over_columns_is_planned_at_the_level_of_one_of_them",
    ),
    "more seeds would not help": (
        f"{VERDICT}::test_a_metric_that_no_run_reported_is_named",
        f"{VERDICT}::test_two_arms_that_diverged_on_every_seed_are_not_told_apart",
    ),
    "**Controls** change no verdict.": (
        f"{VERDICT}::test_controls_are_named_with_what_they_say",
        f"{CONTROLS}::test_a_control_supports_the_gain_or_undoes_it",
    ),
    '"Clearly" means a paired t test at 5%': (
        f"{CONTROLS}::test_the_test_is_the_paired_t_test_of_another_library",
        f"{CONTROLS}::test_holm_is_over_the_columns_in_which_a_control_stands",
        f"{ALARMS}::test_the_t_test_of_controls_keeps_its_level_on_normal_differences",
    ),
    "If the challenger has no significant gain there is nothing to attribute": (
        f"{CONTROLS}::test_where_there_is_no_gain_nothing_is_attributed",
        f"{CONTROLS}::test_a_gain_that_may_be_noise_is_attributed_to_nothing",
    ),
    "Controls that were not run are named": (
        f"{CONTROLS}::test_each_column_has_its_gain_its_controls_and_what_was_not_run",
    ),
    # the table
    "A number is the mean over the runs of an arm's choice on fresh seeds": (
        f"{TABLES}::test_a_row_shows_what_it_took_and_what_its_choice_reached",
    ),
    "marked with a star": (f"{TABLES}::test_marks_say_where_a_number_comes_from",),
    "Time and runs are per search": (
        f"{TABLES}::test_time_and_runs_are_those_of_one_search_in_the_mean_over_replicates",
        f"{TABLES}::test_a_running_setting_costs_the_runs_that_are_done",
    ),
    "BLEU of the test split comes first": (
        f"{TABLES}::test_bleu_of_the_test_split_comes_first_where_it_was_scored",
    ),
    "A table of a benchmark's task says by which [protocol](tasks.md) its rows chose and were reported.": (
        f"{TABLES}::test_a_table_of_a_benchmark_says_which_rows_chose_and_are_reported",
    ),
    "The paper's numbers are shown next to ours": (
        f"{TABLES}::test_a_study_of_table_2_has_its_rows_columns_and_numbers",
        f"{TABLES}::test_deviations_come_from_the_spec",
    ),
    "Intervals of means are Student's t below 30 values": (
        f"{STATS}::test_few_values_have_students_interval",
        f"{ALARMS}::test_students_interval_holds_the_mean_as_often_as_the_report_says",
        f"{ALARMS}::test_a_bootstrap_of_few_values_holds_the_mean_as_seldom_as_the_report_says",
    ),
    "From 30 on they are BCa.": (f"{STATS}::test_the_bootstrap_interval_is_scipys",),
    "An interval ends where the metric does": (f"{TABLES}::test_no_interval_leaves_what_its_metric_can_be",),
    # differences
    "Rows against each other in every column": (
        f"{CONTRASTS}::test_a_row_that_all_columns_share_is_compared_in_each",
    ),
    "*Holm* corrects p over the columns": (
        f"{STATS}::test_holm_by_hand",
        f"{CONTRASTS}::test_columns_are_corrected_together",
        f"{ALARMS}::test_holm_calls_any_of_three_empty_columns_a_difference_in_one_study_of_twenty_at_most",
    ),
    "with three of them it takes seven pairs to reach .05": (
        f"{STATS}::test_six_pairs_of_one_sign_are_the_first_to_reach_a_twentieth",
    ),
    "*Share* is how often": (f"{STATS}::test_the_probability_of_improvement_is_mann_and_whitneys",),
    "*d* is the mean difference": (f"{STATS}::test_effect_sizes_by_hand",),
    # worth
    "each confirmed row of its column is expressed in trials of that search": (
        f"{WORTH}::test_every_confirmed_row_of_a_column_is_told_in_trials_of_its_search",
        f"{WORTH}::test_of_a_bayesian_search_it_is_what_searches_by_another_hand_needed",
    ),
    "Of a random search the best of n is known by order statistics": (
        f"{WORTH}::test_of_random_search_it_is_what_order_statistics_say",
    ),
    '"> 100" means that a hundred trials are not enough': (f"{WORTH}::test_more_than_any_is_said_in_words",),
    "with fewer than five there is no answer": (
        f"{WORTH}::test_a_search_of_too_few_trials_or_of_a_metric_that_is_to_be_high_tells_nothing",
    ),
    # worth in longer plain training
    "How many times longer does plain training have to be to match a row": (
        f"{SPED}::test_every_row_on_fresh_seeds_is_told_in_longer_plain_training_and_in_what_it_cost",
        f"{SPED}::test_longer_plain_training_is_known_by_its_words_where_the_spec_does_not_state_it",
        f"{SPED}::test_without_two_lengths_or_shared_seeds_or_a_loss_there_is_none",
    ),
    "1. Seed by seed, the plain losses are joined": (
        f"{SPED}::test_without_noise_it_is_read_off_to_the_last_digit",
        f"{SPED}::test_only_seeds_that_all_plain_runs_share_are_read_and_few_give_no_interval",
        f"{SPED}::test_a_diverged_run_counts_as_the_worst_that_any_run_ended_with",
    ),
    "2. The row is as good as the length at which the mean difference of log loss is zero": (
        f"{SPED}::test_a_row_as_good_as_the_plain_runs_of_a_length_is_worth_that_length_however_the_curve_bends",
        f"{SPED}::test_the_interval_holds_just_the_lengths_that_the_test_does_not_reject",
        f"{SPED}::test_with_noise_the_interval_holds_the_truth_as_often_as_it_says",
    ),
    "3. S is that length over what the row costs": (
        f"{SPED}::test_what_the_spec_expects_a_step_to_cost_counts_where_it_says_so_of_all_arms_concerned",
        f"{SPED}::test_a_setting_that_nothing_chose_costs_one_run_with_all_that_led_to_it",
    ),
    "4. Nothing is extrapolated.": (
        f"{SPED}::test_beyond_the_longest_and_short_of_the_shortest_are_answers",
    ),
    "Plain runs themselves have no S": (
        f"{SPED}::test_the_table_has_a_column_of_it_in_every_form",
        f"{SPED}::test_the_report_tells_of_a_run_and_of_its_search",
        f"{SPED}::test_a_script_gets_it_with_each_cell_and_makes_the_table_again_of_it",
    ),
    "**Against longer plain training**": (
        f"{FIGURES}::test_rows_stand_at_what_they_cost_beside_the_curve_of_plain_training",
    ),
    # costs
    "Everything charged, over all replicates": (
        f"{FRAMES}::test_the_cost_of_an_arm_is_all_that_was_charged",
        f"{FRAMES}::test_what_a_rung_stopped_is_waste_and_what_diverged_is_none",
    ),
    "Bayesian proposals wait for their window": (
        f"{FRAMES}::test_independent_runs_share_the_slots_and_bayesian_ones_wait_for_their_window",
    ),
    "Chip-hours are run-hours times the chips of a run": (
        f"{FRAMES}::test_chip_hours_are_run_hours_times_chips_and_memory_is_the_most_a_run_said",
    ),
    "*At equal budgets*": (
        f"{FIGURES}::test_equal_budgets_say_what_the_incumbent_had_by_then",
        f"{FIGURES}::test_where_the_incumbent_found_nothing_there_is_nothing_to_reach",
        f"{FIGURES}::test_what_an_arm_follows_is_spent_before_its_first_run",
    ),
    'A miss is "not reached" and keeps its place in the median': (
        f"{STATS}::test_a_miss_is_infinite_and_keeps_its_place_in_the_median",
    ),
    "*What a result cost*": (
        f"{TARGETS}::test_it_is_the_runs_up_to_the_first_that_reached_it_and_a_miss_is_infinite",
        f"{CATALOG}::test_targets_are_in_the_spec_from_the_defaults_dev_loss_downwards",
    ),
    "*Sentence by sentence*": (
        f"{SENTENCES}::test_the_gain_is_the_difference_of_sacrebleus_scores_and_clear_where_it_is_large",
        f"{SENTENCES}::test_equal_systems_are_not_told_apart",
    ),
    # the matrix, and the audit
    "*the matrix* gives each row's gain": (
        f"{MATRIX}::test_a_difference_has_its_mean_its_interval_and_its_ps",
        f"{MATRIX}::test_wins_ties_and_losses_go_by_the_interval",
        f"{MATRIX}::test_the_cost_of_a_step_is_the_median_cells_with_their_range",
    ),
    "in how many forks each estimator had the sign of the true response": (
        f"{AUDIT}::test_signs_that_agree_are_counted_where_all_estimators_spoke",
        f"{AUDIT}::test_the_response_is_relative_to_the_loss_and_its_interval_over_runs",
    ),
    # figures
    "**Best so far**": (
        f"{FIGURES}::test_an_anytime_line_falls_with_each_better_run_and_ends_with_its_arm",
        f"{FIGURES}::test_replicates_become_one_line_with_a_band",
        f"{STATS}::test_replicates_are_joined_only_where_all_of_them_are_known",
    ),
    "**Hyperparameters over training**": (
        f"{FIGURES}::test_trajectories_show_every_eta_and_the_static_value_beside_them",
    ),
    "**Selected configs re-run on fresh seeds**": (f"{FIGURES}::test_confirmations_stand_by_seed",),
    "**Where BO looked**": (f"{FIGURES}::test_a_slice_holds_every_run_and_its_best",),
    "**Learning curves**": (f"{FIGURES}::test_learning_curves_are_those_of_the_best_runs",),
    # read with care
    "| short-horizon bias |": (
        f"{CAUTIONS}::test_alpha_that_falls_below_half_its_start_is_called_a_bias",
        f"{CAUTIONS}::test_alpha_that_ends_at_six_tenths_is_not",
        f"{CAUTIONS}::test_lagged_anneals_on_purpose",
    ),
    "| arm stopped |": (f"{RUNNING}::test_an_arm_that_failed_alike_is_one_remark_where_others_completed",),
    "| edge of the space |": (f"{CAUTIONS}::test_an_edge_is_one_in_the_parameters_own_scale",),
    "| end of the grid |": (f"{CAUTIONS}::test_a_best_point_on_an_edge_or_at_the_end_of_a_grid_is_told",),
    "| too few seeds |": (
        f"{CAUTIONS}::test_too_few_seeds_are_told_with_how_many_it_takes",
        f"{CAUTIONS}::test_before_the_end_the_seeds_that_are_planned_are_counted",
        f"{CAUTIONS}::test_too_few_seeds_are_counted_by_the_test_of_the_claim",
    ),
    "| gain undone |": (f"{CONTROLS}::test_a_reader_is_warned_of_a_gain_that_a_control_has_too",),
    "| chosen on the split that is reported |": (
        f"{CAUTIONS}::test_a_population_is_told_to_choose_on_what_its_confirmation_reports",
    ),
    "| by timing |": (f"{CAUTIONS}::test_runs_stopped_at_a_rung_are_told_to_depend_on_timing",),
    "| added later |": (
        f"{CAUTIONS}::test_confirmations_that_were_added_later_are_told",
        f"{CAUTIONS}::test_repetitions_that_were_added_later_are_told",
    ),
    "| random search |": (f"{CAUTIONS}::test_a_search_that_was_random_or_found_nothing_is_told",),
    "| nothing found |": (
        f"{CAUTIONS}::test_a_search_found_nothing_only_in_the_replicates_where_it_did_not",
    ),
    "| failed, diverged |": (f"{CAUTIONS}::test_failed_and_diverged_runs_are_counted",),
    "| unfinished, cut short |": (
        f"{CAUTIONS}::test_an_unfinished_study_says_how_to_go_on",
        f"{CAUTIONS}::test_a_cancelled_study_is_not_told_to_go_on",
    ),
    "What an arm chose is the best run of each replicate": (
        f"{CAUTIONS}::test_a_grid_over_several_seeds_chooses_by_their_mean",
        f"{CAUTIONS}::test_a_grid_that_is_followed_chooses_in_each_replicate_as_its_followers_do",
    ),
    **rules_of_pretraining.RULES,
    **rules_of_tasks.RULES,
}
# Begin what is no rule: what the report does not say, and the way back to the index.
NO_RULES = ("What the report cannot say", "Up: ")


def one_line(text: str) -> str:
    return " ".join(text.split())


def stated() -> list[str]:
    """The page's paragraphs, list entries and table rows from the verdict on."""
    parts = re.split(r"\n\s*\n|\n(?=- |\d+\. |\| )", PAGE[PAGE.index("## The verdict") :])
    return [one_line(part) for part in parts if not part.startswith(("#", "| caution |"))]


@functools.cache
def names_in(path: str) -> frozenset[str]:
    tree = ast.parse((ROOT / path).read_text())
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))
    return frozenset(node.name for node in functions if node.name.startswith("test_"))


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_stands_in_the_docs_and_its_tests_exist(rule: str) -> None:
    assert one_line(rule) in one_line(PAGE)
    assert RULES[rule]
    for test in RULES[rule]:
        path, _, name = test.partition("::")
        assert name in names_in(path), test


@pytest.mark.parametrize("part", stated(), ids=lambda part: part[:40])
def test_every_paragraph_of_the_docs_has_a_rule_with_a_test(part: str) -> None:
    assert part.startswith(NO_RULES) or any(one_line(rule) in part for rule in RULES)
