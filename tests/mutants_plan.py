"""Deliberate errors in plans, and in results that are saved and shown."""

__all__ = ["PLAN"]

LAW = "tests/tasks/test_plan.py::test_"

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
]
