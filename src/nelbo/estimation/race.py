"""The bounds of each image given each class, of candidates that drop out as they fall behind."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from nelbo.bound.estimators import Rows, stratified
from nelbo.bound.noise import KeyedNoise
from nelbo.estimation.evaluator import Evaluator

__all__ = ["FEWEST", "Allocation", "Race", "looks_of"]

BEGIN = 6  # rows of an image and class in the first look; benchmarks/classify.py
BINS = 16  # of the importance, in which the differences between classes are known
FEWEST = 4  # rows of an image and class in a look: a pair alone does not show how much it varies
FLOOR = 0.02  # of the largest bin's difference, which every bin is taken to have
PILOT = 16  # images whose first look decides where that of the others is
POOLED = 20.0  # degrees of freedom, at most, of what other images say of a variance
TINY = 1e-300


def looks_of(most: int) -> list[int]:
    """Rows of an image and class in each look: 6, 4, 4, 6, 10, 14, ..., `most` in all, at least 4.

    Each look after the first is half of all before it. All are even.
    """
    looks: list[int] = []
    left = most - most % 2
    while left:
        rows = max(FEWEST, sum(looks) // 4 * 2) if looks else BEGIN
        looks.append(left if left - rows < FEWEST else rows)
        left -= looks[-1]
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
    classes share, in looks; after each, the risk of a class is the chance, given what it is behind
    the leader, that its exact bound is the lower one: P(t < -behind / se), which is Bayes' where
    differences are normal and every size of them was as likely before. Classes drop out, the least
    risk first, while the risks of those of an image that did add up to no more than `error`. What
    is known so far is all that a posterior depends on, so the number of looks changes nothing.

    Two neighbouring strata are a pair: their noise is of opposite sign, and so are their places in
    the strata, seen from where these meet (Hammersley and Morton 1956). What is odd in the noise
    cancels in their sum, nearly, which varies by a third less. L_0 alone has noise of its own.

    The variance within a look is that of neighbouring pairs (Cochran 1977, section 5A.12), never
    too small in expectation; `moderated` adds what it is in other images.

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
        self.error = error
        self.alive = (log_prior > -torch.inf).expand(count, classes).clone()
        self.risk = torch.zeros(count, dtype=torch.float64)
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
            parts = [image] if number else [image[:PILOT], image[PILOT:]]
            looked = [self._look(number, rows, part) for part in parts if len(part)]
            values.append(torch.cat(looked, dim=1))
            self._drop(image, values)

    def _look(
        self, number: int, strata: int, image: Int64[Tensor, " n"]
    ) -> Float64[Tensor, "strata n K"]:
        """Weighted terms of each candidate, whose sum over strata is unbiased; NaN of others."""
        alive = self.alive[image]
        # a key that no image's own noise has
        key = self.key.rows(image).draw(torch.full_like(image, ~number))
        first = key.uniform(torch.empty(len(image), strata // 2)).T  # of the strata of a pair
        offsets = torch.stack([first, 1 - first], dim=1).flatten(0, 1)
        rows = stratified(self.allocation.chances(), strata, offsets)
        row, label = alive[rows.image].nonzero(as_tuple=True)
        asked = Rows(
            image=image[rows.image[row]] * alive.shape[1] + label,
            t=rows.t[row] - 1,
            draw=rows.draw[row] // 2,
            weight=rows.weight[row],
            opposite=rows.draw[row] % 2 == 1,
        )
        nats = self._terms(number, asked)
        values = torch.full((strata, *alive.shape), torch.nan, dtype=torch.float64)
        values[rows.draw[row], rows.image[row], label] = asked.weight * nats
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
            wanted = self.evaluator.later(number, rows.some(later), [[]])[0]
            result[later] = wanted[:, 0]
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
        """Candidates whose risks, with those of the image's that dropped out before, are small."""
        from scipy.special import stdtr

        alive, rows = self.alive[image], sum(len(x) for x in values)
        bound = sum(len(x) / rows * x.sum(0) for x in values)
        score = torch.where(alive, self.log_prior - bound, -torch.inf)
        leader = score.argmax(1)
        behind = score.gather(1, leader[:, None]) - score
        rival = alive.scatter(1, leader[:, None], False)
        variance, dof = moderated(*_variance(values, leader), behind, rival)
        se = torch.where(rival, variance, 0.0).sqrt()
        distance = torch.where(rival, behind / se.clamp(min=TINY), 0.0)
        risk = torch.as_tensor(stdtr(dof.numpy(), -distance.numpy()))
        risk, order = torch.where(rival, risk, 1.0).sort(1)
        small = self.risk[image][:, None] + risk.cumsum(1) <= self.error
        self.risk[image] += torch.where(small, risk, 0.0).sum(1)
        dropped = torch.zeros_like(alive).scatter(1, order, small)
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


