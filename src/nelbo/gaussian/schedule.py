"""How fast the data is destroyed: beta_1..beta_T, and all that follows from them.

A schedule is one table, log alpha_t = log(1 - beta_t), from which every other is computed in
float64 without cancellation (log1p, expm1, a compensated sum). Networks never see float64: a
table is cast when it is used. What a schedule does not decide: the reverse variance, and what
the network receives about t.
"""

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import ParamSpec, final

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from nelbo.arguments import spans
from nelbo.errors import BadInput
from nelbo.types import Batch, Time

__all__ = [
    "SCHEDULES",
    "Schedule",
    "at",
    "cosine",
    "cosine_d3pm",
    "from_betas",
    "from_log_snr",
    "linear",
    "linear_by_T",
    "log_snr_linear",
    "scaled_linear",
    "sigmoid",
    "sigmoid_lucidrains",
]

Table = Float64[Tensor, " steps"]  # indexed by t = 0..T
MOST = 10**6  # steps of a schedule by formula; its tables take a gigabyte at ten times as many
Given = ParamSpec("Given")


def at(table: Float64[Tensor, "steps ..."], t: Time, x: Batch) -> Float[Tensor, "..."]:
    """table[t] in x's dtype and device, shaped to broadcast against x.

    A table has one entry per t, or one per t and dimension.
    """
    row = table[t].to(x, non_blocking=True)
    return row.reshape(len(t), *(1,) * (x.ndim - row.ndim), *row.shape[1:])


@final
@dataclass(frozen=True, eq=False)
class Schedule:
    """alpha_bar_t = prod over s <= t of (1 - beta_s), t = 0..T, with alpha_bar_0 = 1.

    `log_alpha` holds log(1 - beta_t) for t = 1..T; `kept` holds, for a sub-chain, the step of
    the original chain that each step is, which is what its network receives (else 1..T), and
    `whole_T` the number of steps of the original chain. `by_log_snr` says that log SNR was given
    and not betas: then x_1 is as noisy however many steps there are.
    Source: Ho et al. 2020, section 2, eqs. 4 and 7.

    Raises:
        BadInput: a beta outside (0, 1), named with its t. beta_T = 1 is allowed: the chain then
            ends in pure noise (zero terminal signal-to-noise ratio).
    """

    name: str
    log_alpha: Float64[Tensor, " T"]
    kept: Int64[Tensor, " T"] = field(default=None)  # type: ignore[assignment]
    whole_T: int = 0
    by_log_snr: bool = False

    def __post_init__(self) -> None:
        if len(self.log_alpha) == 0:
            raise BadInput("a schedule needs at least one step; got T = 0")
        if self.kept is None:
            object.__setattr__(self, "kept", torch.arange(1, len(self.log_alpha) + 1))
        if self.whole_T == 0:
            object.__setattr__(self, "whole_T", int(self.kept[-1]))
        inside = (self.log_alpha < 0) & (self.log_alpha > -math.inf)
        inside[-1] |= self.log_alpha[-1] == -math.inf
        if not inside.all():
            t = int((~inside).nonzero()[0]) + 1
            beta = float(-torch.expm1(self.log_alpha[t - 1]))
            raise BadInput(f"beta must lie in (0, 1); got beta[{t}] = {beta} in {self.name}")

    @property
    def T(self) -> int:
        """The number of steps."""
        return len(self.log_alpha)

    @cached_property
    def log_alpha_bar(self) -> Table:
        """log alpha_bar_t, t = 0..T."""
        return torch.tensor([0.0, *_running_sum(self.log_alpha.tolist())], dtype=torch.float64)

    @cached_property
    def alpha_bar(self) -> Table:
        """alpha_bar_t, t = 0..T."""
        return self.log_alpha_bar.exp()

    @cached_property
    def one_minus_alpha_bar(self) -> Table:
        """1 - alpha_bar_t, the variance of q(x_t | x_0), t = 0..T."""
        return -torch.expm1(self.log_alpha_bar)

    @cached_property
    def log_one_minus_alpha_bar(self) -> Table:
        """log(1 - alpha_bar_t), t = 0..T; -inf at t = 0, and accurate where alpha_bar_t is tiny."""
        near_1 = torch.log1p(-self.alpha_bar)
        return torch.where(self.alpha_bar < 0.5, near_1, self.one_minus_alpha_bar.log())

    @cached_property
    def log_snr(self) -> Table:
        """log alpha_bar_t / (1 - alpha_bar_t), t = 0..T; +inf at t = 0."""
        return self.log_alpha_bar - self.log_one_minus_alpha_bar

    @cached_property
    def alpha(self) -> Table:
        """1 - beta_t, with alpha_0 = 1."""
        return torch.cat([torch.ones(1, dtype=torch.float64), self.log_alpha.exp()])

    @cached_property
    def beta(self) -> Table:
        """beta_t, with beta_0 = 0."""
        return torch.cat([torch.zeros(1, dtype=torch.float64), -torch.expm1(self.log_alpha)])

    @cached_property
    def posterior_variance(self) -> Table:
        """beta_t (1 - alpha_bar_{t-1}) / (1 - alpha_bar_t), t = 1..T; 0 at t = 1."""
        return self._over_t(self.beta[1:] * self.one_minus_alpha_bar[:-1])

    @cached_property
    def posterior_x_0(self) -> Table:
        """The weight of x_0 in the mean of q(x_{t-1} | x_t, x_0); 1 at t = 1."""
        return self._over_t(self.beta[1:] * (0.5 * self.log_alpha_bar[:-1]).exp())

    @cached_property
    def posterior_x_t(self) -> Table:
        """The weight of x_t in the mean of q(x_{t-1} | x_t, x_0); 0 at t = 1."""
        return self._over_t((0.5 * self.log_alpha).exp() * self.one_minus_alpha_bar[:-1])

    def _over_t(self, numerator: Tensor) -> Table:
        """numerator_t / (1 - alpha_bar_t), t = 1..T, with 0 put at t = 0."""
        quotient = numerator / self.one_minus_alpha_bar[1:]
        return torch.cat([torch.zeros(1, dtype=torch.float64), quotient])

    @cached_property
    def importance(self) -> Float64[Tensor, " transitions"]:
        """A guess at each t's share of the bound, t = 2..T: half even, half the fall of log SNR.

        The bound is an integral over log SNR in the limit (Kingma et al. 2021, eq. 13), so a t
        that spans much of it weighs much; the even half keeps every share away from 0.
        """
        fall = self.log_snr[1:-1] - self.log_snr[2:]
        fall = fall.clamp(max=float(fall[fall.isfinite()].sum()) or 1.0)
        return 0.5 * fall / fall.sum() + 0.5 / max(len(fall), 1)

    def subchain(self, steps: Sequence[int]) -> "Schedule":
        """The chain that visits only the given t of this one, a chain of its own.

        Its alphas are products over what is skipped, so its marginals are this chain's at the
        kept t (Nichol and Dhariwal 2021, section 4), and `kept` remembers the original t.

        Raises:
            BadInput: the steps are not increasing within 1..T, or none is given.
        """
        log_alpha = [math.fsum(self.log_alpha[s:t].tolist()) for s, t in spans(steps, self.T)]
        table = torch.tensor(log_alpha, dtype=torch.float64)
        kept = self.kept[torch.tensor(steps) - 1]
        return Schedule(self.name, table, kept, self.whole_T, self.by_log_snr)


