r"""The lines of the memo as objects, true ones and false ones, each with its own arithmetic.

The value of a line is minus the logarithm that it is about, in nats: -log p_theta(x_0) for (1) to
(3), L = -ELBO from (4) on. So values compare, and lower means likelier. Lines (1) to (3) are no
expectation of a logarithm under q; whoever values them sums probabilities over paths. From (4)
on, a line is E_q of its `inside`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import final

import torch
from jaxtyping import Float64
from torch import Tensor

from nelbo.derivation.factors import Factors, total

__all__ = ["FALSE_LINES", "LINES", "PATHWISE", "Line", "Relation"]

Inside = Callable[[Factors], Float64[Tensor, " P"]]


class Relation(StrEnum):
    """How the value of a line relates to that of the line above."""

    START = ""
    EQUAL = "="
    SUPPORTED = "= where q reaches every path of p"
    JENSEN = "≥"
    PATHWISE = "= on every path"
    AVERAGE = "= on average"
    FALSE = "≠"


@final
@dataclass(frozen=True)
class Line:
    """A statement of the derivation.

    Arguments:
        label: as in the memo.
        formula: the statement in plain text.
        latex: the same for a page.
        because: the reason for the step from the line above, or why a false line tempts.
        relation: how its value relates to that of the line above.
        condition: when the relation holds, empty if always; for a false line, when it agrees after
            all.
        inside: what the line has inside of E_q, for each path; None for (1) to (3).
        rival: for a false line, the true line that it would take the place of.
    """

    label: str
    formula: str
    latex: str
    because: str
    relation: Relation
    condition: str = ""
    inside: Inside | None = None
    rival: str = ""

    @property
    def true(self) -> bool:
        """Whether the memo derives it; a false line stands beside it as a warning."""
        return not self.rival


def _ratios(f: Factors) -> Float64[Tensor, " P"]:
    """sum over t > 1 of log p_theta(x_{t-1} | x_t) / q(x_{t-1} | x_t, x_0)."""
    return total(f.reverse[2:] - f.posterior[2:])


def _split_first(f: Factors, forward: Float64[Tensor, "n P"]) -> Float64[Tensor, " P"]:
    """D3 to D6, with the given log q(x_t | x_{t-1}, x_0), t = 2..T."""
    first = f.reverse[1] - f.step[1]
    return -f.prior - total(f.reverse[2:] - forward) - first


def _d5(f: Factors) -> Float64[Tensor, " P"]:
    pair = f.marginal + f.data  # log q(x_t, x_0)
    triple = f.step[2:] + pair[1:-1]  # log q(x_t, x_{t-1}, x_0)
    return _split_first(f, (triple - pair[1:-1]) + (pair[2:] - pair[2:]))


def _d6(f: Factors) -> Float64[Tensor, " P"]:
    pair = f.marginal + f.data
    return _split_first(f, f.posterior[2:] + (pair[2:] - pair[1:-1]))


def _d7(f: Factors) -> Float64[Tensor, " P"]:
    links = f.marginal[1:-1] - f.marginal[2:]
    first = f.reverse[1] - f.step[1]
    return -f.prior - total(f.reverse[2:] - f.posterior[2:] + links) - first


def _d8(f: Factors) -> Float64[Tensor, " P"]:
    links = total(f.marginal[1:-1] - f.marginal[2:])
    return -f.prior - _ratios(f) - links - (f.reverse[1] - f.step[1])


def _d9(f: Factors) -> Float64[Tensor, " P"]:
    telescope = torch.stack(
        [-x for t in range(2, f.T + 1) for x in (f.marginal[t - 1], -f.marginal[t])]
        or [torch.zeros_like(f.prior)]
    )
    return -f.prior - _ratios(f) + total(telescope) - (f.reverse[1] - f.step[1])


def _d10(f: Factors) -> Float64[Tensor, " P"]:
    return -(f.prior - f.marginal[-1]) - _ratios(f) - f.reverse[1]


def _bayes_without_x_0(f: Factors) -> Float64[Tensor, " P"]:
    posterior = f.step[2:] + f.population[1:-1] - f.population[2:]
    return -(f.prior - f.marginal[-1]) - total(f.reverse[2:] - posterior) - f.reverse[1]


def _telescope_without_x_0(f: Factors) -> Float64[Tensor, " P"]:
    telescope = -(f.population[1] - f.population[-1])
    return -f.prior - _ratios(f) + telescope - (f.reverse[1] - f.step[1])


def _swapped(f: Factors) -> Float64[Tensor, " P"]:
    return f.swapped_prior_kl + total(f.swapped_kl[2:]) - f.reverse[1]


P_PATH, Q_PATH = r"p_\theta(x_{0:T})", r"q(x_{1:T}|x_0)"
P_STEP, Q_STEP = r"p_\theta(x_{t-1}|x_t)", r"q(x_t|x_{t-1})"
POSTERIOR, DECODER = r"q(x_{t-1}|x_t,x_0)", r"p_\theta(x_0|x_1)"
START = r"-\log p(x_T)"
FIRST = rf"-\log\frac{{{DECODER}}}{{q(x_1|x_0)}}"
RATIOS = rf"-\sum_{{t=2}}^{{T}}\log\frac{{{P_STEP}}}{{{POSTERIOR}}}"
RATIO = rf"\log\frac{{{P_PATH}}}{{{Q_PATH}}}"
DATA = r"\mathrm{KL}\left(q(x_T|x_0)\,\|\,p(x_T)\right)"
STEPS = rf"\sum_{{t=2}}^{{T}}\mathrm{{KL}}\left({POSTERIOR}\,\|\,{P_STEP}\right)"


def _mean(inside: str) -> str:
    return rf"\mathbb{{E}}_q\left[{inside}\right]"


LINES = (
    Line(
        "(1)",
        "p(x_0) = ∫ p(x_0:T) dx_1:T",
        rf"p_\theta(x_0)=\int {P_PATH}\,dx_{{1:T}}",
        "definition of the marginal",
        Relation.START,
    ),
    Line(
        "(2)",
        "log p(x_0) = log ∫ p(x_0:T) dx_1:T",
        rf"\log p_\theta(x_0)=\log\int {P_PATH}\,dx_{{1:T}}",
        "logarithm of both sides",
        Relation.EQUAL,
    ),
    Line(
        "(3)",
        "log p(x_0) = log ∫ q(x_1:T|x_0) p(x_0:T)/q(x_1:T|x_0) dx_1:T",
        rf"\log p_\theta(x_0)=\log\int {Q_PATH}\,\frac{{{P_PATH}}}{{{Q_PATH}}}\,dx_{{1:T}}",
        "importance weighting: multiply and divide by q",
        Relation.SUPPORTED,
        "q(x_1:T|x_0) > 0 wherever p(x_1:T|x_0) > 0; else the right side is smaller",
    ),
    Line(
        "(4)",
        "log p(x_0) ≥ E_q[log p(x_0:T)/q(x_1:T|x_0)] = ELBO",
        r"\log p_\theta(x_0)\geq" + _mean(RATIO) + r"=\mathrm{ELBO}",
        "Jensen: the logarithm is concave; the gap to (2) is KL(q(x_1:T|x_0) ‖ p(x_1:T|x_0))",
        Relation.JENSEN,
        inside=lambda f: -(f.log_p - f.log_q),
    ),
    Line(
        "(5)",
        "L = E_q[−log p(x_0:T)/q(x_1:T|x_0)]",
        "L=" + _mean("-" + RATIO),
        "the loss is the negative ELBO",
        Relation.PATHWISE,
        inside=lambda f: -(f.log_p - f.log_q),
    ),
    Line(
        "(6)",
        "L = E_q[−log p(x_T) ∏ p(x_t-1|x_t) / ∏ q(x_t|x_t-1)]",
        "L="
        + _mean(rf"-\log\frac{{p(x_T)\prod_{{t=1}}^{{T}}{P_STEP}}}{{\prod_{{t=1}}^{{T}}{Q_STEP}}}"),
        "both chains are Markov: their factorisations put in",
        Relation.PATHWISE,
        inside=lambda f: -(total(torch.cat([f.reverse[1:].flip(0), -f.step[1:]])) + f.prior),
    ),
    Line(
        "(7)",
        "L = −E_q[log p(x_T) + Σ log p(x_t-1|x_t) − Σ log q(x_t|x_t-1)]",
        "L=-"
        + _mean(rf"\log p(x_T)+\sum_{{t=1}}^{{T}}\log {P_STEP}-\sum_{{t=1}}^{{T}}\log {Q_STEP}"),
        "the logarithm of products is a sum of logarithms",
        Relation.PATHWISE,
        inside=lambda f: -(f.prior + total(f.reverse[1:]) - total(f.step[1:])),
    ),
    Line(
        "(8)",
        "L = −E_q[log p(x_T) + Σ log p(x_t-1|x_t)/q(x_t|x_t-1)]",
        "L=-" + _mean(rf"\log p(x_T)+\sum_{{t=1}}^{{T}}\log\frac{{{P_STEP}}}{{{Q_STEP}}}"),
        "one sum of both",
        Relation.PATHWISE,
        inside=lambda f: -(f.prior + total(f.reverse[1:] - f.step[1:])),
    ),
    Line(
        "D1",
        "E_q[−log p(x_0:T)/q(x_1:T|x_0)]",
        _mean("-" + RATIO),
        "the loss again, line (5)",
        Relation.PATHWISE,
        inside=lambda f: f.log_q - f.log_p,
    ),
    Line(
        "D2",
        "E_q[−log p(x_T) − Σ_t≥1 log p(x_t-1|x_t)/q(x_t|x_t-1)]",
        _mean(rf"{START}-\sum_{{t=1}}^{{T}}\log\frac{{{P_STEP}}}{{{Q_STEP}}}"),
        "line (8)",
        Relation.PATHWISE,
        inside=lambda f: -f.prior - total(f.reverse[1:] - f.step[1:]),
    ),
    Line(
        "D3",
        "E_q[−log p(x_T) − Σ_t>1 log p(x_t-1|x_t)/q(x_t|x_t-1) − log p(x_0|x_1)/q(x_1|x_0)]",
        _mean(rf"{START}-\sum_{{t=2}}^{{T}}\log\frac{{{P_STEP}}}{{{Q_STEP}}}{FIRST}"),
        "t = 1 split off",
        Relation.PATHWISE,
        inside=lambda f: _split_first(f, f.step[2:]),
    ),
    Line(
        "D4",
        "… with q(x_t|x_t-1) = q(x_t|x_t-1,x_0) in the sum",
        _mean(rf"{START}-\sum_{{t=2}}^{{T}}\log\frac{{{P_STEP}}}{{q(x_t|x_{{t-1}},x_0)}}{FIRST}"),
        "Markov property of q: given x_t-1, x_t does not depend on x_0",
        Relation.PATHWISE,
        inside=lambda f: _split_first(f, f.step[2:]),
    ),
    Line(
        "D5",
        "… q(x_t|x_t-1,x_0) = q(x_t,x_t-1,x_0)/q(x_t-1,x_0) · q(x_t,x_0)/q(x_t,x_0)",
        _mean(
            rf"{START}-\sum_{{t=2}}^{{T}}\log\frac{{{P_STEP}}}"
            r"{\frac{q(x_t,x_{t-1},x_0)}{q(x_{t-1},x_0)}\cdot\frac{q(x_t,x_0)}{q(x_t,x_0)}}"
            f"{FIRST}"
        ),
        "Bayes, first half: a conditional is a ratio of joints; times one",
        Relation.PATHWISE,
        inside=_d5,
    ),
    Line(
        "D6",
        "… = q(x_t-1|x_t,x_0) · q(x_t,x_0)/q(x_t-1,x_0)",
        _mean(
            rf"{START}-\sum_{{t=2}}^{{T}}\log\frac{{{P_STEP}}}"
            rf"{{{POSTERIOR}\cdot\frac{{q(x_t,x_0)}}{{q(x_{{t-1}},x_0)}}}}{FIRST}"
        ),
        "Bayes, second half: the same joint, conditioned on x_t instead",
        Relation.PATHWISE,
        inside=_d6,
    ),
    Line(
        "D7",
        "… Σ_t>1 log [p(x_t-1|x_t)/q(x_t-1|x_t,x_0) · q(x_t-1|x_0)/q(x_t|x_0)] …",
        _mean(
            rf"{START}-\sum_{{t=2}}^{{T}}\log\left[\frac{{{P_STEP}}}{{{POSTERIOR}}}"
            rf"\cdot\frac{{q(x_{{t-1}}|x_0)}}{{q(x_t|x_0)}}\right]{FIRST}"
        ),
        "q(x_0) cancels",
        Relation.PATHWISE,
        inside=_d7,
    ),
    Line(
        "D8",
        "… Σ_t>1 log p(x_t-1|x_t)/q(x_t-1|x_t,x_0) − Σ_t>1 log q(x_t-1|x_0)/q(x_t|x_0) …",
        _mean(
            rf"{START}{RATIOS}-\sum_{{t=2}}^{{T}}\log\frac{{q(x_{{t-1}}|x_0)}}{{q(x_t|x_0)}}{FIRST}"
        ),
        "the logarithm of a product: one sum becomes two",
        Relation.PATHWISE,
        inside=_d8,
    ),
    Line(
        "D9",
        "… −log q(x_1|x_0)/q(x_2|x_0) − … − log q(x_T-1|x_0)/q(x_T|x_0) …",
        _mean(
            rf"{START}{RATIOS}-\log\frac{{q(x_1|x_0)}}{{q(x_2|x_0)}}"
            r"-\log\frac{q(x_2|x_0)}{q(x_3|x_0)}-\dots"
            rf"-\log\frac{{q(x_{{T-1}}|x_0)}}{{q(x_T|x_0)}}{FIRST}"
        ),
        "the second sum written out: a telescope",
        Relation.PATHWISE,
        inside=_d9,
    ),
    Line(
        "D10",
        "E_q[−log p(x_T)/q(x_T|x_0) − Σ_t>1 log p(x_t-1|x_t)/q(x_t-1|x_t,x_0) − log p(x_0|x_1)]",
        _mean(rf"-\log\frac{{p(x_T)}}{{q(x_T|x_0)}}{RATIOS}-\log {DECODER}"),
        "the telescope collapses to −log q(x_1|x_0)/q(x_T|x_0)",
        Relation.PATHWISE,
        inside=_d10,
    ),
    Line(
        "D11",
        "E_q[KL(q(x_T|x_0) ‖ p(x_T)) + Σ_t>1 KL(q(x_t-1|x_t,x_0) ‖ p(x_t-1|x_t)) − log p(x_0|x_1)]",
        _mean(rf"{DATA}+{STEPS}-\log {DECODER}"),
        "the expectation over one variable at a time: L_T, L_t-1 and L_0",
        Relation.AVERAGE,
        "in expectation, not path by path",
        inside=lambda f: f.prior_kl + total(f.kl[2:]) - f.reverse[1],
    ),
)
"""(1) to (8) and D1 to D11, in the memo's order."""

