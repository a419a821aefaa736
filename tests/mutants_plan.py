"""Deliberate errors in plans, and in results that are saved and shown."""

__all__ = ["PLAN"]

LAW = "tests/tasks/test_plan.py::test_"
PAGE = "tests/report/test_model_page.py::test_"
SAVED = "tests/report/test_saved.py::test_"

PLAN = [
    (
        "two pairs of a plan in one file",
        "recipe/plan.py",
        "if len({name.casefold() for name in names}) < len(names):",
        "if False:",
        (f"{LAW}files_of_a_plan_are_its_own_and_whole",),
    ),
    (
        "a result kept with the table of another",
        "tasks/plan.py",
        " and _is_of(table, result):",
        ":",
        (f"{LAW}files_of_a_plan_are_its_own_and_whole",),
    ),
    (
        "a result that was changed, read as it is now",
        "results/loading.py",
        "    require_intact(tree, path)",
        "    pass",
        (f"{SAVED}a_result_that_was_changed_is_refused_whatever_was_changed",),
    ),
    (
        "a pair of a plan that contradicts itself",
        "results/loading.py",
        "checked(known, source, lambda text: None)",
        "Evaluation.from_dict(known, source)",
        (f"{SAVED}what_a_page_or_table_needs_is_looked_at_even_where_a_digest_was_made_for_it",),
    ),
    (
        "the root of the error at t = 1 in place of its square",
        "results/warnings.py",
        'e_2 = at_1["rms"] ** 2',
        'e_2 = at_1["rms"]',
        (
            "tests/gaussian/test_V_1.py::"
            "test_what_too_large_a_V_1_costs_is_the_L_0_that_the_best_one_saves",
        ),
    ),
    (
        "a result of other settings kept",
        "tasks/plan.py",
        "if _settings(result) == _wanted(plan, amount, model, images) and",
        "if True and",
        (f"{LAW}each_pair_is_the_evaluation_of_its_settings_and_is_made_once",),
    ),
    (
        "a plan's steps passed over",
        "tasks/plan.py",
        "model = model if choice.steps is None else model.every(choice.steps, choice.spacing)",
        "pass",
        (f"{LAW}each_pair_is_the_evaluation_of_its_settings_and_is_made_once",),
    ),
    (
        "the plan's budget for the row's own",
        "recipe/plan.py",
        "return _amount(model) or _amount(self)",
        "return _amount(self) or _amount(model)",
        (f"{LAW}a_row_says_its_own_chain_and_how_much_is_evaluated",),
    ),
    (
        "a failure that ends all pairs",
        "tasks/plan.py",
        "FAILURES = (BadInput, NonFinite, OSError, RuntimeError)",
        "FAILURES = (NonFinite, OSError, RuntimeError)",
        (f"{LAW}a_pair_that_fails_loses_no_other",),
    ),
    (
        "neighbours in the order of the plan",
        "results/neighbours.py",
        "ordered = sorted(group, key=lambda entry: entry.result.per_dim)",
        "ordered = group",
        (
            "tests/report/test_ranking.py::test_neighbours_follow_each_other_by_their_bounds_and_"
            "are_of_one_data_set",
        ),
    ),
    (
        "the interval of sampling in place of Monte Carlo",
        "report/kind_curves.py",
        "halves = [[r.half for r in results], [r.half_monte_carlo for r in results]]",
        "halves = [[r.half for r in results], [r.half for r in results]]",
        (f"{SAVED}a_figure_of_a_kind_draws_the_numbers_of_its_result",),
    ),
    (
        "a difference of the ODE with the sign of the bound's",
        "report/kind_curves.py",
        "np.full(len(steps), -difference.value),",
        "np.full(len(steps), difference.value),",
        (f"{SAVED}the_page_of_the_ode_says_that_it_is_not_a_bound",),
    ),
    (
        "an edited figure with the interval of another",
        "results/stored.py",
        "abs(sum(ends) / 2 - value) <= SAME",
        "abs(sum(ends) / 2 - value) <= 10",
        (f"{SAVED}a_result_that_contradicts_itself_is_refused",),
    ),
    (
        "rows and columns of a confusion exchanged",
        "results/classification.py",
        "self.labels * count + self.classes",
        "self.classes * count + self.labels",
        (f"{SAVED}the_pages_of_images_have_their_counts",),
    ),
    (
        "samples of a model beside the bound of another",
        "tasks/report/model_page.py",
        'if model.sha256() != result.model.get("sha256"):',
        "if False:",
        (f"{PAGE}a_result_of_another_model_is_refused",),
    ),
    (
        "a folder read by defaults beside a result of other options",
        "tasks/report/model_page.py",
        'formats.options_of(part_at(result.model, "options"))',
        "formats.options_of({})",
        (f"{PAGE}the_command_reads_a_folder_as_its_result_says",),
    ),
    (
        "the noise of a pilot is that of the estimate it plans",
        "tasks/evaluate.py",
        "seed = pilot_seed(given.seed)",
        "seed = given.seed",
        ("tests/tasks/test_subset.py::test_the_values_of_the_pilot_are_thrown_away",),
    ),
    (
        "a half-width of 0 is one that is not known",
        "tasks/evaluate.py",
        "half = math.inf if pilot.half is None else pilot.half",
        "half = pilot.half or math.inf",
        ("tests/tasks/test_subset.py::test_no_pilot_is_named_where_there_was_none",),
    ),
    (
        "1e999 is read",
        "results/reading.py",
        "ensure_ascii=False, allow_nan=False",
        "ensure_ascii=False",
        (f"{SAVED}a_number_beyond_floats_is_no_json",),
    ),
    (
        "a V_1 that is worse called better",
        "results/warnings.py",
        'if levels is not None and 8 * at_1["rms"] > bins * (levels - 1):',
        "if False:",
        ("tests/gaussian/test_V_1.py::test_a_worse_V_1_is_not_called_better",),
    ),
    (
        "tables of another variance than the name's",
        "gaussian/by_value.py",
        'if ("edges" in tables) != (name == NAME):',
        "if False:",
        ("tests/gaussian/test_by_value.py::test_damaged_tables_of_a_variance_are_refused",),
    ),
]
