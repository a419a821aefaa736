"""The memo's derivation, executed: every line from log p_theta(x_0) to the three terms has a value.

`lines` says what each line is, `factors` evaluates what all of them are made of, and a `Valuation`
gives each a value and a verdict: exactly by `enumerated` paths, or by `sampled` ones. Nothing here
says how a conditional is computed, so the same lines hold for every family.
"""

from nelbo.derivation.enumeration import enumerated
from nelbo.derivation.factors import Factors, Mistake, factors
from nelbo.derivation.lines import FALSE_LINES, LINES, Line, Relation
from nelbo.derivation.sampling import sampled
from nelbo.derivation.valuation import (
    Exact,
    Point,
    Row,
    Status,
    Valuation,
    Variances,
    exact_valuation,
    one_time_variance,
    weighting_curve,
)

__all__ = [
    "FALSE_LINES",
    "LINES",
    "Exact",
    "Factors",
    "Line",
    "Mistake",
    "Point",
    "Relation",
    "Row",
    "Status",
    "Valuation",
    "Variances",
    "enumerated",
    "exact_valuation",
    "factors",
    "one_time_variance",
    "sampled",
    "weighting_curve",
]