PATHWISE = tuple(line for line in LINES if line.label in {f"D{n}" for n in range(1, 11)})
"""D1 to D10: rearrangements of one number, equal on every path."""

FALSE_LINES = (
    Line(
        "F1",
        "D10 with q(x_t-1|x_t) = q(x_t|x_t-1) q(x_t-1)/q(x_t) for q(x_t-1|x_t,x_0)",
        _mean(
            rf"-\log\frac{{p(x_T)}}{{q(x_T|x_0)}}-\sum_{{t=2}}^{{T}}\log\frac{{{P_STEP}}}"
            rf"{{q(x_t|x_{{t-1}})\,q(x_{{t-1}})/q(x_t)}}-\log {DECODER}"
        ),
        "Bayes without x_0: q(x_t) does not telescope against q(x_t|x_0)",
        Relation.FALSE,
        "the data are one point, or T = 1",
        inside=_bayes_without_x_0,
        rival="D10",
    ),
    Line(
        "F2",
        "D9 with −log q(x_1)/q(x_T) for the telescope",
        _mean(rf"{START}{RATIOS}-\log\frac{{q(x_1)}}{{q(x_T)}}{FIRST}"),
        "a telescope over q(x_t) is not the one that Bayes' rule given x_0 leaves",
        Relation.FALSE,
        "the data are one point, or T = 1",
        inside=_telescope_without_x_0,
        rival="D10",
    ),
    Line(
        "F3",
        "D11 with KL(p(x_T) ‖ q(x_T|x_0)) and KL(p(x_t-1|x_t) ‖ q(x_t-1|x_t,x_0))",
        _mean(
            r"\mathrm{KL}\left(p(x_T)\,\|\,q(x_T|x_0)\right)+\sum_{t=2}^{T}"
            rf"\mathrm{{KL}}\left({P_STEP}\,\|\,{POSTERIOR}\right)-\log {DECODER}"
        ),
        "the arguments of every KL swapped: the expectation was over q",
        Relation.FALSE,
        "the two differ in their means alone, or not at all",
        inside=_swapped,
        rival="D11",
    ),
    Line(
        "F4",
        "D11 with KL(q(x_0|x_1) ‖ p(x_0|x_1)) for −log p(x_0|x_1)",
        _mean(rf"{DATA}+{STEPS}+\mathrm{{KL}}\left(q(x_0|x_1)\,\|\,{DECODER}\right)"),
        "L_0 as a KL: q(x_0|x_1,x_0) is a point mass, so L_0 is a likelihood",
        Relation.FALSE,
        "x_1 tells which of the data it came from",
        inside=lambda f: f.prior_kl + total(f.kl[2:]) + f.first_kl,
        rival="D11",
    ),
    Line(
        "F5",
        "E_q[Σ_t>1 KL(q(x_t-1|x_t,x_0) ‖ p(x_t-1|x_t)) − log p(x_0|x_1)]",
        _mean(rf"{STEPS}-\log {DECODER}"),
        "L_T left out since it is not trained: too low by L_T, no bound",
        Relation.FALSE,
        "q(x_T|x_0) = p(x_T)",
        inside=lambda f: total(f.kl[2:]) - f.reverse[1],
        rival="D11",
    ),
)
"""Common mistakes: lines that are not equalities."""
