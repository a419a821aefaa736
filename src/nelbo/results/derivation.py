"""The derivation with its values: every line of each chain, as rows of text and as JSON."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

from nelbo.derivation import Line, Relation, Row, Status, Valuation
from nelbo.errors import printable
from nelbo.results.saved import Saved, sealed
from nelbo.results.unit import bits_per_dim
from nelbo.typed_json import Json

__all__ = ["ChainDerivation", "Derivation", "shown", "shown_value"]

SCHEMA = "nelbo.derivation/1"


@final
@dataclass(frozen=True)
class ChainDerivation:
    """One chain, what it is, and the value of every line on it.

    dims: of one example, where values are also given in bits per dimension; None where they are
    of no data.
    """

    name: str
    description: str
    valuation: Valuation
    dims: int | None = None

    def rows(self) -> list[tuple[str, str, str, str, str, str]]:
        """(label, formula, reason, value, difference to the line above, verdict) of each line."""
        return [_cells(row) for row in self.valuation.rows]

    def false_rows(self) -> list[tuple[str, str, str, str, str, str]]:
        """The same of the false lines; differences are to the true line of each."""
        return [_cells(row) for row in self.valuation.false]

    def summary(self) -> list[tuple[str, str]]:
        """What is to be seen beside the lines: (what, value)."""
        v = self.valuation
        rows = self._bound()
        rows.append(
            ("terms", f"L_T {v.L_T:.6g} + ΣL_t-1 {sum(v.L_mid):.6g} + L_0 {v.L_0:.6g} nats")
        )
        if v.gap_kl is None:
            rows.append(("Jensen's gap", f"at least {v.gap:.6g} nats, in expectation"))
        else:
            apart = f"KL(q(x_1:T|x_0) ‖ p(x_1:T|x_0)) = {v.gap_kl:.9g}, computed apart"
            rows.append(("Jensen's gap", f"{v.gap:.9g} = {apart}"))
        if v.spread is not None:
            rows.append(
                (
                    "D1 to D10",
                    f"on each path within {v.spread.absolute:.1e} nats, "
                    f"{v.spread.relative:.1e} relative",
                )
            )
        if v.z is not None:
            rows.append(("D11 against D10", f"z = {v.z:+.2f}, from draws of its own"))
        rows += _variances(v)
        points = ", ".join(f"{point.paths}: {point.value:.4f}" for point in v.curve)
        return [*rows, ("−log of the mean weight of K paths", points)]

    def _bound(self) -> list[tuple[str, str]]:
        """L with its Monte Carlo error, where it has one."""
        row = self.valuation["D10"]
        if row.se is None or self.dims is None:
            return []
        bits, half = bits_per_dim(row.value, self.dims), bits_per_dim(2 * row.se, self.dims)
        return [("L of these images", f"{bits:.4f} ± {half:.2g} bits/dim (two standard errors)")]

    def to_dict(self) -> dict[str, Json]:
        """As JSON; infinite values are null, and their verdicts say so."""
        v = self.valuation
        return {
            "name": self.name,
            "description": self.description,
            "way": v.way,
            "holds": v.holds,
            "lines": [_row(row) for row in v.rows],
            "false_lines": [_row(row) | {"rival": row.line.rival} for row in v.false],
            "gap": v.gap,
            "gap_kl": v.gap_kl,
            "support": v.support,
            "terms": {"L_T": v.L_T, "L_mid": list(v.L_mid), "L_0": v.L_0},
            "variances": vars(v.variances),
            "path_difference": None if v.spread is None else vars(v.spread),
            "z": v.z,
            "paths": v.paths,
            "curve": [vars(point) for point in v.curve],
            "marginals": list(v.marginals),
            "dims": self.dims,
        }


@final
@dataclass(frozen=True, repr=False)
class Derivation(Saved):
    """The derivation on one chain or on several, and what decided the digits."""

    chains: Sequence[ChainDerivation]
    seed: int
    seconds: float
    environment: Mapping[str, Json]
    model: Mapping[str, Json] | None = None
    data: Mapping[str, Json] | None = None
    command: str = ""

    @property
    def holds(self) -> bool:
        """Whether no line that must hold failed on any chain."""
        return all(chain.valuation.holds for chain in self.chains)

    def failures(self) -> list[str]:
        """The lines that failed, each with its chain and verdict."""
        return [
            f"{row.line.label} on {chain.name}: {row.verdict}"
            for chain in self.chains
            for row in chain.valuation.rows
            if row.status is Status.FAILS
        ]

    def to_dict(self) -> dict[str, Json]:
        """The JSON object, schema nelbo.derivation/1."""
        return sealed(
            {
                "schema": SCHEMA,
                "holds": self.holds,
                "chains": [chain.to_dict() for chain in self.chains],
                "seed": self.seed,
                "seconds": self.seconds,
                "model": None if self.model is None else dict(self.model),
                "data": None if self.data is None else dict(self.data),
                "environment": dict(self.environment),
                "command": self.command,
            }
        )

    def __repr__(self) -> str:
        names = ", ".join(chain.name for chain in self.chains)
        return printable(f"<Derivation: {'holds' if self.holds else 'fails'} on {names}>")

    def to_json(self) -> str:
        """One JSON object; never a NaN or an infinity."""
        return json.dumps(self.to_dict(), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _cells(row: Row) -> tuple[str, str, str, str, str, str]:
    line = row.line
    reason = f"{line.because} (if {line.condition})" if _conditional(line) else line.because
    difference = "" if row.difference is None else shown(row.difference, sign=True)
    return line.label, line.formula, reason, shown_value(row), difference, row.verdict


def shown(value: float, *, sign: bool = False) -> str:
    """A value to nine digits; a difference, which has a sign, to four."""
    if not math.isfinite(value):
        return "infinite"
    if not sign:
        return f"{value:.8f}"
    return "0" if value == 0 else f"{value:+.3e}" if abs(value) < 1e-4 else f"{value:+.6f}"


def shown_value(row: Row) -> str:
    """A row's value; an estimate has fewer digits and a sign that says so."""
    return f"≲ {row.value:.3f}" if row.status is Status.ESTIMATE else shown(row.value)


