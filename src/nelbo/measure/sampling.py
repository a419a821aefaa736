"""The bound of images from a few of their terms: phases of rows, until they are enough."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float64
from torch import Tensor

from nelbo.bound.control import Control
from nelbo.bound.estimators import Rows, spread_offsets, stratified
from nelbo.bound.noise import KeyedNoise
from nelbo.bound.statistics import Mean, clustered_means, mean_over_images
from nelbo.bound.survey import FEWEST, ControlTest, Layout, Survey
from nelbo.errors import BadInput
from nelbo.measure.asking import Asking
from nelbo.measure.distortion import Distortion
from nelbo.measure.prior import prior_terms
from nelbo.report import Curve, Look, Step

__all__ = ["DRAWS", "Sampling", "Sum"]

DRAWS = 2  # of L_0, for its noise to show
PHASE = 1024  # rows of the first phase, where the images are few
STRATA = (2, 24)  # rows of an image in the first phase: at least, at most
GROWTH = 3  # the most by which a phase multiplies what is there
EXPECTED = 64  # parts of the importance for which the controls say what to expect
DEAREST = 1000  # evaluations per image after which a precision is given up, or T if more


@final
@dataclass(frozen=True)
class Sum:
    """Estimates for each image, in nats, and the variance of each one's error."""

    values: Float64[Tensor, " N"]
    variance: Float64[Tensor, " N"]
    dof: int

    def means(self) -> tuple[Mean, Mean]:
        """(for images like these, for exactly these images)."""
        return mean_over_images(self.values, self.variance, self.dof)

    def __add__(self, other: "Sum") -> "Sum":
        """Of independent parts."""
        dof = max(self.dof, other.dof)
        return Sum(self.values + other.values, self.variance + other.variance, dof)


