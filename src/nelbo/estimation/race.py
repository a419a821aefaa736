"""The bounds of each image given each class, of candidates that drop out as they fall behind."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from nelbo.bound.estimators import Rows, stratified
from nelbo.bound.noise import KeyedNoise
from nelbo.estimation.evaluator import Evaluator

__all__ = ["Allocation", "Race", "looks_of"]

BEGIN = 8  # rows of an image and class in the first look; benchmarks/classify.py
BINS = 16  # of the importance, in which the differences between classes are known
FLOOR = 0.1  # of the largest bin's difference, which every bin is taken to have
TINY = 1e-300


def looks_of(most: int) -> list[int]:
    """Rows of an image and class in each look: 8, 8, 16, 32, ..., `most` in all, each even."""
    looks = [min(BEGIN, most - most % 2)]
    while (rows := min(sum(looks), most - sum(looks)) // 2 * 2) > 0:
        looks.append(rows)
    return looks


@final
class Allocation:
    """Which t are evaluated: in proportion to how far classes differ there, seen so far.

    A look's t depend on the looks before it alone, so each look is unbiased given those. importance
    is the model's, of t = 2..T; t = 1 is a bin of its own.
    """

    def __init__(self, importance: Float64[Tensor, " transitions"]) -> None:
        share = importance / importance.sum() if len(importance) else importance
        bins = (share.cumsum(0) * BINS).long().clamp(max=BINS - 1)
        self.share = torch.cat([torch.tensor([1 / BINS], dtype=torch.float64), share])
        self.bin = torch.cat([torch.tensor([BINS]), bins])
        self.squares = torch.zeros(BINS + 1, dtype=torch.float64)
        self.count = torch.zeros(BINS + 1, dtype=torch.float64)

    def chances(self) -> Float64[Tensor, " T"]:
        """Of t = 1..T, all positive."""
        if not self.squares.any():
            return self.share / self.share.sum()
        size = (self.squares / self.count.clamp(min=1)).sqrt()
        chance = self.share * (size + FLOOR * size.max())[self.bin]
        return chance / chance.sum()

    def update(
        self, t: Int64[Tensor, " R"], terms: Float64[Tensor, "R K"], known: Bool[Tensor, "R K"]
    ) -> None:
        """By how far the terms of an image's classes are from their mean, of those that are known.

        The others are 0.
        """
        mean = terms.sum(1, keepdim=True) / known.sum(1, keepdim=True)
        differences = torch.where(known, terms - mean, 0.0)
        squares = (differences / self.share[t - 1, None]).square()
        self.squares.index_add_(0, self.bin[t - 1], squares.sum(1))
        self.count.index_add_(0, self.bin[t - 1], known.sum(1).double())


@final
@dataclass(frozen=True)
class Step:
    """What one look did: which images it was of, who led, who dropped out and how far behind."""

    image: Int64[Tensor, " n"]
    leader: Int64[Tensor, " n"]
    dropped: Bool[Tensor, "n K"]
    behind: Float64[Tensor, "n K"]
    se: Float64[Tensor, "n K"]


@final
class Race:
    """log p(class | x) of N images and K classes, up to log p(x), by paired differences of bounds.

    L_T is the same for every class. The other terms are evaluated at t and noise that an image's
    classes share, in looks; after each, a class drops out where Student's interval of how far it is
    behind the leader, one-sided, holds no 0. Intervals are at error / (looks * (K - 1)): that the
    class of the lowest exact bound ever drops out has at most the chance `error` in each image
    (Bonferroni), where differences are normal. The variance within a look is that of pairs of
    neighbouring strata (Cochran 1977, section 5A.12), never too small in expectation.

    evaluator: of one model, and of each image K times in a row, given class 0..K-1 in turn.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        log_prior: Float64[Tensor, " K"],
        allocation: Allocation,
        looks: Sequence[int],
        error: float,
    ) -> None:
        self.evaluator, self.log_prior, self.allocation = evaluator, log_prior, allocation
        classes = len(log_prior)
        count = len(evaluator.images) // classes
        self.chance = error / (len(looks) * max(classes - 1, 1))
        self.alive = (log_prior > -torch.inf).expand(count, classes).clone()
        self.evaluations = torch.zeros(count, dtype=torch.int64)
        self.key = KeyedNoise.of(evaluator.seed, evaluator.images.ids[::classes])
        self.draws = 1  # of L_0: number 0 is for controls
        self.steps: list[Step] = []
        image, values = torch.arange(count), list[Tensor]()
        for number, rows in enumerate(looks):
            going = self.alive[image].sum(1) > 1
            image, values = image[going], [x[:, going] for x in values]
            if len(image) == 0:
                break
            values.append(self._look(number, rows, image))
            self._drop(image, values)

    def _look(
        self, number: int, strata: int, image: Int64[Tensor, " n"]
    ) -> Float64[Tensor, "strata n K"]:
        """Weighted terms of each candidate, whose sum over strata is unbiased; NaN of others."""
        alive = self.alive[image]
        # a key that no image's own noise has
        key = self.key.rows(image).draw(torch.full_like(image, ~number))
        offsets = key.uniform(torch.empty(len(image), strata)).T
        rows = stratified(self.allocation.chances(), strata, offsets)
        row, label = alive[rows.image].nonzero(as_tuple=True)
        place, t = image[rows.image[row]] * alive.shape[1] + label, rows.t[row] - 1
        nats = self._terms(number, Rows(place, t, rows.draw[row], rows.weight[row]))
        values = torch.full((strata, *alive.shape), torch.nan, dtype=torch.float64)
        values[rows.draw[row], rows.image[row], label] = rows.weight[row] * nats
        self.evaluations[image] += strata * alive.sum(1)
        terms = torch.zeros(len(rows), alive.shape[1], dtype=torch.float64)
        terms[row, label] = nats
        self.allocation.update(rows.t - 1, terms, alive[rows.image])
        return values

    def _terms(self, number: int, rows: Rows) -> Float64[Tensor, " R"]:
        """L_{t-1} of each row, L_0 where t = 1."""
        result = torch.empty(len(rows), dtype=torch.float64)
        later = rows.t > 1
        if later.any():
            wanted = Rows(*(x[later] for x in vars(rows).values()))
            result[later] = self.evaluator.later(number, wanted, [[]])[0][:, 0]
        first = (~later).nonzero()[:, 0]
        while len(first):  # one draw for each image and class at a time
            order = rows.image[first].argsort(stable=True)
            sorted_ = rows.image[first][order]
            new = torch.cat([torch.tensor([True]), sorted_[1:] != sorted_[:-1]])
            now = first[order[new]]
            draws = range(self.draws, self.draws + 1)
            result[now] = self.evaluator.first(draws, rows.image[now])[0][0, :, 0]
            self.draws += 1
            first = first[order[~new]]
        return result

    def _drop(self, image: Int64[Tensor, " n"], values: Sequence[Tensor]) -> None:
        """Candidates that lie behind the leader, as sure as one look of one class must be."""
        from scipy.special import stdtrit

        alive, rows = self.alive[image], sum(len(x) for x in values)
        bound = sum(len(x) / rows * x.sum(0) for x in values)
        score = torch.where(alive, self.log_prior - bound, -torch.inf)
        leader = score.argmax(1)
        behind = score.gather(1, leader[:, None]) - score
        variance, information = torch.zeros_like(behind), torch.zeros_like(behind)
        for x in values:
            apart = x - x.gather(2, leader[None, :, None].expand(len(x), -1, 1))
            pairs = apart.reshape(-1, 2, *behind.shape).diff(dim=1)[:, 0].square()
            weight = (len(x) / rows) ** 2
            variance += weight * pairs.sum(0)
            information += weight**2 * (pairs.square() / 3).sum(0)
        dof = (variance.square() / information.clamp(min=TINY)).clamp(min=1, max=rows / 2)
        dof = torch.where(alive, dof, 1.0)
        quantile = torch.as_tensor(stdtrit(dof.numpy(), 1 - self.chance))
        se = variance.sqrt()
        dropped = alive & (behind > quantile * se)
        dropped.scatter_(1, leader[:, None], False)
        self.alive[image] = alive & ~dropped
        self.steps.append(Step(image, leader, dropped, behind, se))

    def log_odds(self) -> tuple[Float64[Tensor, "N K"], Float64[Tensor, "N K"]]:
        """(log p(class | x) up to one number an image, the standard error to the leader).

        That of a class which dropped out is by the rows that it has, against who led then.
        """
        odds = torch.where(self.alive, 0.0, -torch.inf).double()
        errors = torch.zeros_like(odds)
        seen = torch.zeros(len(odds), dtype=torch.bool)
        for step in reversed(self.steps):
            fresh = ~seen[step.image]  # the last look of these images
            seen[step.image] = True
            left = self.alive[step.image] & fresh[:, None]
            base = odds[step.image].gather(1, step.leader[:, None]).where(~fresh[:, None], 0.0)
            now = step.dropped | left
            odds[step.image] = torch.where(now, base - step.behind, odds[step.image])
            errors[step.image] = torch.where(now, step.se, errors[step.image])
        return odds, errors
