"""Deliberate errors in how a person's network is looked at, put into its mode and evaluated."""

__all__ = ["COMPANY"]

TESTS = "tests/test_company.py::test_"
FORMS = "tests/test_forms.py::test_"
DTYPES = "tests/test_dtypes.py::test_"
PICKLES = "tests/test_pickles.py::test_"
ALONE = f"{TESTS}a_network_whose_answer_depends_on_its_company_is_refused"
CHANCE = f"{TESTS}a_network_whose_answer_depends_on_chance_is_refused"
INSIDE = f"{TESTS}a_module_inside_a_callable_is_put_into_eval_and_back"
EVALUATED = f"{DTYPES}an_evaluation_is_in_the_dtype_of_the_weights"

COMPANY = [
    # What is looked at before a network is measured.
    (
        "company passes",
        "estimation/company.py",
        "if change.alone > limit:",
        "if False:",
        (f"{ALONE}[BatchNorm without statistics]",),
    ),
    (
        "chance passes",
        "estimation/company.py",
        "if change.again > limit:",
        "if False:",
        (f"{CHANCE}[a counter]",),
    ),
    (
        "rows are evaluated alone at one t",
        "estimation/company.py",
        "[1 + last * i // (count - 1) for i in range(count)]",
        "[model.T for i in range(count)]",
        (f"{ALONE}[the first t for all]",),
    ),
    (
        "the check is counted as evaluations of the bound",
        "tasks/evaluate.py",
        "network_evaluations=self.evaluator.done + (",
        "network_evaluations=self.evaluator.done + 16 + (",
        (f"{TESTS}the_calls_of_the_check_are_counted_apart",),
    ),
    (
        "a check that was not made is not said",
        "results/context.py",
        'if "check" not in estimator or estimator["check"] is not None:',
        "if True:",
        (f"{TESTS}what_is_not_checked_is_reported_to_be_so",),
    ),
    (
        "float32 may differ as bfloat16 may",
        "estimation/company.py",
        "LIMIT = 1e-3  #",
        "LIMIT = 1e-1  #",
        (f"{TESTS}what_is_not_checked_is_reported_to_be_so",),
    ),
    (
        "the check draws from the caller's generator",
        "estimation/company.py",
        "with torch.random.fork_rng(devices), _buffers_kept(network):",
        "with _buffers_kept(network):",
        (f"{TESTS}the_check_leaves_chance_as_it_was",),
    ),
    # Modules that a callable evaluates.
    (
        "modules in a closure keep their mode",
        "networks/parts.py",
        "yield cell.cell_contents, names",
        "yield None, names",
        (f"{INSIDE}[a closure]",),
    ),
    (
        "modules in a default argument keep their mode",
        "networks/parts.py",
        "yield default, names",
        "yield None, names",
        (f"{INSIDE}[a default argument]",),
    ),
    (
        "modules of a pipeline that are not used enter the digest",
        "networks/parts.py",
        "everything = bool(done & DYNAMIC)",
        "everything = True",
        (f"{TESTS}a_callable_is_looked_at_no_further_than_its_code_goes",),
    ),
    # Arithmetic around a network.
    (
        "autocast of the caller stays on",
        "networks/mode.py",
        "inside.enter_context(torch.autocast(kind, enabled=False))",
        "inside.enter_context(torch.no_grad())",
        (f"{EVALUATED}[wrapped-autocast]",),
    ),
    (
        "points of a quadrature in the default dtype",
        "gaussian/controls.py",
        "(some[:, None] * step).float()[:, None] / points",
        "(some[:, None] * step)[:, None] / points",
        (f"{EVALUATED}[digits-default float64]",),
    ),
    (
        "networks are made in the default dtype",
        "networks/mode.py",
        "torch.set_default_dtype(torch.float32)",
        "torch.set_default_dtype(before)",
        (f"{DTYPES}a_model_of_ours_is_made_in_float32[digits-default float64]",),
    ),
    (
        "states of a sample in the default dtype",
        "sampling/ancestral.py",
        "like = torch.empty(count, *model.shape, dtype=torch.float32, device=model.device)",
        "like = torch.empty(count, *model.shape, device=model.device)",
        (f"{DTYPES}a_sample_is_in_the_dtype_of_the_weights[wrapped-default float64]",),
    ),
    (
        "inference mode is back",
        "networks/mode.py",
        "inside.enter_context(torch.inference_mode(False))",
        "inside.enter_context(torch.inference_mode())",
        (f"{FORMS}a_table_that_is_kept_in_an_evaluation_serves_the_next_training_step",),
    ),
    # Forms of networks.
    (
        "rows of an argument share their memory",
        "networks/adapter.py",
        "return value.expand(count, *value.shape).clone(memory_format=torch.contiguous_format)",
        "return value.expand(count, *value.shape)",
        (f"{FORMS}an_argument_may_be_viewed_and_worked_on_in_place",),
    ),
    (
        "frozen weights are in no digest",
        "model/digest.py",
        "*_frozen(network)]",
        "]",
        (f"{FORMS}the_weights_of_a_frozen_network_are_in_its_digest",),
    ),
    (
        "quantised weights without their bias",
        "model/digest.py",
        "for place, part in enumerate(value):",
        "for place, part in enumerate(value[:1]):",
        (f"{FORMS}quantised_weights_are_read_and_known",),
    ),
    (
        "a pickled sub-chain is that of another number of steps",
        "model/gaussian.py",
        "schedule = self.schedule.subchain(steps)",
        "schedule = self.schedule",
        (f"{PICKLES}a_model_comes_back_from_a_pickle_and_measures_the_same[eps-by_pickle]",),
    ),
    (
        "a NaN in one of two calls left out",
        "estimation/company.py",
        "if not torch.equal(finite, b.isfinite().all(1)):",
        "if False:",
        (f"{TESTS}a_network_whose_answer_depends_on_chance_is_refused",),
    ),
]