@final
class Sampling:
    """L of each image by each model, and of their difference where there are two.

    Columns are the models, then the difference, which is estimated as such: at the same images,
    times and noise most of the noise is common. The last column decides which t are asked for
    next and when it is enough.
    """

    def __init__(self, asking: Asking, *, distortion: bool = False) -> None:
        self.asking = asking
        self.distortion = distortion
        self.T = asking.models[0].T
        one = torch.ones(1, 1, dtype=torch.float64)
        pair = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, -1.0]], dtype=torch.float64)
        self.columns = one if len(asking.models) == 1 else pair
        self.rows: list[Rows] = []
        self.replies: list[list[Tensor]] = []
        self.looks: list[Look] = []
        self.prior = prior_terms(asking)
        first, contexts = asking.first(0)
        self.draws = [first]
        self.draw(DRAWS - 1)
        self.controls = self._controls(contexts)
        self.layout, totals = self._layout()
        names = tuple(control.name for own in self.controls for control in own)
        self.surveys = [
            Survey(self.layout, len(asking.images), names, totals) for _ in self.columns
        ]

    def draw(self, count: int) -> None:
        """So many draws of L_0 more for each image."""
        for _ in range(count):
            self.draws.append(self.asking.first(len(self.draws))[0])

    def phase(self, strata: int) -> None:
        """So many rows more for each image, at the t that the last column wants."""
        survey = self.surveys[-1]
        share = self.layout.share / self.layout.share.sum()
        chance = share * _coarse(survey.chances() / share) if survey.phases else share
        ids = self.asking.images.ids
        stage = len(self.rows)
        # a key that no image's own noise has, since the rows of all images decide each one's rank
        key = KeyedNoise.of(self.asking.seed, ids).draw(torch.full_like(ids, ~stage))
        strata_keys = (key.draw(torch.full_like(ids, stratum)) for stratum in range(strata))
        offsets = torch.stack([spread_offsets(key) for key in strata_keys])
        # chances that are a rounding apart on two machines would be other rows in each process
        rows = self.asking.processes.once(lambda: stratified(chance, strata, offsets))
        reply = self.asking.later(stage, rows, self.controls, self.distortion)
        self.rows.append(rows)
        self.replies.append(reply)
        for survey, column in zip(self.surveys, self.columns, strict=True):
            survey.add(rows, reply[0] @ column, reply[1])

    def spend(self, budget: int) -> None:
        """At most so many evaluations in all, a quarter of them to find out where the rest goes.

        L_0 and the later terms share it by the noise of one evaluation of each (Neyman 1934).

        Raises:
            BadInput: a budget below two evaluations of L_0 and two later ones for each image.
        """
        one = len(self.asking.images) * len(self.asking.models)
        each = budget // one
        least = DRAWS + (2 if self.T > 1 else 0)
        if each < least:
            raise BadInput(
                f"a budget for {len(self.asking.images)} images starts at {least * one} "
                f"evaluations; got {budget}"
            )
        self.asking.expected = each * one
        if self.T == 1:
            self.draw(each - DRAWS)
            return self._look()
        rest = each - DRAWS
        pilot = max(2, rest // 4) if rest >= 4 else rest
        self.phase(pilot)
        self._look()
        if rest > pilot:
            draws = self.asking.processes.once(lambda: self._draws(rest - pilot))
            self.draw(draws)
            self.phase(rest - pilot - draws)
            self._look()
        return None

    def until(self, precision: float) -> str:
        """Phases until the Monte Carlo half-width is `precision` nats; what made them stop.

        Also enough is a tenth of the half-width that the spread between images would leave
        alone. No image is asked for more than 1,000 evaluations, or T where T is more.
        """
        count = len(self.asking.images)
        one = count * len(self.asking.models)
        if self.T > 1:
            self.phase(min(max(PHASE // count, STRATA[0]), STRATA[1]))
        while True:
            self._look()
            # the first process decides for all, whose machines may round otherwise
            enough, draws, strata = self.asking.processes.once(lambda: self._next(precision, one))
            if enough:
                return enough
            self.asking.expected = self.asking.done + (draws + strata) * one
            if draws:
                self.draw(draws)
            if strata:
                self.phase(strata)

    def _look(self) -> None:
        mean = self.total(-1).means()[1]
        self.looks.append(Look(self.asking.done, mean))
        unit, dims = self.asking.unit, self.asking.models[0].dims
        half = unit.per_dim(mean.half_width() or 0.0, dims)
        self.asking.text = f"{unit.per_dim(mean.mean, dims):.4f} ± {half:.2g} {unit.name}"

    def _next(self, precision: float, one: int) -> tuple[str, int, int]:
        """(why it is enough, "" if it is not; draws of L_0, and rows, to be asked for then).

        They reduce the variance to what is wanted, in the part that has most of it.
        """
        total = self.total(-1)
        half, tenth = total.means()[1].half_width() or 0.0, _between(total) / 10
        if half <= precision:
            return "precision", 0, 0
        if half <= tenth:
            return "a tenth of the interval between images", 0, 0
        most = max(self.T, DEAREST)
        room = most - self.asking.done // one
        if room < 2:
            return f"{most:,} evaluations of each image", 0, 0
        lacking = (half / max(precision, tenth)) ** 2 - 1
        if self.T == 1 or self.first(-1).variance.sum() > self.later(-1).variance.sum():
            draws = len(self.draws)
            return "", min(math.ceil(draws * lacking), GROWTH * draws, room), 0
        strata = self.surveys[-1].strata
        return "", 0, min(max(math.ceil(strata * lacking), 2), GROWTH * strata, room)

    def _draws(self, left: int) -> int:
        """How many of so many evaluations more of each image L_0 should have; two are for t > 1."""
        draws, strata = len(self.draws), self.surveys[-1].strata
        first = math.sqrt(draws * float(self.first(-1).variance.sum()))
        later = math.sqrt(strata * float(self.later(-1).variance.sum()))
        part = first / (first + later) if first > 0 else 0.0
        return min(max(round(part * (draws + strata + left)) - draws, 0), left - 2)

    def L_T(self, column: int = -1) -> Sum:
        """L_T of each image, which has no error."""
        prior = self.prior @ self.columns[column]
        return Sum(prior, torch.zeros_like(prior), 0)

    def first(self, column: int = -1) -> Sum:
        """L_0 of each image."""
        draws = torch.stack([draw @ self.columns[column] for draw in self.draws], dim=1)
        count = draws.shape[1]
        return Sum(draws.mean(1), draws.var(1) / count, len(draws) * (count - 1))

    def later(self, column: int = -1) -> Sum:
        """The sum over t > 1 of L_{t-1} of each image."""
        survey = self.surveys[column]
        if not survey.phases:
            zero = torch.zeros(len(self.asking.images), dtype=torch.float64)
            return Sum(zero, zero, 0)
        values, variance = survey.estimate()
        pairs = sum(max(phase.strata // 2, 1) for phase in survey.phases)
        dof = pairs * (len(values) - 1) if len(values) > 1 else pairs
        return Sum(values, variance, max(dof, 1))

    def total(self, column: int = -1) -> Sum:
        """L of each image."""
        return self.L_T(column) + self.later(column) + self.first(column)

    def tests(self) -> list[ControlTest]:
        """What became of each control's test."""
        return self.surveys[-1].tests() if self.rows else []

    def steps(self, model: int = 0) -> list[Step]:
        """The term of each t over the images that were asked for it."""
        image = torch.arange(len(self.asking.images))
        t = [torch.ones_like(image)] * len(self.draws) + [rows.t for rows in self.rows]
        images = [image] * len(self.draws) + [rows.image for rows in self.rows]
        values = torch.cat([*self.draws, *(reply[0] for reply in self.replies)])[:, model]
        found = clustered_means(torch.cat(t), torch.cat(images), values)
        return [Step(*step) for step in found]

    def curve(self, model: int = 0) -> Curve | None:
        """Rate over t, with distortion where it was asked for and the model has one."""
        if not self.rows:
            return None
        sums = Distortion(self.T)
        strata = self.surveys[-1].strata
        for rows, reply in zip(self.rows, self.replies, strict=True):
            part = len(rows) / len(self.asking.images) / strata
            known = len(reply) == 3 and reply[2].shape[1] > model
            error = reply[2][:, model] if known else None
            sums.update(rows.t, part * rows.weight, reply[0][:, model], error)
        return sums.curve(float(self.prior[:, model].mean()), len(self.asking.images))

    def _controls(self, contexts: Sequence[Tensor | None]) -> list[list[Control]]:
        values = self.asking.images.values
        if len(values) < FEWEST:
            return [[] for _ in self.asking.models]
        pairs = zip(self.asking.models, contexts, strict=True)
        return [list(model.controls(values, context)) for model, context in pairs]

    def _layout(self) -> tuple[Layout, Float64[Tensor, "2 N bins k"] | None]:
        """Where the bound is expected along t: half by the schedule, half by the controls."""
        parts = [model.importance / model.importance.sum() for model in self.asking.models]
        share = torch.stack(parts).mean(0)  # the same whichever of two models comes first
        if not any(self.controls) or self.T == 1:
            return Layout.even(share), None
        fine = Layout.even(share, EXPECTED)
        parts, last = [], []
        for model, own in zip(self.asking.models, self.controls, strict=True):
            x_0 = model.x_0(self.asking.images.values)
            parts += [control.totals(x_0, fine.bin, fine.count) for control in own]
            last += [parts[-1]] if own else []
        found = torch.stack(parts, dim=3)
        expected = torch.stack(last).mean((0, 1, 2)).clamp(min=0)
        of_fine = _coarse(expected / expected.sum() / fine.totals())
        layout = fine.merged(0.5 * share + 0.5 * share * of_fine[fine.bin])
        totals = torch.zeros(2, found.shape[1], layout.count, found.shape[3], dtype=torch.float64)
        return layout, totals.index_add_(2, layout.bin[fine.first], found)


def _coarse(ratio: Tensor) -> Tensor:
    """To a quarter of an octave: for another batch size, which rounds otherwise, the same."""
    return (4 * ratio.log2()).round().div(4).exp2()


def _between(total: Sum) -> float:
    """The half-width for images like these that would be left without Monte Carlo error."""
    spread = float(total.values.var()) - float(total.variance.mean())
    if len(total.values) < 2 or not spread > 0:
        return 0.0
    one = Mean(0.0, math.sqrt(spread / len(total.values)), len(total.values) - 1)
    return one.half_width() or 0.0