def _running_sum(terms: list[float]) -> list[float]:
    """Prefix sums, each within one rounding of exact (Neumaier's compensated sum)."""
    total, lost, sums = 0.0, 0.0, []
    for term in terms:
        if math.isinf(term):  # beta_T = 1: nothing is left, and inf - inf must not arise
            sums.append(term)
            continue
        after = total + term
        big, small = (total, term) if abs(total) >= abs(term) else (term, total)
        lost += (big - after) + small
        total = after
        sums.append(total + lost)
    return sums


def from_betas(betas: Sequence[float], name: str = "betas") -> Schedule:
    """The schedule with the given beta_1..beta_T.

    Raises:
        BadInput: as `Schedule`; also NaN.
    """
    for t, beta in enumerate(betas, start=1):
        if not (0 < beta < 1 or (beta == 1 and t == len(betas))):
            raise BadInput(f"beta must lie in (0, 1); got beta[{t}] = {beta} in {name}")
    return Schedule(name, torch.log1p(-torch.tensor(list(betas), dtype=torch.float64)))


def _spread(first: float, last: float, count: int) -> list[float]:
    """`count` evenly spaced numbers; the first alone when count = 1."""
    return [first + (last - first) * i / max(count - 1, 1) for i in range(count)]


def _of_steps(schedule: Callable[Given, Schedule]) -> Callable[Given, Schedule]:
    """The schedule of that formula, where it has no more steps than there is room for."""

    @functools.wraps(schedule)
    def made(*given: Given.args, **named: Given.kwargs) -> Schedule:
        T = given[0] if given else named.get("T", 0)
        if isinstance(T, int | float) and T > MOST:
            raise BadInput(f"a schedule has at most {MOST:,} steps; got T = {T:,}")
        return schedule(*given, **named)

    return made


