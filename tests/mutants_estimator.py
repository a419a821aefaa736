"""Deliberate errors in what few images, rare events and thrown-away values are taken for."""

__all__ = ["ESTIMATOR"]

FEW = "tests/estimation/test_few_images.py::test_"
SUBSET = "tests/tasks/test_subset.py::test_"
DECIDED = f"{FEW}sizes_are_decided_by_values_that_are_thrown_away"

ESTIMATOR = [
    (
        "a bin without rows has no noise",
        "estimation/strata.py",
        "return ((rows * square + UNSEEN * pooled) / (rows + UNSEEN)).sqrt()",
        "return square.sqrt()",
        (f"{FEW}a_bin_that_no_row_was_in_is_unknown_and_not_silent",),
    ),
    (
        "nothing goes evenly over t",
        "estimation/strata.py",
        "EVEN = 0.05",
        "EVEN = 0.0",
        (f"{FEW}a_share_of_every_phase_goes_evenly_over_all_t",),
    ),
    (
        "the draws that enter decide how many there are",
        "estimation/adaptive.py",
        "self.evaluator.first(range(PILOT_DRAW, PILOT_DRAW + draws), some)",
        "self.evaluator.first(range(draws), some)",
        (DECIDED,),
    ),
    (
        "a pilot's controls held against rows that are not there",
        "estimation/strata.py",
        "phases = self.phases or self.pilot",
        "phases = self.phases",
        (f"{FEW}a_pilot_knows_its_controls_before_anything_else_is_there",),
    ),
    (
        "a pilot's squares by the chances of the pilot",
        "estimation/strata.py",
        "(phase.rows.weight * between).sqrt() * left",
        "phase.rows.weight * left",
        (f"{FEW}a_pilot_says_what_rows_with_better_chances_will_leave",),
    ),
    (
        "images spread over t together",
        "estimation/adaptive.py",
        "place = torch.arange(half, len(some), 2)",
        "place = torch.arange(len(some)) if half == 0 else torch.arange(0)",
        (f"{FEW}the_two_halves_of_the_images_have_unrelated_times",),
    ),
    (
        "two draws of L_0 whatever N and D are",
        "estimation/adaptive.py",
        "return max(DRAWS, -(-SEEN // (images * dims)))",
        "return DRAWS",
        (f"{FEW}L_0_that_is_rarely_large_is_seen_by_as_many_draws_as_that_takes",),
    ),
    (
        "a chance of a draw for that of all of them",
        "bound/statistics.py",
        "return float(1 - 0.05 ** (1 / draws))",
        "return float(1 - 0.05 ** (2 / draws))",
        (f"{FEW}L_0_that_is_rarely_large_is_seen_by_as_many_draws_as_that_takes",),
    ),
    (
        "expected shares of 0 / 0",
        "estimation/adaptive.py",
        "if not expected.sum() > 0:",
        "if False:",
        (f"{FEW}images_that_are_all_alike_are_measured[levels0]",),
    ),
    (
        "the larger degrees of freedom of two",
        "estimation/sums.py",
        "dof = whole / square if square > 0 else max(self.dof, other.dof)",
        "dof = max(self.dof, other.dof)",
        (f"{FEW}the_degrees_of_freedom_of_a_sum_are_satterthwaites",),
    ),
    (
        "degrees of freedom by the count alone",
        "bound/statistics.py",
        "min(total / square, most) if known else most",
        "most",
        (f"{FEW}one_large_variance_counts_as_one",),
    ),
    (
        "the chance of missing a t of the last row alone",
        "estimation/adaptive.py",
        "missed += len(rows) * torch.log1p",
        "missed += torch.log1p",
        (f"{FEW}the_chance_of_missing_a_t_is_at_least_how_often_one_is_missed",),
    ),
    (
        "a subset that is the first images",
        "tasks/evaluate.py",
        "images.subset(order[:number].sort().values)",
        "images.first(number)",
        (f"{SUBSET}it_is_the_evaluation_of_so_many_images_drawn_by_the_seed",),
    ),
    (
        "a subset by the half-width and not its square",
        "tasks/evaluate.py",
        "MARGIN * (half / given.precision) ** 2",
        "MARGIN * (half / given.precision)",
        (f"{SUBSET}it_is_the_evaluation_of_so_many_images_drawn_by_the_seed",),
    ),
    (
        "the pilot of a subset is for nothing",
        "tasks/evaluate.py",
        "self.evaluator.done + (self.few.evaluations if self.few else 0)",
        "self.evaluator.done",
        (f"{SUBSET}it_is_the_evaluation_of_so_many_images_drawn_by_the_seed",),
    ),
    (
        "a subset beside a budget",
        "tasks/evaluate.py",
        "_check_subset(model, budget is not None or exhaustive)",
        "_check_subset(model, exhaustive)",
        (f"{SUBSET}without_a_precision_there_is_no_subset",),
    ),
]