def _conditional(line: Line) -> bool:
    return line.true and bool(line.condition) and line.relation is Relation.SUPPORTED


def _row(row: Row) -> dict[str, Json]:
    line = row.line
    return {
        "label": line.label,
        "formula": line.formula,
        "latex": line.latex,
        "because": line.because,
        "relation": str(line.relation),
        "condition": line.condition,
        "value": _finite(row.value),
        "se": None if row.se is None else _finite(row.se),
        "difference": None if row.difference is None else _finite(row.difference),
        "status": str(row.status),
        "verdict": row.verdict,
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _variances(v: Valuation) -> list[tuple[str, str]]:
    """The spread of one draw by each estimator, and which of D10 and D11 varies less, and where."""
    path, shared, own, one = (
        math.sqrt(max(x, 0.0))
        for x in (
            v.variances.path,
            v.variances.shared,
            v.variances.independent,
            v.variances.one_time,
        )
    )
    deviations = (
        f"D10 along a path {path:.4g}, D11 along a path {shared:.4g}, "
        f"D11 with noise of its own per t {own:.4g}, one random t {one:.4g} nats"
    )
    # Variances of a few draws are themselves uncertain, by sqrt(2 / draws) in their logarithm.
    doubt = 0.0 if v.paths is None else 3 * math.sqrt(2 / v.paths + 2 / max(2, v.paths // 4))
    truth = (
        f"on one shared path D10 varies {_compared(path, shared, doubt)} D11; "
        f"D11 with noise of its own per t varies {_compared(own, path, doubt)} D10"
    )
    return [("deviation of a draw", deviations), ("so", truth)]


def _compared(one: float, other: float, doubt: float) -> str:
    """Of two standard deviations; `doubt` is how far apart chance may put their log variances."""
    if min(one, other) > 0 and abs(2 * math.log(one / other)) <= doubt:
        return "about as much as"
    return "less than" if one < other else "more than"
