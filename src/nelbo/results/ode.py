"""The likelihood by the probability-flow ODE beside the bound, as people and programs read it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

from nelbo.bound.statistics import Mean
from nelbo.errors import printable
from nelbo.results.context import likelihood_of, unchecked
from nelbo.results.evaluation import Evaluation
from nelbo.results.saved import sealed
from nelbo.results.shown import Measured
from nelbo.results.verdict import Verdict, verdict
from nelbo.typed_json import Json, known_of, list_at, number_at, object_at, text_at, whole_at

__all__ = ["OdeLikelihood", "against_bound", "solver_text", "trace_text"]

SCHEMA = "nelbo.ode/1"
KIND = "likelihood of the probability-flow ODE, not a bound"
DEQUANTISED = {
    "model": "z_1 ~ q(z_1 | x_0) and the bound's decoder",
    "uniform": "uniform noise on each level's bin",
}


def solver_text(how: Mapping[str, Json]) -> str:
    """How the ODE was solved, by the estimator's settings."""
    if how.get("solver") == "rk45":
        calls = object_at(how, "ode_evaluations")
        return (
            f"RK45 at {number_at(how, 'tolerance'):g}, {number_at(calls, 'mean'):.0f} evaluations "
            f"of the ODE a point, {whole_at(calls, 'most')} at most"
        )
    steps = whole_at(how, "steps")
    return f"{steps} steps, held against {2 * steps} on {how['compared_on']} images"


def trace_text(how: Mapping[str, Json]) -> str:
    """How the divergence was taken, by the estimator's settings."""
    if how["probes"] == "exact":
        return "the exact trace"
    where = "kept along the path" if how.get("solver") == "rk45" else "fresh a step"
    return f"{how['probes']} {where}"


def against_bound(
    difference: float, half: float | None, half_monte_carlo: float | None, unit: str
) -> Verdict:
    """Which of the two figures is lower, in a sentence; by that none is better.

    half: of the difference's 95 % interval for new images; half_monte_carlo: for this test set.
    """
    names = ("the ODE", "the bound")
    return verdict(difference, half, half_monte_carlo, unit, names, "lower")


