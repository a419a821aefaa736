"""The bound of images from a few of their terms: phases of rows, until they are enough."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from nelbo.bound.control import Control
from nelbo.bound.estimators import Rows, spread_offsets, stratified
from nelbo.bound.noise import KeyedNoise
from nelbo.bound.statistics import (
    Mean,
    clustered_means,
    satterthwaite,
    smallest_chance,
)
from nelbo.errors import BadInput
from nelbo.estimation.distortion import Distortion
from nelbo.estimation.evaluator import Evaluator
from nelbo.estimation.prior import prior_terms
from nelbo.estimation.spread import FEWEST
from nelbo.estimation.strata import Combined, ControlTest, Layout
from nelbo.estimation.sums import Sum, columns_of
from nelbo.results import Curve, Look, Step
from nelbo.typed_json import Json

__all__ = ["DRAWS", "Sampling", "require_budget"]

DRAWS = 2  # of L_0, for its noise to show
SEEN = 100  # numbers (draws x images x dimensions) of L_0, so that what is rare in it is seen
PILOT_IMAGES = 64  # the most images of a pilot
PILOT_EACH = (12, 24)  # evaluations of each of them: at least, and where they are few
PILOT = 384  # evaluations of a pilot, where so few images allow them
PART = 0.1  # of a budget that a pilot may take; where that is too little there is none
PILOT_DRAW = 2**30  # the first number of a draw of L_0 in a pilot
THIRD = 3  # of the evaluations L_0 has one in so many where no pilot says what it needs
TAILS = 6.0  # half the excess kurtosis of the square of a normal number; terms are sums of D
MARGIN = 1.1  # by which a plan's variance is below what is wanted, as it is an estimate itself
EXPECTED = 64  # parts of the importance for which the controls say what to expect
MOST_EACH = 1000  # evaluations per image after which a precision is given up, or T if more


def require_budget(budget: int | None, images: int, T: int, models: int = 1) -> None:
    """Refuses, before the work, a budget that gives no error bar; None is none.

    Raises:
        BadInput: it is below two evaluations of L_0 and two later ones for each image and model.
    """
    least = images * models * (DRAWS + (2 if T > 1 else 0))
    if budget is not None and budget < least:
        raise BadInput(f"a budget for {images} images starts at {least} evaluations; got {budget}")


@final
@dataclass(frozen=True)
class Plan:
    """What a pilot, whose values are thrown away, says of one evaluation of an image.

    first and later: the variance that one draw of L_0 and one row of the later terms leave;
    between: that of the exact bounds between images; dof: of the first two.
    """

    first: float
    later: float
    between: float
    dof: int | float

    def draws(self, each: int | float) -> float:
        """Of so many evaluations of an image, those that L_0 should have (Neyman 1934)."""
        first, later = math.sqrt(self.first), math.sqrt(self.later)
        return each * first / (first + later) if first > 0 else 0.0


@final
class Sampling:
    """L of each image by each model, and of their difference where there are two.

    Columns are the models, then the difference, which is estimated as such: at the same images,
    times and noise most of the noise is common. The last column decides which t are evaluated
    next and when it is enough.
    """

    def __init__(self, evaluator: Evaluator, *, distortion: bool = False) -> None:
        self.evaluator = evaluator
        self.distortion = distortion
        self.T = evaluator.models[0].T
        self.columns = columns_of(len(evaluator.models))
        self.rows: list[Rows] = []
        self.replies: list[list[Tensor]] = []
        self.chances: list[Tensor] = []
        self.looks: list[Look] = []
        self.stage = 0
        self.tails = TAILS / evaluator.models[0].dims
        self.pilot = 0  # evaluations whose values are thrown away
        self.wanted = draws_wanted(len(evaluator.images), evaluator.models[0].dims)
        self.prior = prior_terms(evaluator)
        first, contexts = evaluator.first(range(1))
        self.draws = [*first]
        self.draw(DRAWS - 1)
        self.controls = self._controls(contexts)
        self.layout, totals = self._layout()
        names = tuple(control.name for own in self.controls for control in own)
        self.combineds = [
            Combined(self.layout, len(evaluator.images), names, totals) for _ in self.columns
        ]

    def draw(self, count: int) -> None:
        """So many draws of L_0 more for each image."""
        known = len(self.draws)
        if count > 0:
            self.draws += [*self.evaluator.first(range(known, known + count))[0]]

    def phase(self, strata: int) -> None:
        """So many rows more for each image, at the t that the last column wants."""
        chance, rows, reply = self._rows(strata, torch.arange(len(self.evaluator.images)))
        self.chances.append(chance)
        self.rows.append(rows)
        self.replies.append(reply)
        for combined, column in zip(self.combineds, self.columns, strict=True):
            combined.add(rows, reply[0] @ column, reply[1])

    def _rows(
        self, strata: int, some: Int64[Tensor, " n"]
    ) -> tuple[Float64[Tensor, " transitions"], Rows, list[Tensor]]:
        """(the chances of each t, rows of some images, what came back).

        The two halves of the images, which fit each other's coefficients, are spread over t
        apart: neither says where the other's rows are.
        """
        share = self.layout.share / self.layout.share.sum()
        chance = share * _coarse(self.combineds[-1].chances() / share)
        stage, self.stage = self.stage, self.stage + 1
        key = KeyedNoise.of(self.evaluator.seed, self.evaluator.images.ids[some])
        # a key that no image's own noise has, since the rows of all images decide each one's rank
        key = key.draw(torch.full_like(some, ~stage))
        offsets = torch.empty(strata, len(some), dtype=torch.float64)
        for half in (0, 1):
            place = torch.arange(half, len(some), 2)
            for stratum in range(strata if len(place) else 0):
                own = key.rows(place).draw(torch.full_like(place, stratum))
                offsets[stratum, place] = spread_offsets(own)
        # chances that are a rounding apart on two machines would be other rows in each process
        rows = self.evaluator.processes.once(lambda: stratified(chance, strata, offsets))
        rows = Rows(some[rows.image], rows.t, rows.draw, rows.weight)
        reply = self.evaluator.later(stage, rows, self.controls, self.distortion)
        return chance / chance.sum(), rows, reply

    def spend(self, budget: int) -> None:
        """At most so many evaluations in all; `require_budget` says how many are enough.

        Where a tenth of them suffices for a pilot, its values share the rest between L_0 and the
        later terms and are thrown away; else L_0 has a third. No value that enters the estimate
        decides how much of anything there is.
        """
        count = len(self.evaluator.images)
        one = count * len(self.evaluator.models)
        each = budget // one
        self.evaluator.expected = each * one
        if self.T == 1:
            return self._measure(each, 0)
        images = min(count, PILOT_IMAGES, int(PART * each * count) // PILOT_EACH[0])
        if images * PILOT_EACH[0] < PILOT and images < PILOT_IMAGES:
            draws = max(DRAWS, each // THIRD)
            return self._measure(max(draws, min(self.wanted, each // 2)), each)
        plan = self._pilot(images, PILOT_EACH[0])
        left = each - -(-images * PILOT_EACH[0] // count)
        draws = max(round(plan.draws(left)), min(self.wanted, left // 2), DRAWS)
        return self._measure(min(draws, left - 2), left)

    def until(self, precision: float) -> str:
        """As many evaluations as a pilot says that a half-width of `precision` nats takes.

        Two stages (Stein 1945, Cox 1952): the pilot's values are thrown away, and no value that
        enters the estimate decides when it ends. Also enough is a tenth of the half-width that
        the spread between images would leave alone. No image is evaluated more than 1,000 times,
        or T times where T is more. Answers with what decided.
        """
        count = len(self.evaluator.images)
        images = min(count, PILOT_IMAGES)
        each = min(max(PILOT // images, PILOT_EACH[0]), PILOT_EACH[1])
        plan, most = self._pilot(images, each), max(self.T, MOST_EACH)
        # the first process decides for all, whose machines may round otherwise
        draws, rows, enough = self.evaluator.processes.once(
            lambda: self._sizes(plan, precision, most - each)
        )
        enough = enough or f"{most:,} evaluations of each image"
        more = (draws - len(self.draws) + rows) * count * len(self.evaluator.models)
        self.evaluator.expected = self.evaluator.done + more
        self._measure(draws, draws + rows)
        return enough

    def _sizes(self, plan: Plan, precision: float, most: int) -> tuple[int, int, str]:
        """(draws of L_0, rows of an image, what decided: "" where it is the most there may be)."""
        count = len(self.evaluator.images)
        tenth = 0.0
        if count > 1 and plan.between > 0:
            one = Mean(0.0, math.sqrt(plan.between / count), count - 1)
            tenth = (one.half_width() or 0.0) / 10
        enough = "precision" if precision >= tenth else "a tenth of the interval between images"
        width = Mean(0.0, 1.0, plan.dof).half_width() or math.inf
        target = count * (max(precision, tenth) / width) ** 2 / MARGIN
        first, later = math.sqrt(plan.first), math.sqrt(plan.later)
        draws, rows = ((part * (first + later)) / target for part in (first, later))
        if draws + rows > most:
            enough = ""
            draws, rows = (most * part / (draws + rows) for part in (draws, rows))
        draws = max(math.ceil(draws), self.wanted, DRAWS)
        rows = max(math.ceil(rows), 2) if self.T > 1 else 0
        rows = max(min(rows, most - draws), 2) if rows else 0
        return draws, rows, enough

    def _pilot(self, images: int, each: int) -> Plan:
        """Evaluations of some images that are thrown away, and what they say."""
        count = len(self.evaluator.images)
        some = torch.linspace(0, count - 1, images, dtype=torch.float64).round().long()
        last = self.columns[-1]
        draws = each if self.T == 1 else max(DRAWS, each // 4)
        values = (self.evaluator.first(range(PILOT_DRAW, PILOT_DRAW + draws), some)[0] @ last).T
        of_first = Sum(
            values.mean(1), values.var(1), satterthwaite(values.var(1), draws - 1, self.tails)
        )
        total, of_later = of_first.values, Sum(0 * of_first.values, 0 * of_first.values, 1)
        error = of_first.variance / draws
        self.pilot = images * each * len(self.evaluator.models)
        if self.T > 1:
            for strata in ((each - draws) // 3, each - draws - (each - draws) // 3):
                _, rows, reply = self._rows(strata, some)
                for combined, column in zip(self.combineds, self.columns, strict=True):
                    combined.try_out(rows, strata, reply[0] @ column, reply[1])
            values, one = self.combineds[-1].rate()
            of_later = Sum(values, one.variance, one.dof(self.tails))
            total, error = total + values, error + one.variance / strata
        prior = (self.prior @ last)[some]
        between = float((total + prior).var() - error.mean()) if images > 1 else 0.0
        return Plan(
            float(of_first.variance.mean()),
            float(of_later.variance.mean()),
            max(between, 0.0),
            (of_first + of_later).dof,
        )

    def _measure(self, draws: int, each: int) -> None:
        """So many draws of L_0, and rows in two phases, the second with what the first says."""
        self.draw(draws - len(self.draws))
        rows = each - draws
        if self.T > 1:
            begin = max(2, rows // 4) if rows >= 4 else rows
            self.phase(begin)
            if rows > begin:
                self._look()
                self.phase(rows - begin)
        self._look()

    def _look(self) -> None:
        mean = self.total(-1).means()[1]
        self.looks.append(Look(self.evaluator.done, mean))
        unit, dims = self.evaluator.unit, self.evaluator.models[0].dims
        half = unit.per_dim(mean.half_width() or 0.0, dims)
        self.evaluator.text = f"{unit.per_dim(mean.mean, dims):.4f} ± {half:.2g} {unit.name}"

    def L_T(self, column: int = -1) -> Sum:
        """L_T of each image, which has no error."""
        prior = self.prior @ self.columns[column]
        return Sum(prior, torch.zeros_like(prior), 0)

    def first(self, column: int = -1) -> Sum:
        """L_0 of each image."""
        draws = torch.stack([draw @ self.columns[column] for draw in self.draws], dim=1)
        count = draws.shape[1]
        variance = draws.var(1) / count
        return Sum(draws.mean(1), variance, satterthwaite(variance, count - 1, self.tails))

    def later(self, column: int = -1) -> Sum:
        """The sum over t > 1 of L_{t-1} of each image."""
        combined = self.combineds[column]
        if not combined.phases:
            zero = torch.zeros(len(self.evaluator.images), dtype=torch.float64)
            return Sum(zero, zero, 0)
        values, spread = combined.estimate_and_spread()
        return Sum(values, spread.variance, spread.dof(self.tails))

    def total(self, column: int = -1) -> Sum:
        """L of each image."""
        return self.L_T(column) + self.later(column) + self.first(column)

    def seen(self) -> dict[str, Json]:
        """What the evaluations could see, for a result.

        Some draw of L_0 met an event of the smallest chance with 95 % certainty; a t that no
        image was evaluated at was missed with the chance that is given for the worst of them.
        """
        images, times = len(self.evaluator.images), [rows.t for rows in self.rows]
        missed = torch.zeros(self.T - 1, dtype=torch.float64)
        for chance, rows in zip(self.chances, self.rows, strict=True):
            missed += len(rows) * torch.log1p(-chance)
        return {
            "pilot": self.pilot,
            "L_0_draws": len(self.draws),
            "L_0_smallest_chance": smallest_chance(len(self.draws) * images),
            "evaluated_t": 1 + (len(torch.cat(times).unique()) if times else 0),
            "chance_of_missing_a_t": float(missed.exp().max()) if self.rows else 0.0,
        }

    def tests(self) -> list[ControlTest]:
        """What became of each control's test."""
        return self.combineds[-1].tests() if self.rows else []

    def steps(self, model: int = 0) -> list[Step]:
        """The term of each t over the images evaluated there, in nats."""
        image = torch.arange(len(self.evaluator.images))
        t = [torch.ones_like(image)] * len(self.draws) + [rows.t for rows in self.rows]
        images = [image] * len(self.draws) + [rows.image for rows in self.rows]
        values = torch.cat([*self.draws, *(reply[0] for reply in self.replies)])[:, model]
        means = clustered_means(torch.cat(t), torch.cat(images), values)
        return [Step(*step) for step in means]

    def curve(self, model: int = 0) -> Curve | None:
        """Rate over t, with distortion where it was wanted and the model has one."""
        if not self.rows:
            return None
        sums = Distortion(self.T)
        strata = self.combineds[-1].strata
        for rows, reply in zip(self.rows, self.replies, strict=True):
            part = len(rows) / len(self.evaluator.images) / strata
            known = len(reply) == 3 and reply[2].shape[1] > model
            error = reply[2][:, model] if known else None
            sums.update(rows.t, part * rows.weight, reply[0][:, model], error)
        return sums.curve(float(self.prior[:, model].mean()), len(self.evaluator.images))

    def _controls(self, contexts: Sequence[Tensor | None]) -> list[list[Control]]:
        values = self.evaluator.images.values
        if len(values) < FEWEST:
            return [[] for _ in self.evaluator.models]
        pairs = zip(self.evaluator.models, contexts, strict=True)
        return [list(model.controls(values, context)) for model, context in pairs]

    def _layout(self) -> tuple[Layout, Float64[Tensor, "2 N bins k"] | None]:
        """Where the bound is expected along t: half by the schedule, half by the controls."""
        parts = [model.importance / model.importance.sum() for model in self.evaluator.models]
        share = torch.stack(parts).mean(0)  # the same whichever of two models comes first
        if not any(self.controls) or self.T == 1:
            return Layout.even(share), None
        fine = Layout.even(share, EXPECTED)
        parts, last = [], []
        for model, own in zip(self.evaluator.models, self.controls, strict=True):
            pieces = self.evaluator.images.values.split(self.evaluator.chunk)
            x_0 = torch.cat([model.x_0(piece) for piece in pieces])
            parts += [control.totals(x_0, fine.bin, fine.count) for control in own]
            last += [parts[-1]] if own else []
        of_fine_bins = torch.stack(parts, dim=3)
        expected = torch.stack(last).mean((0, 1, 2)).clamp(min=0)
        if not expected.sum() > 0:  # images that are all alike: their controls have no error
            expected = fine.totals()
        of_fine = _coarse(expected / expected.sum() / fine.totals())
        layout = fine.merged(0.5 * share + 0.5 * share * of_fine[fine.bin])
        *rows, _, count = of_fine_bins.shape
        totals = torch.zeros(*rows, layout.count, count, dtype=torch.float64)
        return layout, totals.index_add_(2, layout.bin[fine.first], of_fine_bins)


def draws_wanted(images: int, dims: int) -> int:
    """Draws of L_0 for each image: 100 / (images x dimensions), at least 2."""
    return max(DRAWS, -(-SEEN // (images * dims)))


def _coarse(ratio: Tensor) -> Tensor:
    """To a quarter of an octave: for another batch size, which rounds otherwise, the same."""
    return (4 * ratio.log2()).round().div(4).exp2()
