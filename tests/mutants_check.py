"""Deliberate errors in the examination of a network's conventions."""

__all__ = ["CHECK"]

TESTS = "tests/tasks/test_check.py::test_"
IDENTIFIED = f"{TESTS}the_words_of_a_network_are_identified"

CHECK = [
    (
        "check: one output for all times",
        "tasks/check/search.py",
        "for tensor in (x_t, time):",
        "for tensor in (x_t,):",
        (f"{TESTS}equal_inputs_are_evaluated_once",),
    ),
    (
        "check: a reading of any worth is a denoiser",
        "results/check.py",
        "min(parts) < self.affine",
        "min(parts) >= 0",
        (f"{TESTS}a_network_that_knows_nothing_is_reported_to_know_nothing",),
    ),
    (
        "check: what is stated agrees with itself",
        "results/check.py",
        "self.stated is None or self.stated.tied",
        "self.stated is None or self.stated.part > 0",
        (f"{TESTS}true_words_pass_and_wrong_ones_are_named",),
    ),
    (
        "check: one difference for all pairs of readings",
        "tasks/check/words.py",
        'return 5e-3 if {str(ours), str(theirs)} == {"linear", "vp-sde"} else 2e-3',
        "return 5e-3",
        (f"{TESTS}only_two_forms_of_one_law_may_be_further_apart",),
    ),
    (
        "check: a schedule with its T is another law",
        "tasks/check/words.py",
        'at(schedule, "name") if isinstance(schedule, Mapping) else schedule',
        "schedule",
        (f"{TESTS}only_two_forms_of_one_law_may_be_further_apart",),
    ),
    (
        "check: the worst readings are kept",
        "tasks/check/search.py",
        "key=lambda one: one.mean)",
        "key=lambda one: -one.mean)",
        (f"{IDENTIFIED}[flow, data at 1]",),
    ),
    (
        "check: a full memory is a wrong reading",
        "tasks/check/search.py",
        "if isinstance(error, MemoryError) or out_of_memory(error):",
        "if False:",
        (f"{TESTS}a_network_that_fails_in_every_reading_is_refused_with_its_own_words",),
    ),
    (
        "check: a variance beside the prediction is not seen",
        "tasks/check/examination.py",
        "return network.channels == 2 * reading.model.shape[0]",
        "return False",
        (f"{IDENTIFIED}[iDDPM: eps, a learned range]",),
    ),
    (
        "check: a network alone is not seen in company",
        "tasks/check/examination.py",
        "seen = examine([model], data, Processes(), True)",
        "seen = examine([model], data, Processes(), False)",
        (f"{TESTS}a_network_of_one_time_for_a_whole_batch_is_refused",),
    ),
    (
        "check: the ends of a chain are not tried",
        "tasks/check/search.py",
        "one for one in ranked if one.at_ends(draws)",
        "one for one in ranked",
        (f"{TESTS}a_reading_that_fails_at_an_end_of_its_chain_is_none",),
    ),
    (
        "check: each image has the time of another log SNR",
        "tasks/check/search.py",
        "times[rows // len(self.levels)]",
        "times[rows % len(times)]",
        (f"{IDENTIFIED}[flow, data at 1]",),
    ),
    (
        "check: the first steps of a chain are not compared",
        "tasks/check/search.py",
        "if any(one.differs_by_time(other) for other in last):",
        "if False:",
        (f"{TESTS}index_and_t_are_told_apart_by_the_first_steps",),
    ),
    (
        "check: the first steps begin where those of another range do",
        "tasks/check/search.py",
        "return 2 * math.log((support.hi - support.lo) / 2) if isinstance(support, Grid) else 0.0",
        "return 0.0",
        (f"{TESTS}index_and_t_are_told_apart_by_the_first_steps",),
    ),
]
