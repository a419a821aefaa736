"""Rounds of fewer readings and more images: successive halving, and those that are left."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import final

from nelbo.tasks.check.search import Candidate, Draws, Remembered

__all__ = ["LAST", "LIMIT", "MOST", "TRIED", "USUAL", "Rounds", "blocks", "lowest"]

LIMIT = 10_000  # network evaluations of a whole examination
TRIED = (6, 6)  # images and log SNRs, of the first round
ROUNDS = ((*TRIED, 12), (16, 8, 4))  # images, log SNRs, candidates that are left
LAST = 12  # log SNRs of the last round, which takes images by blocks
FIRST = 2  # more, of the first steps of a chain
BLOCK = 16
USUAL, MOST = 64, 128  # images of the last round: more than 64 where an interval is wide
WIDE = 0.05  # half of the interval of a difference, per dimension
FAR = 5  # half-widths


@final
@dataclass(frozen=True)
class Rounds:
    """What they are made with.

    draws_of: of these images, at so many log SNRs; images: how many there are; left: how many
    network evaluations may still be made; per_dim: nats of an image per dimension.
    """

    draws_of: Callable[[range, int], Draws]
    images: int
    remembered: Remembered
    left: Callable[[], int]
    per_dim: Callable[[float], float]
    progress: Callable[[int, int, str], None]

    def halved(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Those that are left for the last round, the best first."""
        left = list(candidates)
        for number, (images, count, keep) in enumerate(ROUNDS):
            draws = self.draws_of(range(images), count)
            for done, candidate in enumerate(left):
                candidate.measure(draws)
                self._show(done + 1, len(left), number)
            ranked = sorted((one for one in left if one.is_finite), key=lambda one: one.mean)
            left = list(itertools.islice((one for one in ranked if one.at_ends(draws)), keep))
            self.remembered.forget()
        return left

    def told_apart(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Those that gave numbers, the best first, at the same images and noises.

        They take 64, and more while an interval is wide. One that is far behind takes no more once
        its interval is narrow, or if all images would not make it so: its difference is of fewer.
        A block of images that could take more evaluations than are left is not begun. index and t
        are one step apart, which shows at the first steps of a chain alone: these are measured
        where two differ by no more.
        """
        for one in candidates:
            one.begin(any(one.differs_by_time(other) for other in candidates))
        running = list(candidates)
        for block in blocks(self.images):
            if sum(_evaluations(one, len(block)) for one in running) > self.left():
                break
            draws = self.draws_of(block, LAST)
            for one in running:
                one.extend(draws)
            self.remembered.forget()
            self._show(block.stop, self.images, len(ROUNDS))
            running = self._open([one for one in running if one.is_finite])
            if not running or (block.stop >= USUAL and self._widest(running) < WIDE):
                break
        finite = [one for one in candidates if one.is_finite]
        return sorted(finite, key=lambda one: one.beside(lowest(finite)).mean)

    def _open(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Those of which more images would say more."""
        left = []
        for one in candidates:
            best = lowest(candidates)
            difference, images = one.beside(best), len(one.above(best))
            half = difference.half_width()
            is_far = half is not None and difference.mean > FAR * half
            now = self.per_dim(half or 0.0)
            if not is_far or now * (images / self.images) ** 0.5 < WIDE <= now:
                left.append(one)
        return left

    def _widest(self, candidates: Sequence[Candidate]) -> float:
        """Half of the widest interval of a difference to the best, per dimension."""
        best = lowest(candidates)
        return max(self.per_dim(one.beside(best).half_width() or 0.0) for one in candidates)

    def _show(self, done: int, expected: int, number: int) -> None:
        self.progress(done, expected, f"round {number + 1} of {len(ROUNDS) + 1}")


def lowest(candidates: Sequence[Candidate]) -> Candidate:
    """That which none after it is better than, by what the two of them are compared by."""

    def better(one: Candidate, other: Candidate) -> Candidate:
        return other if one.above(other).mean() > 0 else one

    return reduce(better, candidates)


def blocks(images: int) -> list[range]:
    """The images of the last round, a few at a time."""
    return [range(at, min(at + BLOCK, images)) for at in range(0, images, BLOCK)]


def _evaluations(one: Candidate, images: int) -> int:
    """That so many images take in the last round, if none is remembered."""
    return images * (LAST if one.first is None else LAST + FIRST)
