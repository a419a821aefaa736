"""The bound of images from every one of their terms."""

import math
from typing import final

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from nelbo.bound.control import Control
from nelbo.bound.estimators import every_time
from nelbo.bound.statistics import Moments, satterthwaite, smallest_chance
from nelbo.estimation.adaptive import TAILS, draws_wanted
from nelbo.estimation.distortion import Distortion
from nelbo.estimation.evaluator import Evaluator
from nelbo.estimation.prior import prior_terms
from nelbo.estimation.spread import FEWEST
from nelbo.estimation.sums import Sum, columns_of
from nelbo.results import Curve, Look, Step
from nelbo.typed_json import Json

__all__ = ["Exhaustive"]

SHORT = 10  # a chain of fewer steps is run twice, having too few neighbours
ROUND = 2**20  # the most rows between two looks


@final
class Exhaustive:
    """L of each image by each model, and of their difference where there are two; every t.

    Each t is evaluated once, or twice where T is small; L_0 at least twice. Where the x_t follow
    from x_0 there is no noise, and every term is evaluated once. Columns are the models, then the
    difference, whose noise is what two models make of the same x_t.
    """

    def __init__(self, evaluator: Evaluator, *, distortion: bool = False) -> None:
        self.evaluator = evaluator
        models = evaluator.models
        self.T = models[0].T
        self.images = len(evaluator.images)
        self.exact = all(model.exact for model in models)
        self.times = 2 if 1 < self.T < SHORT and not self.exact else 1
        self.draws = 1 if self.exact else draws_wanted(self.images, models[0].dims)
        each = self.draws + (self.T - 1) * self.times
        evaluator.expected = each * self.images * len(models)
        self.prior = prior_terms(evaluator)
        first = evaluator.first(range(self.draws))[0]
        self.columns = columns_of(len(models))
        exact = [*(model.exact for model in models), self.exact]  # each, and of their difference
        self.noises = [
            Noise(first @ column, self.T, without)
            for column, without in zip(self.columns, exact, strict=False)
        ]
        self.moments = Moments(self.T + 1)
        self.moments.update(torch.ones(self.images, dtype=torch.int64), first[:, :, 0].mean(0))
        self.distortion, self.along = distortion, Distortion(self.T)
        size = max(1, ROUND // max(self.T - 1, 1))
        chunks = torch.split(torch.arange(self.images), size) if self.T > 1 else ()
        for number, chunk in enumerate(chunks):
            self._take(
                torch.stack(
                    [
                        self._every(1 + number * self.times + time, chunk)
                        for time in range(self.times)
                    ]
                )
            )
        self.looks = [Look(evaluator.done, self.total().means()[1])]

    def _every(
        self, stage: int, chunk: Int64[Tensor, " n"]
    ) -> Float64[Tensor, "transitions n models"]:
        rows = every_time(self.T, len(chunk), int(chunk[0]))
        controls: list[list[Control]] = [[] for _ in self.evaluator.models]
        reply = self.evaluator.later(stage, rows, controls, self.distortion)
        error = reply[2][:, 0] if self.distortion and reply[2].shape[1] else None
        self.along.update(rows.t, rows.weight / self.times, reply[0][:, 0], error)
        return reply[0].reshape(-1, len(chunk), len(controls))

    def _take(self, values: Float64[Tensor, "times transitions n models"]) -> None:
        t = torch.arange(2, self.T + 1).repeat_interleave(values.shape[2])
        self.moments.update(t, values[..., 0].mean(0).flatten())
        for noise, column in zip(self.noises, self.columns, strict=True):
            noise.take(values @ column)

    def L_T(self, column: int = -1) -> Sum:
        """L_T of each image, which has no error."""
        prior = self.prior @ self.columns[column]
        return Sum(prior, torch.zeros_like(prior), 0)

    def first(self, column: int = -1) -> Sum:
        """L_0 of each image."""
        return self.noises[column].first(TAILS / self.evaluator.models[0].dims)

    def later(self, column: int = -1) -> Sum:
        """The sum over t > 1 of L_{t-1} of each image."""
        return self.noises[column].later(TAILS / self.evaluator.models[0].dims)

    def total(self, column: int = -1) -> Sum:
        """L of each image."""
        return self.L_T(column) + self.later(column) + self.first(column)

    def seen(self) -> dict[str, Json]:
        """What the evaluations could see, for a result: all t, and of L_0 what is not too rare."""
        if self.exact:
            return {"evaluated_t": self.T}
        return {
            "L_0_draws": self.draws,
            "L_0_smallest_chance": smallest_chance(self.draws * self.images),
            "evaluated_t": self.T,
            "chance_of_missing_a_t": 0.0,
        }

    def curve(self) -> Curve | None:
        """Rate over t, with distortion where it was wanted and the first model has one."""
        if self.T == 1:
            return None
        return self.along.curve(float(self.prior[:, 0].mean()), self.images)

    def steps(self) -> list[Step]:
        """The first model's term of each t over the images, with its standard error."""
        errors = self.moments.standard_error().tolist()
        means = self.moments.mean.tolist()
        return [
            Step(t, means[t], None if errors[t] != errors[t] else errors[t])
            for t in range(1, self.T + 1)
        ]


@final
class Noise:
    """The terms of each image, every t of them, and what noise they have.

    It is seen in the differences between neighbouring t. Half the square of one holds the mean of
    two noises, and on top how much more an image changes than all do; the ends, in one difference
    only, count again: never too narrow.
    """

    def __init__(self, draws: Float64[Tensor, "draws N"], T: int, exact: bool) -> None:
        self.draws, self.T, self.exact, self.times = draws.T, T, exact, 1
        self.sums: list[Tensor] = []
        self.variances: list[Tensor] = []
        self.information = 0.0

    def take(self, values: Float64[Tensor, "times transitions n"]) -> None:
        """The later terms of some images, the same number of times each."""
        self.times = len(values)
        sums = values.sum(1)
        self.sums.append(sums.mean(0))
        if self.exact:
            return self.variances.append(torch.zeros_like(self.sums[-1]))
        if self.times > 1:
            self.variances.append(sums.var(0) / self.times)
            self.information += float(self.variances[-1].square().sum()) / 3
            return
        own, count = values[0], values.shape[2]
        if count >= FEWEST:  # what all images have in common along t is no noise
            own = (own - own.mean(1, keepdim=True)) * math.sqrt(count / (count - 1))
        squares = own.diff(dim=0).square()
        self.variances.append(0.5 * (squares.sum(0) + squares[0] + squares[-1]))
        # each t is in two differences, which therefore count as half as many
        self.information += 2 * float((0.5 * squares).square().sum()) / 3

    def first(self, tails: float) -> Sum:
        """L_0 of each image."""
        images, count = self.draws.shape
        if self.exact:
            return Sum(self.draws[:, 0], torch.zeros(images, dtype=torch.float64), 1)
        variance = self.draws.var(1) / count
        return Sum(self.draws.mean(1), variance, satterthwaite(variance, count - 1, tails))

    def later(self, tails: float) -> Sum:
        """The sum over t > 1 of L_{t-1} of each image."""
        if not self.sums:
            zero = torch.zeros(len(self.draws), dtype=torch.float64)
            return Sum(zero, zero, 0)
        variance = torch.cat(self.variances)
        each = 1 if self.times > 1 else (self.T - 1) / 2
        dof = satterthwaite(variance, each, tails, self.information)
        return Sum(torch.cat(self.sums), variance, dof)
