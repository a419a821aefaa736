"""Deliberate errors in what is said of single images: their ranks, and their classes."""

__all__ = ["IMAGES"]

RANK = "tests/tasks/test_rank.py::test_"
CLASSIFY = "tests/tasks/test_classify.py::test_"

IMAGES = [
    (
        "rank: an image that is certainly behind itself",
        "results/image_ranking.py",
        "below = torch.searchsorted(high, values - half)",
        "below = torch.searchsorted(high, values + half, right=True)",
        (f"{RANK}ranks_are_those_of_every_pair",),
    ),
    (
        "rank: intervals that hold one at a time",
        "results/image_ranking.py",
        "1 - (1 - LEVEL) / (2 * together)",
        "1 - (1 - LEVEL) / 2",
        (f"{RANK}ranks_hold_at_once_for_every_image_and_look",),
    ),
    (
        "rank: an image unlike the rest by Monte Carlo error alone",
        "results/image_ranking.py",
        "(values + half < self.fence.low) | (values - half > self.fence.high)",
        "(values < self.fence.low) | (values > self.fence.high)",
        (f"{RANK}an_image_is_unlike_the_rest_only_with_its_whole_interval",),
    ),
    (
        "rank: the second look by the noise of the first",
        "tasks/rank.py",
        "seed=seed ^ SECOND",
        "seed=seed",
        (f"{RANK}chance_that_chose_an_image_does_not_flatter_it",),
    ),
    (
        "rank: the figure of the look that chose the image",
        "tasks/rank.py",
        "        bounds = _replaced(bounds, some, _bounds(second))\n",
        "",
        (f"{RANK}chance_that_chose_an_image_does_not_flatter_it",),
    ),
    (
        "classify: each class by noise of its own",
        "data/examples.py",
        "    return with_conditions(examples._taken(where, ()), labels, None)\n",
        "    other = examples._taken(where, ())\n"
        "    object.__setattr__(other, 'kept', torch.arange(len(where)))\n"
        "    return with_conditions(other, labels, None)\n",
        (f"{CLASSIFY}classes_share_t_and_noise",),
    ),
    (
        "classify: t = 1 taken for a later t",
        "estimation/race.py",
        "t=rows.t[row] - 1,",
        "t=rows.t[row].clamp(max=len(self.allocation.bin)),",
        (f"{CLASSIFY}differences_are_those_of_the_bounds",),
    ),
    (
        "classify: risks of those that dropped out before forgotten",
        "estimation/race.py",
        "self.risk[image][:, None] + risk.cumsum(1)",
        "risk",
        (f"{CLASSIFY}the_lowest_bound_drops_out_no_more_often_than_was_promised",),
    ),
    (
        "classify: the leader drops out with the others",
        "estimation/race.py",
        "        self.alive[image] = alive & ~dropped\n",
        "        self.alive[image] = (alive & ~dropped).scatter(1, leader[:, None], False)\n",
        (f"{CLASSIFY}the_lowest_bound_drops_out_no_more_often_than_was_promised",),
    ),
    (
        "classify: half the variance",
        "estimation/race.py",
        "variance = variance + weight * squares.sum(0)",
        "variance = variance + 0.5 * weight * squares.sum(0)",
        (f"{CLASSIFY}the_standard_errors_are_those_of_the_differences",),
    ),
    (
        "classify: two rows of opposite noise taken for two draws",
        "estimation/race.py",
        "_contrasts(apart.reshape(-1, 2, *apart.shape[1:]).sum(1))",
        "_contrasts(apart)",
        (f"{CLASSIFY}rows_of_opposite_noise_are_one_draw",),
    ),
    (
        "classify: the square of a trend counts as variance",
        "estimation/race.py",
        "design = weight[:, None] * apart[:, None] ** torch.arange(3)",
        "design = weight[:, None] * apart[:, None] ** torch.arange(2)",
        (f"{CLASSIFY}variances_of_far_classes_do_not_raise_those_of_near_ones",),
    ),
    (
        "noise: an opposite that is not",
        "bound/estimators.py",
        "return noise.opposite(self.opposite[row])",
        "return noise",
        (f"{CLASSIFY}opposite_noise_is_unbiased_and_its_pairs_vary_less",),
    ),
    (
        "noise: an opposite that is forgotten at a time",
        "bound/noise.py",
        "return KeyedNoise(key, opposite=self._opposite)",
        "return KeyedNoise(key)",
        (
            "tests/bound/test_noise.py::"
            "test_opposite_noise_has_the_other_sign_in_the_rows_that_are_named",
        ),
    ),
    (
        "classify: the interval of a share by the normal law",
        "results/classification.py",
        "    middle = share + z * z / (2 * count)\n",
        "    middle = share\n",
        (f"{CLASSIFY}the_interval_and_the_losses_are_those_of_others",),
    ),
    (
        "classify: behind one leader taken for behind the last",
        "estimation/race.py",
        ".where(~fresh[:, None], 0.0)",
        " * 0.0",
        (f"{CLASSIFY}who_dropped_out_is_as_far_behind_as_when_it_did",),
    ),
    (
        "baselines: bytes for bits",
        "data/packed.py",
        "{name: 8 * size for",
        "{name: size for",
        ("tests/test_baselines.py::test_baselines_are_the_sizes_of_the_files",),
    ),
]
