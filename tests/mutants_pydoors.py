"""Deliberate errors in conditions of each image, in categorical networks, schedulers, densities."""

__all__ = ["PYDOORS"]

CONDITIONS = "tests/test_conditions.py::test_"
CATEGORICAL = "tests/test_wrap_categorical.py::test_"
DOORS = "tests/test_python_doors.py::test_"
EXACT = f"{CATEGORICAL}the_bound_of_the_exact_posterior_is_the_entropy"

PYDOORS = [
    (
        "conditions of the first images in a subset",
        "data/examples.py",
        "{name: condition[where] for",
        "{name: condition[: len(where)] for",
        (f"{CONDITIONS}points_have_labels_and_conditions_too",),
    ),
    (
        "a record without the digest of its conditions",
        "estimation/evaluator.py",
        "for name in sorted(names)}",
        "for name in []}",
        (f"{CONDITIONS}a_record_is_of_its_conditions",),
    ),
    (
        "a shorter chain without its conditions",
        "model/gaussian.py",
        "return replace(self, chain=",
        "return replace(self, conditions=(), chain=",
        (f"{CONDITIONS}what_is_given_of_each_image_comes_by_name",),
    ),
    (
        "D3PM's two decoders for each other",
        "categorical/reverse.py",
        "if self.by_logits else",
        "if not self.by_logits else",
        (f"{EXACT}[uniform-posterior]", f"{EXACT}[uniform-logits]"),
    ),
    (
        "a fraction of the sub-chain's own steps",
        "wrapping/categorical.py",
        ".double() / transition.whole_T",
        ".double() / transition.T",
        (f"{CATEGORICAL}the_network_gets_the_times_of_the_whole_chain",),
    ),
    (
        "chains of matrices with one name",
        "wrapping/categorical.py",
        "result.update(transition.log_row(every, torch.tensor([t])).double().numpy().data)",
        "result.update(b'')",
        (f"{CATEGORICAL}two_chains_of_matrices_have_two_names",),
    ),
    (
        "a scheduler whose clipping is dropped",
        "wrapping/gaussian.py",
        "return own.clip or False,",
        "return False,",
        (f"{DOORS}a_scheduler_object_is_a_schedule[DDPMScheduler]",),
    ),
    (
        "a scheduler's own steps dropped",
        "wrapping/gaussian.py",
        "evenly if scheduler is None or chain is not whole else",
        "evenly if True else",
        (f"{DOORS}a_scheduler_object_is_a_schedule[EulerDiscreteScheduler]",),
    ),
    (
        "a density's best cost without its square",
        "estimation/errors.py",
        "(2 * math.pi * V_1).log() + 1)",
        "(2 * math.pi * V_1).log())",
        (f"{DOORS}a_density_is_improved_to_the_best_of_its_errors",),
    ),
]
