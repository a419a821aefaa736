"""Deliberate errors in what is said of single images: their ranks, and their classes."""

__all__ = ["IMAGES"]

RANK = "tests/tasks/test_rank.py::test_"

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
]