@_of_steps
def linear(T: int = 1000, beta_1: float = 1e-4, beta_T: float = 0.02) -> Schedule:
    """beta_t evenly spaced from beta_1 to beta_T (Ho et al. 2020, section 4)."""
    return from_betas(_spread(beta_1, beta_T, T), "linear")


@_of_steps
def linear_by_T(T: int = 1000, beta_1: float = 1e-4, beta_T: float = 0.02) -> Schedule:
    """`linear` from 1000/T beta_1 to 1000/T beta_T, so that alpha_bar_T hardly depends on T.

    What "linear" means in OpenAI's improved and guided diffusion and in lucidrains' code; `linear`
    itself is that of Ho et al. and of diffusers. They differ wherever T is not 1000.

    Raises:
        BadInput: as `from_betas`; so, with the default ends, for T of 2..20.
    """
    scale = 1000 / max(T, 1)
    return from_betas(_spread(scale * beta_1, scale * beta_T, T), "linear-by-T")


@_of_steps
def scaled_linear(T: int = 1000, beta_1: float = 0.00085, beta_T: float = 0.012) -> Schedule:
    """sqrt(beta_t) evenly spaced (Rombach et al. 2022, latent diffusion).

    Raises:
        BadInput: as `from_betas`; a negative beta_1 or beta_T.
    """
    if not (beta_1 >= 0 and beta_T >= 0):
        raise BadInput(f"beta must lie in (0, 1); got {beta_1} to {beta_T} in scaled-linear")
    roots = _spread(math.sqrt(beta_1), math.sqrt(beta_T), T)
    return from_betas([root * root for root in roots], "scaled-linear")


@_of_steps
def sigmoid(T: int = 1000, beta_1: float = 1e-4, beta_T: float = 0.02) -> Schedule:
    """(beta_t - beta_1) / (beta_T - beta_1) = logistic(y), y even on [-6, 6] (Xu et al. 2022)."""
    weights = [1 / (1 + math.exp(-y)) for y in _spread(-6.0, 6.0, T)]
    return from_betas([beta_1 + (beta_T - beta_1) * w for w in weights], "sigmoid")


@_of_steps
def sigmoid_lucidrains(
    T: int = 1000,
    start: float = -3.0,
    end: float = 3.0,
    tau: float = 1.0,
    max_beta: float = 0.999,
) -> Schedule:
    """alpha_bar_t falls as logistic(end/tau) - logistic(y/tau), y even from start to end, t = 0..T.

    beta_t is at most max_beta. Source: Jabri et al. 2022, figure 8, as lucidrains' code has it
    under the name "sigmoid"; `sigmoid` itself is a law of betas, and another.

    Raises:
        BadInput: as `from_betas`; not -300 <= start/tau < end/tau <= 300 with tau positive.
    """
    if not (tau > 0 and -300 <= start / tau < end / tau <= 300):
        raise BadInput(
            "sigmoid-lucidrains rises from start/tau to end/tau within -300..300; "
            f"got {start}, {end} and tau {tau}"
        )
    last = end / tau
    step = (last - start / tau) / max(T, 1)
    # By logistic(a) - logistic(b) = sinh((a - b)/2) / (2 cosh(a/2) cosh(b/2)), so that nothing
    # is subtracted.
    betas = []
    for t in range(1, T + 1):
        left = math.sinh((T - t + 1) * step / 2) * math.cosh((last - (T - t) * step) / 2)
        betas.append(min(math.sinh(step / 2) * math.cosh(last / 2) / left, max_beta))
    return from_betas(betas, "sigmoid-lucidrains")


def _angle(T: int, s: float) -> float:
    """By how much (t/T + s)/(1 + s) pi/2 grows in a step, s in [0, 1]."""
    if not 0 <= s <= 1:
        raise BadInput(f"the cosine schedule's s must lie in [0, 1]; got {s}")
    return math.pi / (2 * max(T, 1) * (1 + s))