@final
@dataclass(frozen=True, repr=False)
class OdeLikelihood(Measured):
    """-log p of a data set by the ODE of a model's network, with two intervals, beside its bound.

    Means are nats per image. total and monte_carlo: as of an `Evaluation`, but the Monte Carlo
    error is made of `shares`: solver, trace and dequantisation, each half of the 95 % interval
    that it would leave alone, in nats; by rk45 the solver's is None, and so is the whole, and that
    of dequantisation is None where it is too small to be told from that of the trace. looks:
    the figure by each number of steps, on the images where these were compared. difference: the
    ODE's figure minus the bound's, image by image.
    """

    shares: Mapping[str, float | None]
    looks: Mapping[int, float]
    bound: Evaluation
    difference: tuple[Mean, Mean]
    images: int

    @property
    def headline(self) -> str:
        """The figure, what it is of, and on what, in one line."""
        figure = f"{self.per_dim:.4f} {self._plus_minus(self.total)} {self.unit}"
        of = f"{self.model['name']}{likelihood_of(self.model)} on {self.images:,} of "
        return printable(f"{figure}, {KIND}, {of}{self.data['name']}")

    @property
    def verdict(self) -> Verdict:
        """Whether the ODE's figure is lower than the bound, and how sure that is."""
        sampling, monte_carlo = self.difference
        halves = self.half_width(sampling), self.half_width(monte_carlo)
        return against_bound(self._per_dim(sampling.mean), *halves, self.unit.name)

    def to_dict(self) -> dict[str, Json]:
        """The JSON object, schema nelbo.ode/1."""
        sampling, monte_carlo = self.difference
        return sealed(
            {
                "schema": SCHEMA,
                "kind": KIND,
                **self.unit.headline(self.total.mean, self.dims),
                "ci95": self._interval(self.total),
                "ci95_monte_carlo": self._interval(self.monte_carlo),
                "nats_per_image": self.total.mean,
                "half_widths": {
                    name: None if half is None else self._per_dim(half)
                    for name, half in self.shares.items()
                },
                "by_steps": [
                    {"steps": steps, self.unit.key: self._per_dim(nats)}
                    for steps, nats in self.looks.items()
                ],
                "bound": {
                    self.unit.key: self.bound.per_dim,
                    "ci95": self._interval(self.bound.total),
                    "ci95_monte_carlo": self._interval(self.bound.monte_carlo),
                    "network_evaluations": self.bound.network_evaluations,
                },
                "ode_minus_bound": {
                    self.unit.key: self._per_dim(sampling.mean),
                    "ci95": self._interval(sampling),
                    "ci95_monte_carlo": self._interval(monte_carlo),
                    "verdict": self.verdict.text,
                },
                "images": self.images,
                "dims": self.dims,
                **self._provenance(),
            }
        )

    def __str__(self) -> str:
        """The figure with both intervals and the parts of the second, then the bound beside it."""
        how, parts = self.estimator, [f"{n} {self._digits(x)}" for n, x in self.shares.items()]
        points = whole_at(how, "importance")
        of_points = f", {points} points an image weighed together" if points > 1 else ""
        low, high = list_at(how, "log_snr")
        lines = [
            f"{self.per_dim:.4f} {self.unit}{likelihood_of(self.model)}, {KIND}",
            f"  sampling of images {self._plus_minus(self.total)} (95 %, {self.images:,} images)",
            f"  Monte Carlo        {self._plus_minus(self.monte_carlo)} (95 %, this test set): "
            + ", ".join(parts),
            f"  solver             in log SNR {low:.4g}..{high:.4g}: {solver_text(how)}",
            f"  dequantisation     {DEQUANTISED[text_at(how, 'dequantise')]}{of_points}, "
            f"{how['draws']} draws an image",
            f"  trace              {trace_text(how)}",
            *(
                f"  {of:>4} steps         {self._per_dim(nats):.4f} on those images"
                for of, nats in self.looks.items()
            ),
            f"  the bound          {self.bound.per_dim:.4f} {self._plus_minus(self.bound.total)} "
            f"({self._plus_minus(self.bound.monte_carlo)} Monte Carlo)",
            self._paired(),
            f"  {self.network_evaluations:,} network evaluations in {self.seconds:.1f} s, "
            f"{self.network_evaluations / self.images:.0f} an image, a backward pass counted as "
            f"two; {self.bound.network_evaluations:,} of the bound; seed {how['seed']}",
            f"  stopped: {self._why()}",
            *unchecked(how),
            *(f"  warning: {warning}" for warning in self.warnings),
        ]
        return "\n".join(map(printable, lines))

    def _paired(self) -> str:
        sampling, monte_carlo = self.difference
        return (
            f"  ODE minus bound    {self._per_dim(sampling.mean):+.4f} "
            f"{self._plus_minus(sampling)} (paired; {self._plus_minus(monte_carlo)} Monte Carlo)"
        )

    def _why(self) -> str:
        """Why there were no more evaluations, for a person."""
        why = text_at(self.estimator, "stopped_by")
        wanted = known_of(self.estimator.get("precision"))
        if why == "draws":
            return "so many draws were wanted"
        half, what, error = self.half_width(self.monte_carlo), "Monte Carlo", "Monte Carlo error"
        if self.estimator.get("solver") == "rk45":
            nats = math.hypot(*(half for half in self.shares.values() if half is not None))
            half, what = self._per_dim(nats), "of trace and dequantisation, without the solver's"
            error = f"error {what},"
        if half is not None and wanted is not None and half <= wanted:
            return f"reached --precision: ± {wanted:g} {self.unit}, {what}"
        if why == "precision":
            return f"planned for ± {wanted:g} {self.unit}; the interval says what came of it"
        if why.startswith("a tenth"):
            return f"the {error} is a tenth of what the spread between images leaves"
        return f"± {wanted:g} {self.unit} is not reached after {why}, which is the most"

    def _digits(self, nats: float | None) -> str:
        if nats is None:
            return "± unknown"
        return f"± {self.unit.per_dim(nats, self.dims):.2g}"

    def _per_dim(self, nats: float) -> float:
        return self.unit.per_dim(nats, self.dims)
