"""Each line with its value, its difference to the line above, and what it shows."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, final

import torch
from jaxtyping import Float64
from torch import Tensor

from nelbo.derivation.factors import Factors
from nelbo.derivation.lines import FALSE_LINES, LINES, Line, Relation

__all__ = [
    "Exact",
    "Point",
    "Row",
    "Status",
    "Valuation",
    "Variances",
    "exact_valuation",
    "false_verdict",
    "moments_of_terms",
    "one_time_variance",
    "weighting_curve",
]

TOLERANCE = 1e-11  # relative, of exact values: some thousand roundings
MOST_WEIGHTED = 256  # paths in the largest importance-weighted mean of a curve
Z_LIMIT = 4.0
HARDLY = 1e-6  # relative: a false line so near the truth shows only in digits


class Status(StrEnum):
    """What was found of a line."""

    HOLDS = "holds"
    FAILS = "fails"
    CONDITION = "condition fails"
    ESTIMATE = "estimate"
    FALSE = "false"
    AGREES = "agrees here"
    UNDECIDED = "undecided"


@final
@dataclass(frozen=True)
class Row:
    """A line's value in nats per example; `difference` is to the line above, or to its rival.

    se is None where the value is exact, or where one draw does not tell.
    """

    line: Line
    value: float
    difference: float | None
    status: Status
    verdict: str
    se: float | None = None


@final
@dataclass(frozen=True)
class Point:
    """-log of the mean weight of K paths, in expectation between L (K = 1) and line (3)."""

    paths: int
    value: float
    se: float | None


@final
@dataclass(frozen=True)
class Variances:
    """Of one draw of L by different estimators, in nats squared.

    path: D10 along a path; shared: D11 along a path; independent: D11 with noise of its own for
    each t; one_time: L_T plus T times the term of one t, even on 1..T.
    """

    path: float
    shared: float
    independent: float
    one_time: float


@final
@dataclass(frozen=True)
class Spread:
    """The largest difference between D1..D10 on one path: in nats, and relative to D10 (>= 1)."""

    absolute: float
    relative: float
    tolerance: float


@final
@dataclass(frozen=True, eq=False)
class Valuation:
    """All lines of one chain at one x_0, or at several and averaged.

    Arguments:
        way: how the values were come by.
        rows: (1) to (8), D1 to D11.
        false: the false lines.
        gap: L less -log p_theta(x_0); where that is not known less the largest importance-weighted
            mean, and then too small in expectation. L by D11, which rounds the least.
        gap_kl: KL(q(x_{1:T} | x_0) || p_theta(x_{1:T} | x_0)), computed apart from the lines.
        support: whether q reaches every path that p does; None if not known.
        L_mid: L_{t-1}, t = 2..T.
        marginals: E_q log q(x_t | x_0), t = 1..T: what cancels in the telescope.
        curve: importance-weighted means of more and more paths.
        spread: over D1..D10 on each path, None where no path was taken.
        z: of D11 by independent draws against D10.
    """

    way: Literal["enumeration", "closed form", "Monte Carlo"]
    rows: tuple[Row, ...]
    false: tuple[Row, ...]
    gap: float
    gap_kl: float | None
    support: bool | None
    L_T: float
    L_mid: tuple[float, ...]
    L_0: float
    variances: Variances
    marginals: tuple[float, ...]
    curve: tuple[Point, ...] = ()
    spread: Spread | None = None
    z: float | None = None
    paths: int | None = None

    @property
    def holds(self) -> bool:
        """Whether no line that must hold failed."""
        return all(row.status is not Status.FAILS for row in self.rows)

    def __getitem__(self, label: str) -> Row:
        """The row of the line with this label."""
        return next(row for row in (*self.rows, *self.false) if row.line.label == label)


@final
@dataclass(frozen=True, eq=False)
class Exact:
    """What exact values are made of: expected factors, and what is no expectation under q.

    Arguments:
        factors: their expectations under q, P = 1.
        evidence: -log p_theta(x_0), by (2).
        weighted: minus the right side of (3), the sum over the paths that q reaches.
        gap_kl: see `Valuation`.
        support: whether q reaches every path that p does.
        variances: of one draw.
    """

    factors: Factors
    evidence: float
    weighted: float
    gap_kl: float
    support: bool
    variances: Variances


def exact_valuation(
    exact: Exact,
    way: Literal["enumeration", "closed form"],
    curve: Sequence[Point] = (),
    spread: Spread | None = None,
) -> Valuation:
    """The lines of the expected factors; an exact line holds within TOLERANCE, relative."""
    f, previous, rows = exact.factors, exact.evidence, []
    for line in LINES:
        inside = exact.evidence if line.inside is None else float(line.inside(f))
        value = exact.weighted if line.relation is Relation.SUPPORTED else inside
        rows.append(_exact_row(line, value, previous, exact))
        previous = value
    nelbo = rows[-1].value
    false = [
        _exact_false(line, float(line.inside(f)), nelbo) for line in FALSE_LINES if line.inside
    ]
    return Valuation(
        way=way,
        rows=tuple(rows),
        false=tuple(false),
        gap=nelbo - exact.evidence,
        gap_kl=exact.gap_kl,
        support=exact.support,
        L_T=float(f.prior_kl),
        L_mid=tuple(f.kl[2:, 0].tolist()),
        L_0=-float(f.reverse[1]),
        variances=exact.variances,
        marginals=tuple(f.marginal[1:, 0].tolist()),
        curve=tuple(curve),
        spread=spread,
    )


def _exact_row(line: Line, value: float, previous: float, exact: Exact) -> Row:
    difference = value - previous
    equal = abs(difference) <= TOLERANCE * max(1.0, abs(value))
    if line.relation is Relation.START:
        return Row(line, value, None, Status.HOLDS, "exact")
    if line.relation is Relation.SUPPORTED and not exact.support:
        return Row(line, value, difference, *_unsupported(difference))
    if line.relation is Relation.JENSEN:
        return Row(line, value, difference, *_jensen(value - exact.evidence, exact.gap_kl))
    if equal:
        return Row(line, value, difference, Status.HOLDS, "equal")
    return Row(line, value, difference, Status.FAILS, f"not equal: off by {difference:.3g}")


def _unsupported(difference: float) -> tuple[Status, str]:
    if difference < 0:
        return Status.FAILS, "the paths that q reaches weigh more than all"
    return (
        Status.CONDITION,
        f"not an equality here: p uses paths that q never takes; above (2) by {difference:.6g}",
    )


def _jensen(gap: float, gap_kl: float) -> tuple[Status, str]:
    """The gap to -log p_theta(x_0), which is at least 0 and a divergence computed apart."""
    scale = TOLERANCE * max(1.0, abs(gap))
    if gap < -scale:
        return Status.FAILS, f"below −log p by {-gap:.3g}: no bound"
    if abs(gap - gap_kl) > scale:
        return Status.FAILS, f"gap {gap:.9g} is not the KL {gap_kl:.9g}"
    return Status.HOLDS, f"gap to (2) {gap:.6g} = KL of the posteriors over paths"


def _exact_false(line: Line, value: float, truth: float) -> Row:
    return Row(line, value, value - truth, *false_verdict(line, value - truth, truth, TOLERANCE))


def false_verdict(
    line: Line, difference: float, truth: float, tolerance: float, error: float = 0.0
) -> tuple[Status, str]:
    """Whether a false line is off by more than rounding and chance, and by how much."""
    plus_minus = f" ± {error:.1g}" if error > tolerance * abs(difference) else ""
    finite = math.isfinite(difference)
    off = f"off by {difference:+.6g}{plus_minus}" if finite else "infinitely off"
    if abs(difference) <= tolerance * max(1.0, abs(truth)):
        return Status.AGREES, f"agrees here, as where {line.condition}"
    if abs(difference) < Z_LIMIT * error:
        return Status.UNDECIDED, f"{off}: not told apart by so few paths"
    hardly = abs(difference) <= HARDLY * max(1.0, abs(truth))
    return Status.FALSE, f"false, though hardly: {off}" if hardly else f"false: {off}"


def weighting_curve(values: Float64[Tensor, "N paths"]) -> tuple[Point, ...]:
    """-log mean over K paths of exp(-D10), K = 1, 2, 4, ..., from disjoint groups of each row.

    Groups of 2K are pairs of groups of K, so the curve falls (weakly) on every draw; the errors
    say how far it may be from its expectation.
    """
    count, paths = values.shape
    points = []
    for doublings in range(int(math.log2(min(paths, MOST_WEIGHTED))) + 1):
        K = 2**doublings
        groups = values[:, : paths // K * K].reshape(count, -1, K)
        mean = math.log(K) - torch.logsumexp(-groups, dim=2)
        se = (
            float((mean.var(1) / mean.shape[1]).sum().sqrt() / count) if mean.shape[1] > 1 else None
        )
        points.append(Point(K, float(mean.mean()), se))
    return tuple(points)


def moments_of_terms(
    f: Factors, weight: Float64[Tensor, " P"]
) -> tuple[Float64[Tensor, " T"], Float64[Tensor, " T"]]:
    """Mean and variance of the term of t under each path's weight: L_0, then L_{t-1}, t = 2..T."""
    terms = torch.cat([-f.reverse[1:2], f.kl[2:]])
    mean = terms @ weight
    return mean, (terms - mean[:, None]).square() @ weight


def one_time_variance(mean: Float64[Tensor, " T"], variance: Float64[Tensor, " T"]) -> float:
    """Of T times the term of one t, even on 1..T, from the terms' means and variances."""
    return float(len(mean) * (variance + mean.square()).sum() - mean.sum().square())