@_of_steps
def cosine(T: int = 1000, s: float = 0.008, max_beta: float = 0.999) -> Schedule:
    """beta_t = min(1 - f(t)/f(t-1), max_beta), f(t) = cos^2((t/T + s)/(1 + s) pi/2).

    Source: Nichol and Dhariwal 2021, eq. 17. The same in guided diffusion, in lucidrains' code and,
    as squaredcos_cap_v2, in diffusers; D3PM's has no square, see `cosine_d3pm`.

    Raises:
        BadInput: as `from_betas`; s outside [0, 1].
    """
    # With u the distance from pi/2, f = sin^2 u and 1 - f(t)/f(t-1) is a product of sines, of
    # angles taken from the nearer end: no difference of nearly equal numbers at either.
    step = _angle(T, s)
    betas = []
    for t in range(1, T + 1):
        u_prev = (T - t + 1) * step
        both = min(2 * (T - t) + 1, 2 * (t + T * s) - 1) * step  # u + u_prev, or pi less that
        betas.append(min(math.sin(step) * math.sin(both) / math.sin(u_prev) ** 2, max_beta))
    return from_betas(betas, "cosine")


@_of_steps
def cosine_d3pm(T: int = 1000, s: float = 0.008, max_beta: float = 0.999) -> Schedule:
    """beta_t = min(1 - f(t)/f(t-1), max_beta), f(t) = cos((t/T + s)/(1 + s) pi/2), no square.

    What "cosine" means in the code of D3PM (Hoogeboom et al. 2021, Austin et al. 2021), whose
    chance to keep a state is alpha_bar_t itself.

    Raises:
        BadInput: as `from_betas`; s outside [0, 1].
    """
    step = _angle(T, s)
    betas = []
    for t in range(1, T + 1):  # a difference of sines, as a product
        gap = 2 * math.sin(step / 2) * math.sin((t - 0.5 + T * s) * step)
        betas.append(min(gap / math.sin((T - t + 1) * step), max_beta))
    return from_betas(betas, "cosine-d3pm")


@_of_steps
def log_snr_linear(T: int = 1000, first: float = 9.2, last: float = -9.0) -> Schedule:
    """log SNR_t evenly spaced from `first` at t = 1 to `last` at t = T.

    The weights of the bound are then even in t (Kingma et al. 2021, VDM); the default ends where
    a lattice of up to 17 levels is known exactly at t = 1 and L_T is below 1e-4 nats per dim.

    Raises:
        BadInput: not 300 >= first > last >= -300, beyond which an SNR is no float64.
    """
    if not 300 >= first > last >= -300:
        raise BadInput(
            f"log SNR must fall from first to last within -300..300; got {first} and {last}"
        )
    gaps = [(first - last) / max(T - 1, 1)] * (T - 1)
    log_alpha = _log_alpha(_spread(first, last, T), gaps)
    return Schedule("log-snr-linear", log_alpha, by_log_snr=True)


def from_log_snr(values: Sequence[float], name: str = "log-snr") -> Schedule:
    """The schedule with log SNR_t = values[t - 1], t = 1..T.

    Raises:
        BadInput: values that do not fall, or leave -300..300, beyond which an SNR is no float64;
            none at all.
    """
    return _of_log_snr(tuple(values), name)


@functools.lru_cache(maxsize=32)  # of one path are many models, whose tables take milliseconds
def _of_log_snr(values: tuple[float, ...], name: str) -> Schedule:
    for t, (before, value) in enumerate(itertools.pairwise([math.inf, *values]), start=1):
        if not (before > value and abs(value) <= 300):
            raise BadInput(
                f"log SNR must fall within -300..300; got log_snr[{t}] = {value} in {name}"
            )
    gaps = [before - after for before, after in itertools.pairwise(values)]
    return Schedule(name, _log_alpha(values, gaps), by_log_snr=True)


def _log_alpha(log_snr: Sequence[float], gaps: Sequence[float]) -> Float64[Tensor, " T"]:
    """log alpha_t, t = 1..T; gaps are log_snr_{t-1} - log_snr_t, t = 2..T, to their last digit."""
    log_alpha = [-math.log1p(math.exp(-first)) for first in log_snr[:1]]
    for before, gap in zip(log_snr[:-1], gaps, strict=True):
        # alpha_bar_{t-1} / alpha_bar_t = 1 + sigmoid(log_snr_{t-1}) (1/SNR_t - 1/SNR_{t-1})
        noise = math.exp(-before) * math.expm1(gap)
        log_alpha.append(-math.log1p(noise / (1 + math.exp(-before))))
    return torch.tensor(log_alpha, dtype=torch.float64)


SCHEDULES: dict[str, Callable[..., Schedule]] = {
    "linear": linear,
    "linear-by-T": linear_by_T,
    "scaled-linear": scaled_linear,
    "cosine": cosine,
    "cosine-d3pm": cosine_d3pm,
    "sigmoid": sigmoid,
    "sigmoid-lucidrains": sigmoid_lucidrains,
    "log-snr-linear": log_snr_linear,
    "betas": from_betas,
}
