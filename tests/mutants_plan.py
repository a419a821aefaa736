"""Deliberate errors in plans, and in results that are saved and shown."""

__all__ = ["PLAN"]

LAW = "tests/tasks/test_plan.py::test_"
SAVED = "tests/report/test_saved.py::test_"

PLAN = [
    (
        "a result of other settings kept",
        "tasks/plan.py",
        "if _settings(result) == _wanted(plan, model, images):",
        "if True:",
        (f"{LAW}each_pair_is_the_evaluation_of_its_settings_and_is_made_once",),
    ),
    (
        "a plan's steps passed over",
        "tasks/plan.py",
        "return model if choice.steps is None else model.every(choice.steps, choice.spacing)",
        "return model",
        (f"{LAW}each_pair_is_the_evaluation_of_its_settings_and_is_made_once",),
    ),
    (
        "a failure that ends all pairs",
        "tasks/plan.py",
        "FAILURES = (BadInput, NonFinite, OSError, RuntimeError)",
        "FAILURES = (NonFinite, OSError, RuntimeError)",
        (f"{LAW}a_pair_that_fails_loses_no_other",),
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
        "if abs(sum(ends) / 2 - value) > SAME",
        "if abs(sum(ends) / 2 - value) > 10",
        (f"{SAVED}a_result_that_contradicts_itself_is_refused",),
    ),
    (
        "rows and columns of a confusion exchanged",
        "results/read_images.py",
        'counts[row["label"]][row["class"]] += 1',
        'counts[row["class"]][row["label"]] += 1',
        (f"{SAVED}the_pages_of_images_have_their_counts",),
    ),
]