def _variance(
    values: Sequence[Float64[Tensor, "strata n K"]], leader: Int64[Tensor, " n"]
) -> tuple[Float64[Tensor, "n K"], Float64[Tensor, "n K"]]:
    """(variance of how far each is behind the leader, its degrees of freedom); NaN of others."""
    variance, information = torch.zeros(()).double(), torch.zeros(()).double()
    rows = sum(len(x) for x in values)
    for x in values:
        apart = x - x.gather(2, leader[None, :, None].expand(len(x), -1, 1))
        squares = _contrasts(apart.reshape(-1, 2, *apart.shape[1:]).sum(1)).square()
        weight = (len(x) / rows) ** 2
        variance = variance + weight * squares.sum(0)
        information = information + weight**2 * (squares.square() / 3).sum(0)
    dof = variance.square() / information.clamp(min=TINY)  # Satterthwaite 1946
    return variance, dof.clamp(min=1, max=rows / 3)


def _contrasts(pairs: Float64[Tensor, "pairs n K"]) -> Float64[Tensor, "contrasts n K"]:
    """What differs between neighbouring pairs: the squares add up to the variance of their sum.

    Of each two, and of the last three where their number is odd.
    """
    odd = len(pairs) % 2
    twos = pairs[: len(pairs) - 3 * odd].reshape(-1, 2, *pairs.shape[1:]).diff(dim=1)[:, 0]
    if not odd:
        return twos
    a, b, c = pairs[-3:]
    return torch.cat([twos, torch.stack([math.sqrt(0.75) * (a - b), 0.5 * (a + b) - c])])


def moderated(
    variance: Float64[Tensor, "n K"],
    dof: Float64[Tensor, "n K"],
    behind: Float64[Tensor, "n K"],
    rival: Bool[Tensor, "n K"],
) -> tuple[Float64[Tensor, "n K"], Float64[Tensor, "n K"]]:
    """Variances with what they are in other images, and their degrees of freedom (Smyth 2004).

    Two classes that are farther apart vary more: of two normal laws, the logarithm of the ratio
    has a variance in proportion to its mean. So a variance is expected to be a line in `behind`; it
    counts as many degrees of freedom as those of other images, `POOLED` at most, so that an image
    alone keeps its own. The line is fitted to all rivals together with a square, which is left out:
    neighbouring pairs differ in the mean by a share of `behind`, and that is no variance.
    """
    from scipy.optimize import nnls

    images, own = int(rival.any(1).sum()), torch.where(rival, dof, 1.0)
    if images < 2 or not behind[rival].any():
        return variance, own
    apart = behind[rival]
    weight = 1 / (apart + apart.mean())
    design = weight[:, None] * apart[:, None] ** torch.arange(3)
    line = nnls(design.numpy(), (weight * variance[rival]).numpy())[0]
    expected = line[0] + line[1] * torch.where(rival, behind, 0.0)
    pooled = min(POOLED, (images - 1) * float(dof[rival].mean()))
    return (pooled * expected + own * variance) / (pooled + own), pooled + own
