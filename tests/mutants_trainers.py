"""Deliberate errors where others train: the metric, the Lightning callback, modes given back."""

__all__ = ["TRAINERS"]

METRICS = "tests/test_metrics.py::test_"
LIGHTNING = "tests/test_lightning.py::test_"
WRAP = "tests/test_wrap.py::test_"

TRAINERS = [
    (
        "the metric's state follows a cast",
        "metrics.py",
        "exclude_state=[STATE, *exclude_state]",
        "exclude_state=exclude_state",
        (METRICS + "no_cast_rounds_the_state",),
    ),
    (
        "the metric's cached result follows a cast",
        "metrics.py",
        "self._computed = None",
        "pass",
        (METRICS + "no_cast_rounds_the_state",),
    ),
    (
        "a mean of the means of batches and processes (H31)",
        "metrics.py",
        "(count * mean).sum(0) / total.clamp(min=1)",
        "mean.sum(0) / (count > 0).sum(0).clamp(min=1)",
        (
            METRICS + "batches_of_any_size_give_the_same_figure",
            METRICS + "processes_merge_to_the_figure_of_one",
        ),
    ),
    (
        "the spread between batches left out",
        "metrics.py",
        "(squares + count * (mean - middle).square()).sum(0)",
        "squares.sum(0)",
        (METRICS + "batches_of_any_size_give_the_same_figure",),
    ),
    (
        "a variance of n, not of n - 1",
        "metrics.py",
        "squares[0] / (count - 1)",
        "squares[0] / count",
        (METRICS + "it_is_the_figure_of_an_evaluation",),
    ),
    (
        "the callback measures a network in training mode",
        "lightning.py",
        "with evaluating(pl_module):",
        "if True:",
        (LIGHTNING + "a_fit_logs_what_evaluate_says_and_does_not_notice_it",),
    ),
    (
        "the callback measures an epoch twice",
        "lightning.py",
        "self._due(trainer) and not self.measured",
        "self._due(trainer)",
        (LIGHTNING + "a_fit_logs_what_evaluate_says_and_does_not_notice_it",),
    ),
    (
        "the callback measures one epoch only",
        "lightning.py",
        "self.measured = False\n\n    def on_validation",
        "pass\n\n    def on_validation",
        (LIGHTNING + "a_fit_logs_what_evaluate_says_and_does_not_notice_it",),
    ),
    (
        "the callback measures in the sanity check",
        "lightning.py",
        "not trainer.sanity_checking",
        "True",
        (LIGHTNING + "a_fit_logs_what_evaluate_says_and_does_not_notice_it",),
    ),
    (
        "every n epochs from the first, not at the n-th",
        "lightning.py",
        "(trainer.current_epoch + 1) %",
        "trainer.current_epoch %",
        (LIGHTNING + "every_n_epochs_means_that_and_validate_always_measures",),
    ),
    (
        "each process measures all by itself",
        "lightning.py",
        "Processes(trainer.global_rank, trainer.world_size)",
        "Processes()",
        (LIGHTNING + "two_processes_share_the_work_and_log_the_same",),
    ),
    (
        "the arguments of a network stay where they were",
        "lightning.py",
        "model.network.to(pl_module.device)",
        "model.network",
        (LIGHTNING + "the_model_is_measured_where_the_module_is",),
    ),
    (
        "the mode of a network given to its parts (H40)",
        "networks/mode.py",
        "part.training = training",
        "pass",
        (WRAP + "a_wrapped_network_is_given_back_as_it_was",),
    ),
    (
        "wrapping changes the modes of a network's parts (H40)",
        "networks/adapter.py",
        'self.training = getattr(call, "training", False)',
        'self.train(getattr(call, "training", False))',
        (WRAP + "a_wrapped_network_is_given_back_as_it_was",),
    ),
    (
        "the chain's own state handed to a network that works in place",
        "networks/adapter.py",
        "x_t.clone()",
        "x_t",
        (WRAP + "a_network_that_works_in_place_is_measured_all_the_same",),
    ),
    (
        "the chain's own time handed to a network that works in place",
        "networks/adapter.py",
        "time.clone()",
        "time",
        (WRAP + "a_network_that_works_in_place_is_measured_all_the_same",),
    ),
    (
        "a V_1 that is recorded and not used",
        "wrapping/gaussian.py",
        "if V_1 is not None:",
        "if False:",
        (WRAP + "a_wrong_choice_is_refused_in_one_line",),
    ),
    (
        "a network measured with its dropout (H40)",
        "networks/mode.py",
        "        _train(network, False)\n    try:",
        "        pass\n    try:",
        (WRAP + "dropout_is_off_while_a_network_in_training_is_measured",),
    ),
]
