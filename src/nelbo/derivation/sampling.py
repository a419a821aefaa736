"""Values by Monte Carlo, on any chain: all lines on the same paths, and D11 on draws of its own.

D1 to D10 must agree path by path; D11 must agree on average. Lines (1) to (3) are importance-
weighted means of K paths, upper bounds on -log p_theta(x_0) in expectation and never exact.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import final

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from nelbo.bound.chain import Chain, D
from nelbo.bound.estimators import term
from nelbo.bound.noise import KeyedNoise
from nelbo.bound.terms import prior_term
from nelbo.derivation.enumeration import spread
from nelbo.derivation.factors import ROWS, Factors, Mistake, factors
from nelbo.derivation.lines import FALSE_LINES, LINES, Line
from nelbo.derivation.valuation import (
    Z_LIMIT,
    Point,
    Row,
    Spread,
    Status,
    Valuation,
    Variances,
    false_verdict,
    one_time_variance,
    weighting_curve,
)
from nelbo.errors import BadInput, NonFinite
from nelbo.types import Batch

__all__ = ["sampled"]

CELLS = 2**22  # numbers that the paths of a batch may hold
TOLERANCES = {torch.float64: 1e-12, torch.float32: 1e-6}  # relative, of one path by D1..D10
FALSE_TOLERANCE = 1e-9  # relative, of a false line that is held to agree after all
DRAWS = 4  # a draw of D11 by independent terms for so many paths: it varies less than D10 does

Progress = Callable[[int, int | None, str], None]


def sampled(
    chain: Chain[D],
    x_0: Batch,
    noise: KeyedNoise,
    paths: int = 256,
    *,
    mistakes: Sequence[Mistake] = (),
    rows: int = ROWS,
    progress: Progress = lambda done, expected, text: None,
) -> Valuation:
    """Every line at the examples x_0, averaged over them, from `paths` paths of each.

    The examples are also the data of the false lines, `mistakes` are further false lines, about
    the decoder. noise has a row for each example, and what its paths are depends on nothing else.
    `rows` is how many (t, path) pairs p is evaluated on at once.

    Raises:
        BadInput: fewer than two paths.
        NonFinite: L of a path, or a term of its own noise, is NaN or infinite.
    """
    if paths < 2:
        raise BadInput(f"Monte Carlo needs at least 2 paths of each example; got {paths}")
    tolerance = TOLERANCES.get(prior_term(chain, x_0[:1]).dtype, TOLERANCES[torch.float32])
    run = _Run(chain, x_0, noise, paths, tuple(mistakes), rows, progress, tolerance)
    size = max(1, min(rows, CELLS // ((chain.q.T + 1) * x_0[0].numel())))
    with torch.no_grad():
        for batch in torch.arange(len(x_0) * paths).split(size):
            run.add(batch)
    return run.valuation()


@final
@dataclass
class _Run:
    """The values of lines that have come back so far, in the order of (example, path)."""

    chain: Chain  # type: ignore[type-arg]
    x_0: Batch
    noise: KeyedNoise
    paths: int
    mistakes: tuple[Mistake, ...]
    rows: int
    progress: Progress
    tolerance: float
    values: dict[str, list[Float64[Tensor, " P"]]] = field(default_factory=dict)
    spreads: list[Spread] = field(default_factory=list)
    marginals: list[Float64[Tensor, " T"]] = field(default_factory=list)
    terms: list[Float64[Tensor, "T P"]] = field(default_factory=list)
    done: int = 0

    @property
    def draws(self) -> int:
        """Draws of D11 by independent terms, for each example."""
        return max(2, self.paths // DRAWS)

    def add(self, batch: Int64[Tensor, " P"]) -> None:
        """The lines along these paths, and as many independent draws of the terms."""
        example, number = batch // self.paths, batch % self.paths
        x_0, noise = self.x_0[example.to(self.x_0.device)], self.noise.rows(example)
        chain = self.chain.rows(example)
        path = chain.q.path(x_0, noise.draw(number))
        f = factors(chain, path, self.x_0, self.mistakes, self.rows)
        for line in (*LINES, *self.false_lines(f)):
            if line.inside is not None:
                self.values.setdefault(line.label, []).append(line.inside(f))
        self.spreads.append(spread(f, self.tolerance))
        self.marginals.append(f.marginal[1:].sum(1))
        self._finite(self.values["D10"][-1])
        own = (number < self.draws).nonzero()[:, 0]
        if len(own):
            apart = noise.rows(own).draw(self.paths + number[own])
            self.terms.append(self._independent(chain.rows(own), x_0[own.to(x_0.device)], apart))
        self.done += (len(batch) + len(own)) * self.chain.q.T
        expected = len(self.x_0) * (self.paths + self.draws) * self.chain.q.T
        self.progress(self.done, expected, f"{float(self.values['D10'][-1].mean()):.4g} nats")

    def false_lines(self, f: Factors) -> list[Line]:
        """The false lines that this chain has."""
        return [*FALSE_LINES, *(m.line for m in self.mistakes if m.line.label in f.misread)]

    def _finite(self, values: Tensor) -> None:
        if not values.isfinite().all():
            raise NonFinite("L is not finite on a path of q: the network gave NaN or infinity")

    def _independent(
        self,
        chain: Chain,  # type: ignore[type-arg]
        x_0: Batch,
        noise: KeyedNoise,
    ) -> Float64[Tensor, "T P"]:
        """The terms of t = 1..T, each from noise of its own."""
        count, parts = len(x_0), []
        for times in torch.arange(1, chain.q.T + 1).split(max(1, self.rows // count)):
            row = torch.arange(count).repeat(len(times))
            t = times.repeat_interleave(count)
            part = term(chain.rows(row), x_0[row.to(x_0.device)], t, noise.rows(row))
            parts.append(part.double().cpu().reshape(len(times), count))
        terms = torch.cat(parts)
        finite = terms.isfinite().all(1)
        if not finite.all():
            t = 1 + int((~finite).nonzero()[0])
            raise NonFinite(f"a term is not finite at t = {t}: the network gave NaN or infinity")
        return terms

    def valuation(self) -> Valuation:
        """The values of all lines, once every path is in."""
        count = len(self.x_0)
        values = {k: torch.cat(x).reshape(count, self.paths) for k, x in self.values.items()}
        terms = torch.cat(self.terms, 1).reshape(-1, count, self.draws)
        prior = prior_term(self.chain, self.x_0).double().cpu()
        own = terms.sum(0) + prior[:, None]  # D11 with noise of its own at each t
        curve = weighting_curve(values["D10"])
        z = _z(own, values["D10"])
        labels = [*FALSE_LINES, *(m.line for m in self.mistakes)]
        gap = _mean(values["D10"]) - curve[-1].value
        mean = terms.mean((1, 2))
        return Valuation(
            way="Monte Carlo",
            rows=tuple(self._rows(values, curve, own, z)),
            false=tuple(_false(line, values) for line in labels if line.label in values),
            gap=gap,
            gap_kl=None,
            support=None,
            L_T=float(prior.mean()),
            L_mid=tuple(mean[1:].tolist()),
            L_0=float(mean[0]),
            variances=_variances(values, terms),
            marginals=tuple((torch.stack(self.marginals).sum(0) / values["D10"].numel()).tolist()),
            curve=curve,
            spread=_largest(self.spreads),
            z=z,
            paths=self.paths,
        )

    def _rows(
        self, values: dict[str, Tensor], curve: Sequence[Point], own: Tensor, z: float
    ) -> list[Row]:
        last, rows = curve[-1], [*_estimates(curve)]
        rows.append(_jensen(LINES[3], _mean(values["(4)"]), last, _error(values["(4)"])))
        for above, line in pairwise(LINES[3:-1]):
            rows.append(self._pathwise(line, values[line.label], values[above.label]))
        error, value = _error(own), _mean(own)
        status = Status.HOLDS if abs(z) < Z_LIMIT else Status.FAILS
        verdict = f"z = {z:+.2f} against D10, on {own.numel()} draws of its own"
        rows.append(Row(LINES[-1], value, value - rows[-1].value, status, verdict, error))
        return rows

    def _pathwise(self, line: Line, value: Tensor, above: Tensor) -> Row:
        """A line that equals the one above on every path, to the tolerance of the dtype."""
        apart = (value - above).abs()
        worst = float((apart / value.abs().clamp(min=1)).max())
        mean, difference = _mean(value), float((value - above).mean())
        if worst <= self.tolerance:
            verdict = f"equal on all {value.numel()} paths, to {float(apart.max()):.1e}"
            return Row(line, mean, difference, Status.HOLDS, verdict, _error(value))
        verdict = f"not equal: off by up to {worst:.1e}, relative, on a path"
        return Row(line, mean, difference, Status.FAILS, verdict, _error(value))


def _estimates(curve: Sequence[Point]) -> list[Row]:
    """(1) to (3), of which only importance-weighted means are known."""
    first, last = curve[0], curve[-1]
    falls = all(b.value <= a.value + 1e-12 * abs(a.value) for a, b in pairwise(curve))
    bound = f"not exact: at most this, in expectation ({last.paths} weighted paths)"
    way = f"{first.value:.6g} with 1 path, {last.value:.6g} with {last.paths}"
    status, verdict = (
        (Status.ESTIMATE, f"falls: {way}") if falls else (Status.FAILS, f"does not fall: {way}")
    )
    return [
        Row(LINES[0], last.value, None, Status.ESTIMATE, bound, last.se),
        Row(LINES[1], last.value, 0.0, Status.ESTIMATE, bound, last.se),
        Row(LINES[2], last.value, 0.0, status, verdict, last.se),
    ]


def _jensen(line: Line, value: float, last: Point, error: float) -> Row:
    gap = value - last.value
    if gap >= 0:
        verdict = f"the gap to (2) is at least {gap:.4g}, in expectation"
        return Row(line, value, gap, Status.HOLDS, verdict, error)
    return Row(line, value, gap, Status.FAILS, f"below (3) by {-gap:.3g}", error)


def _false(line: Line, values: dict[str, Tensor]) -> Row:
    """A false line against its rival on the same paths."""
    value, apart = values[line.label], values[line.label] - values[line.rival]
    mean, difference, error = _mean(value), _mean(apart), _error(apart)
    truth = _mean(values[line.rival])
    status, verdict = false_verdict(line, difference, truth, FALSE_TOLERANCE, error)
    return Row(line, mean, difference, status, verdict, _error(value))


def _variances(values: dict[str, Tensor], terms: Float64[Tensor, "T N draws"]) -> Variances:
    """Of one draw for one example, averaged over the examples."""
    spreads, means = terms.var(2), terms.mean(2)
    one_time = [one_time_variance(m, v) for m, v in zip(means.T, spreads.T, strict=True)]
    return Variances(
        path=float(values["D10"].var(1).mean()),
        shared=float(values["D11"].var(1).mean()),
        independent=float(terms.sum(0).var(1).mean()),
        one_time=math.fsum(one_time) / len(one_time),
    )


def _largest(spreads: Sequence[Spread]) -> Spread:
    absolute, relative = (max(getattr(s, k) for s in spreads) for k in ("absolute", "relative"))
    return Spread(absolute, relative, spreads[0].tolerance)


def _mean(values: Float64[Tensor, "N paths"]) -> float:
    return float(values.mean())


def _error(values: Float64[Tensor, "N paths"]) -> float:
    """The standard error of the mean over Monte Carlo examples."""
    count, paths = values.shape
    return float((values.var(1) / paths).sum().sqrt() / count)


def _z(left: Tensor, right: Tensor) -> float:
    """The difference of two means in standard errors; 0 where rounding explains it."""
    difference = _mean(left) - _mean(right)
    if abs(difference) <= 1e-9 * max(1.0, abs(_mean(right))):
        return 0.0
    return difference / max(math.hypot(_error(left), _error(right)), 1e-300)
