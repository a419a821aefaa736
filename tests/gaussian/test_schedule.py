"""Schedules against 60 digits, sub-chains against products, and what is refused.

The definitions are written once more here, in mpmath, from the exact binary values of the float
parameters; every table at every t is compared.
"""

import itertools
import math
from collections.abc import Callable
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath import mp, mpf
from torch import nn
from truth import Affine, assert_close, chain_of, column, terms

from nelbo.errors import BadInput
from nelbo.gaussian.decoder import Discretized
from nelbo.gaussian.forward import GaussianForward
from nelbo.gaussian.parametrization import EPS, X_0, Levels, Linear, V
from nelbo.gaussian.schedule import SCHEDULES, Schedule, at, from_betas, linear
from nelbo.gaussian.variance import V_1_RULES, first_variance, large, small
from nelbo.types import Grid

LENGTHS = (1, 2, 10, 1000, 4000)
DIGITS = 60


def spread(first: mpf, last: mpf, T: int) -> list[mpf]:
    return [first + (last - first) * i / max(T - 1, 1) for i in range(T)]


def linear_betas(T: int, beta_1: float = 1e-4, beta_T: float = 0.02) -> list[mpf]:
    return spread(mpf(beta_1), mpf(beta_T), T)


def scaled_linear_betas(T: int, beta_1: float = 0.00085, beta_T: float = 0.012) -> list[mpf]:
    return [root**2 for root in spread(mp.sqrt(beta_1), mp.sqrt(beta_T), T)]


def sigmoid_betas(T: int, beta_1: float = 1e-4, beta_T: float = 0.02) -> list[mpf]:
    low, high = mpf(beta_1), mpf(beta_T)
    return [low + (high - low) / (1 + mp.exp(-y)) for y in spread(mpf(-6), mpf(6), T)]


def linear_by_T_betas(T: int, beta_1: float = 1e-4, beta_T: float = 0.02) -> list[mpf]:
    return [beta * 1000 / T for beta in linear_betas(T, beta_1, beta_T)]


def sigmoid_lucidrains_betas(
    T: int, start: float = -3.0, end: float = 3.0, tau: float = 1.0, max_beta: float = 0.999
) -> list[mpf]:
    low, high = mpf(start) / mpf(tau), mpf(end) / mpf(tau)
    logistic = [1 / (1 + mp.exp(-(low + (high - low) * t / T))) for t in range(T + 1)]
    abar = [(logistic[-1] - y) / (logistic[-1] - logistic[0]) for y in logistic]
    return [min(1 - abar[t] / abar[t - 1], mpf(max_beta)) for t in range(1, T + 1)]


def cosine_d3pm_betas(T: int, s: float = 0.008, max_beta: float = 0.999) -> list[mpf]:
    f = [mp.cos((mpf(t) / T + s) / (1 + mpf(s)) * mp.pi / 2) for t in range(T + 1)]
    return [min(1 - f[t] / f[t - 1], mpf(max_beta)) for t in range(1, T + 1)]


def cosine_betas(T: int, s: float = 0.008, max_beta: float = 0.999) -> list[mpf]:
    f = [mp.cos((mpf(t) / T + s) / (1 + mpf(s)) * mp.pi / 2) ** 2 for t in range(T + 1)]
    return [min(1 - f[t] / f[t - 1], mpf(max_beta)) for t in range(1, T + 1)]


def log_snr_linear_betas(T: int, first: float = 9.2, last: float = -9.0) -> list[mpf]:
    abar = [mpf(1), *(1 / (1 + mp.exp(-y)) for y in spread(mpf(first), mpf(last), T))]
    return [1 - abar[t] / abar[t - 1] for t in range(1, T + 1)]


def uneven(T: int) -> list[float]:
    """Any betas: neither monotone nor smooth."""
    return [0.02 * (37 * t % 101 + 1) / 102 for t in range(1, T + 1)]


Definition = Callable[[int], list[mpf]]
DEFINITIONS: dict[str, Definition] = {
    "linear": linear_betas,
    "linear-by-T": linear_by_T_betas,
    "scaled-linear": scaled_linear_betas,
    "sigmoid": sigmoid_betas,
    "sigmoid-lucidrains": sigmoid_lucidrains_betas,
    "cosine": cosine_betas,
    "cosine-d3pm": cosine_d3pm_betas,
    "log-snr-linear": log_snr_linear_betas,
    "betas": lambda T: [mpf(beta) for beta in uneven(T)],
}


def shipped(name: str, T: int) -> Schedule:
    return SCHEDULES[name](uneven(T)) if name == "betas" else SCHEDULES[name](T)


def exact_tables(betas: list[mpf]) -> dict[str, list[mpf]]:
    """Each table for t = 1..T, from products and quotients alone."""
    abar = [mpf(1)]
    for beta in betas:
        abar.append(abar[-1] * (1 - beta))
    om = [1 - each for each in abar]
    steps = list(enumerate(betas, start=1))
    return {
        "beta": betas,
        "alpha": [1 - beta for beta in betas],
        "alpha_bar": abar[1:],
        "one_minus_alpha_bar": om[1:],
        "posterior_variance": [beta * om[t - 1] / om[t] for t, beta in steps],
        "posterior_x_0": [beta * mp.sqrt(abar[t - 1]) / om[t] for t, beta in steps],
        "posterior_x_t": [mp.sqrt(1 - beta) * om[t - 1] / om[t] for t, beta in steps],
        "log_snr": [mp.log(abar[t] / om[t]) for t, _ in steps],
        "log_one_minus_alpha_bar": [mp.log(om[t]) for t, _ in steps],
    }


@cache
def truth_of(name: str, T: int) -> dict[str, torch.Tensor]:
    """The tables rounded once to float64: 1.1e-16 of the 1e-14 that is allowed."""
    with mp.workdps(DIGITS):
        tables = exact_tables(DEFINITIONS[name](T))
        rounded = {key: [float(entry) for entry in table] for key, table in tables.items()}
    return {key: torch.tensor(table, dtype=torch.float64) for key, table in rounded.items()}


@pytest.mark.parametrize(
    ("name", "T"),
    # with its default ends, linear-by-T has no betas below 1 for 2..20 steps
    [(name, T) for name in DEFINITIONS for T in LENGTHS if name != "linear-by-T" or T > 20],
)
def test_every_table_keeps_14_digits_at_every_t(name: str, T: int):
    """Kills: H22 (cumulative products and 1 - alpha_bar by subtraction), a wrong definition."""
    schedule, truth = shipped(name, T), truth_of(name, T)
    assert schedule.T == T
    for key, want in truth.items():
        mixed = 1e-14 if key == "log_snr" else 0.0  # log SNR passes through 0
        assert_close(getattr(schedule, key)[1:], want, rel=1e-14, absolute=mixed)


@pytest.mark.parametrize("name", SCHEDULES)
def test_tables_begin_with_the_data(name: str):
    """Kills: H15 (tables shifted by one t)."""
    schedule = shipped(name, 40)
    assert float(schedule.alpha_bar[0]) == 1
    assert float(schedule.one_minus_alpha_bar[0]) == 0
    assert float(schedule.beta[0]) == 0
    assert float(schedule.log_snr[0]) == math.inf
    assert float(schedule.posterior_variance[1]) == 0
    assert float(schedule.posterior_x_0[1]) == 1
    assert float(schedule.posterior_x_t[1]) == 0
    for table in ("alpha", "alpha_bar", "beta", "log_snr", "posterior_variance", "posterior_x_t"):
        assert getattr(schedule, table).shape == (41,)


@pytest.mark.parametrize(
    ("name", "definition", "parameters"),
    [
        ("linear", linear_betas, {"beta_1": 0.001, "beta_T": 0.2}),
        ("scaled-linear", scaled_linear_betas, {"beta_1": 0.0015, "beta_T": 0.0195}),
        ("sigmoid", sigmoid_betas, {"beta_1": 0.003, "beta_T": 0.3}),
        ("linear-by-T", linear_by_T_betas, {"beta_1": 0.0001, "beta_T": 0.03}),
        ("sigmoid-lucidrains", sigmoid_lucidrains_betas, {"start": -4.0, "end": 2.5}),
        ("sigmoid-lucidrains", sigmoid_lucidrains_betas, {"tau": 0.7, "max_beta": 0.4}),
        ("cosine-d3pm", cosine_d3pm_betas, {"s": 0.02, "max_beta": 0.4}),
        ("cosine", cosine_betas, {"s": 0.02, "max_beta": 0.9}),
        ("cosine", cosine_betas, {"s": 1e-4, "max_beta": 0.999}),
        ("log-snr-linear", log_snr_linear_betas, {"first": 14.0, "last": -5.0}),
    ],
)
def test_parameters_mean_what_the_definition_says(
    name: str, definition: Callable[..., list[mpf]], parameters: dict[str, float]
):
    """Kills: a parameter ignored or swapped."""
    with mp.workdps(DIGITS):
        truth = exact_tables(definition(50, **parameters))
        want = {key: [float(entry) for entry in table] for key, table in truth.items()}
    schedule = SCHEDULES[name](50, **parameters)
    for key, table in want.items():
        mixed = 1e-14 if key == "log_snr" else 0.0
        assert_close(getattr(schedule, key)[1:], table, rel=1e-14, absolute=mixed)


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(st.lists(st.floats(1e-9, 1, exclude_max=True), min_size=1, max_size=40))
def test_any_betas_give_finite_tables_and_a_falling_alpha_bar(betas: list[float]):
    """Kills: H25 (NaN from betas near the ends of (0, 1))."""
    schedule = from_betas(betas)
    tables = ("alpha_bar", "one_minus_alpha_bar", "beta", "posterior_variance", "posterior_x_0")
    for table in (*tables, "posterior_x_t", "alpha", "log_alpha_bar"):
        assert bool(getattr(schedule, table).isfinite().all()), table
    assert bool(schedule.log_snr[1:].isfinite().all())
    assert bool((schedule.log_alpha_bar.diff() < 0).all())
    assert bool((schedule.alpha_bar.diff() <= 0).all())
    assert bool((schedule.posterior_variance[2:] > 0).all())
    assert bool((schedule.posterior_variance <= schedule.beta * (1 + 1e-15)).all())


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("steps", [[1000], [1, 1000], [250, 500, 750, 1000], [3, 4, 9, 500]])
def test_a_sub_chain_has_the_marginals_of_its_steps(name: str, steps: list[int]):
    """Kills: H14 (betas of the long chain kept), a product over the wrong span."""
    whole = shipped(name, 1000)
    part = whole.subchain(steps)
    kept = torch.tensor(steps)
    assert len(steps) == part.T
    assert part.name == whole.name
    assert part.kept.tolist() == steps
    assert_close(part.alpha_bar[1:], whole.alpha_bar[kept], rel=1e-14)
    assert_close(part.one_minus_alpha_bar[1:], whole.one_minus_alpha_bar[kept], rel=1e-14)
    spans = zip([0, *steps[:-1]], steps, strict=True)
    products = [1 - math.prod(whole.alpha[s + 1 : t + 1].tolist()) for s, t in spans]
    assert_close(part.beta[1:], products, rel=1e-11)
    x_0, t = column(*(0.3 for _ in steps)), torch.arange(1, len(steps) + 1)
    short, long = GaussianForward(part).marginal(x_0, t), GaussianForward(whole).marginal(x_0, kept)
    assert_close(short.mean, long.mean, rel=1e-14)
    assert_close(short.log_var, long.log_var, rel=1e-14, absolute=1e-14)


def test_a_sub_chain_of_a_sub_chain_is_a_sub_chain():
    """Kills: `kept` counted within the sub-chain, so that the network receives another t."""
    whole = linear(1000)
    once = whole.subchain(range(10, 1001, 10)).subchain([1, 50, 100])
    assert once.kept.tolist() == [10, 500, 1000]
    assert_close(once.alpha_bar, whole.subchain([10, 500, 1000]).alpha_bar, rel=1e-14)


def test_the_sub_chain_of_all_steps_is_the_chain():
    """Kills: an off-by-one in the spans."""
    whole = linear(50)
    again = whole.subchain(range(1, 51))
    assert torch.equal(again.log_alpha, whole.log_alpha)
    assert torch.equal(again.kept, whole.kept)


@pytest.mark.parametrize("steps", [[], [0, 5], [5, 5], [7, 3], [11], [-1, 4]])
def test_steps_outside_or_out_of_order_are_refused(steps: list[int]):
    """Kills: H14 (steps that wrap around or repeat)."""
    with pytest.raises(BadInput, match=r"must increase within 1\.\.10"):
        linear(10).subchain(steps)


@pytest.mark.parametrize("bad", [0.0, -0.1, 1.0, 1.2, math.nan, math.inf])
@pytest.mark.parametrize("t", [1, 2])
def test_a_beta_outside_0_and_1_is_named_with_its_t(bad: float, t: int):
    """Kills: H25 (a NaN much later)."""
    betas = [0.1, 0.2, 0.3]
    betas[t - 1] = bad
    with pytest.raises(BadInput, match=r"beta must lie in \(0, 1\)") as error:
        from_betas(betas)
    assert f"beta[{t}] = {bad}" in str(error.value)


def test_the_schedule_itself_checks_its_table():
    """Kills: H25 where a schedule is made without from_betas."""
    for bad in (0.1, 0.0, math.nan, -math.inf):
        table = torch.tensor([-0.1, bad, -0.2], dtype=torch.float64)
        with pytest.raises(BadInput, match=r"beta\[2\]"):
            Schedule("mine", table)


def test_a_linear_schedule_that_leaves_the_interval_is_refused():
    """Kills: H25 (linear with T = 10 scaled to beta > 1)."""
    with pytest.raises(BadInput, match=r"beta\[6\] = 1\.1155.* in linear"):
        linear(10, 0.01, 2.0)


def test_beta_1_may_be_1_only_at_the_end():
    """Kills: a refusal of zero terminal SNR, or its acceptance elsewhere."""
    assert float(from_betas([0.5, 1.0]).alpha_bar[2]) == 0
    assert float(from_betas([1.0]).alpha_bar[1]) == 0
    with pytest.raises(BadInput, match=r"beta\[1\] = 1.0"):
        from_betas([1.0, 0.5])


@pytest.mark.parametrize("T", [0, -1])
@pytest.mark.parametrize("name", SCHEDULES)
def test_no_schedule_has_no_steps(name: str, T: int):
    """Kills: T = 0 ending in a division by zero, or in a chain of another length."""
    with pytest.raises(BadInput, match="at least one step"):
        shipped(name, T)


EXTREMES = (
    0.0,
    -1.0,
    -0.5,
    1e-300,
    0.02,
    1.0,
    2.0,
    250.0,
    800.0,
    -800.0,
    1e308,
    math.inf,
    math.nan,
)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("linear", ("beta_1", "beta_T")),
        ("scaled-linear", ("beta_1", "beta_T")),
        ("sigmoid", ("beta_1", "beta_T")),
        ("linear-by-T", ("beta_1", "beta_T")),
        ("sigmoid-lucidrains", ("start", "end")),
        ("sigmoid-lucidrains", ("tau", "max_beta")),
        ("cosine", ("s", "max_beta")),
        ("cosine-d3pm", ("s", "max_beta")),
        ("log-snr-linear", ("first", "last")),
    ],
)
@pytest.mark.parametrize("T", [1, 2, 10])
def test_whatever_the_parameters_a_schedule_is_finite_or_refused(
    name: str, parameters: tuple[str, str], T: int
):
    """Kills: H25, and a domain error, an overflow or a division by zero in place of a refusal."""
    made = 0
    for values in itertools.product(EXTREMES, repeat=2):
        try:
            schedule = SCHEDULES[name](T, **dict(zip(parameters, values, strict=True)))
        except BadInput:
            continue
        made += 1
        assert bool(schedule.alpha_bar.isfinite().all())
        assert bool(schedule.posterior_variance.isfinite().all())
        assert bool((schedule.one_minus_alpha_bar[1:] > 0).all())
    assert made > 0


@pytest.mark.parametrize(("first", "last"), [(-3.0, 3.0), (1.0, 1.0), (9.0, -400.0), (400.0, 0.0)])
def test_log_snr_must_fall_and_be_a_number_as_an_snr(first: float, last: float):
    """Kills: a rising SNR, whose betas are negative; an overflow."""
    with pytest.raises(BadInput, match="must fall from first to last within -300"):
        SCHEDULES["log-snr-linear"](10, first=first, last=last)


NO_SNR = from_betas([0.1, 0.4, 0.7, 1.0])


def without_time() -> nn.Module:
    table = torch.full((5,), 0.3, dtype=torch.float64)
    return Affine(table, table)


def test_eps_is_refused_at_zero_terminal_snr():
    """Kills: H24 (1 / sqrt(alpha_bar_T) = inf)."""
    with pytest.raises(BadInput, match=r"zero terminal SNR \(alpha_bar\[4\] = 0\): use v or x_0"):
        chain_of(without_time(), NO_SNR, small(NO_SNR, "beta_1"), parametrization=EPS)


@pytest.mark.parametrize("parametrization", [X_0, V], ids=lambda p: p.name)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_v_and_x_0_are_finite_at_zero_terminal_snr(parametrization: Linear, dtype: torch.dtype):
    """Kills: H24 (NaN in the posterior at T); L_T is exactly 0, since q(x_T | x_0) is the prior."""
    variance = large(NO_SNR, "beta_1")
    chain = chain_of(without_time(), NO_SNR, variance, parametrization=parametrization)
    got = terms(chain, column(-0.7, 1.0, dtype=dtype))
    assert got.L_T.tolist() == [0.0, 0.0]
    assert bool(got.transitions.isfinite().all())
    assert bool(got.reconstruction.isfinite().all())
    x_T = column(0.5, dtype=dtype)
    last = chain.q.posterior(x_T, x_T, torch.tensor([4]))
    assert bool(last.mean.isfinite().all())
    assert bool(last.log_var.isfinite().all())


def test_a_sub_chain_keeps_zero_terminal_snr():
    """Kills: H24 (inf - inf in the sum over a span)."""
    part = NO_SNR.subchain([2, 4])
    assert part.alpha_bar.tolist()[2] == 0
    assert float(part.beta[2]) == 1
    assert_close(part.alpha_bar[1], 0.9 * 0.6, rel=1e-14)


def test_levels_are_finite_at_zero_terminal_snr():
    """Kills: H24 in the posterior over levels: at T it is the network's prior."""
    levels = Levels(Grid(4))
    logits = torch.tensor([[0.1, -0.2, 0.3, 0.0]], dtype=torch.float64)
    posterior = levels.log_posterior(logits, column(0.7), torch.tensor([4]), NO_SNR)
    assert_close(posterior[0, 0], torch.log_softmax(logits[0], 0), rel=1e-15)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_tables_stay_in_float64_until_they_are_used(dtype: torch.dtype):
    """Kills: H23 (a table cast with the network)."""
    schedule = linear(1000)
    variance, decoder = large(schedule, "beta_1"), Discretized(Grid(256))
    table = torch.zeros(1001, dtype=torch.float64)
    chain = chain_of(Affine(table, table), schedule, variance, decoder=decoder)
    chain.p.to(dtype)
    assert schedule.alpha_bar.dtype == torch.float64
    row = at(schedule.alpha_bar, torch.tensor([7]), column(0.0, dtype=dtype))
    assert row.dtype == dtype
    assert torch.equal(row, schedule.alpha_bar[7:8, None].to(dtype))


def test_V_1_is_an_explicit_choice():
    """Kills: H05 (a silent default where beta-tilde is 0)."""
    schedule = from_betas([0.1, 0.2, 0.3])
    assert first_variance(schedule, "beta_1") == float(schedule.beta[1])
    assert first_variance(schedule, "beta_tilde_2") == float(schedule.posterior_variance[2])
    assert first_variance(schedule, 0.25) == 0.25
    for make in (small, large):
        assert make(schedule, 0.25).V_1 == 0.25
        assert make(schedule, 0.25).table[1] == 0.25
    assert_close(small(schedule, 0.25).table[2:], schedule.posterior_variance[2:], rel=0.0)
    assert_close(large(schedule, 0.25).table[2:], schedule.beta[2:], rel=0.0)
    assert float(schedule.posterior_variance[1]) == 0, "the schedule's own table is not written to"


@pytest.mark.parametrize("V_1", [0.0, -1.0, math.nan])
def test_V_1_must_be_positive(V_1: float):
    """Kills: H05 (log 0 in L_0)."""
    with pytest.raises(BadInput, match="V_1 must be positive"):
        first_variance(linear(3), V_1)


def test_an_unknown_V_1_rule_is_refused_with_the_rules():
    """Kills: a typo read as a default."""
    with pytest.raises(BadInput, match="beta_tilde_1") as error:
        first_variance(linear(3), "beta_tilde_1")
    assert all(rule in str(error.value) for rule in V_1_RULES)


def test_beta_tilde_2_needs_two_steps():
    """Kills: H05 (an index error at T = 1)."""
    with pytest.raises(BadInput, match="needs T >= 2"):
        first_variance(linear(1), "beta_tilde_2")


def test_the_posterior_is_refused_at_t_1():
    """Kills: H05, H26 (a KL to a point mass)."""
    q, x = GaussianForward(linear(3)), column(0.1, 0.2)
    with pytest.raises(BadInput, match="point mass at t = 1"):
        q.posterior(x, x, torch.tensor([2, 1]))


@settings(max_examples=50, deadline=None, derandomize=True, database=None)
@given(
    betas=st.lists(st.floats(1e-4, 0.99), min_size=2, max_size=8),
    x_0=st.floats(-2, 2),
    x_prev=st.floats(-3, 3),
    x_t=st.floats(-3, 3),
    data=st.data(),
)
def test_bayes_holds_at_any_point(
    betas: list[float], x_0: float, x_prev: float, x_t: float, data: st.DataObject
):
    """Kills: a wrong posterior mean or variance; H19 (Bayes without x_0).

    log q(x_t | x_{t-1}) + log q(x_{t-1} | x_0) = log q(x_{t-1} | x_t, x_0) + log q(x_t | x_0).
    """
    q = GaussianForward(from_betas(betas))
    t = torch.tensor([data.draw(st.integers(2, len(betas)))])
    start, before, now = column(x_0), column(x_prev), column(x_t)
    step, earlier = q.step(before, t).log_prob(now), q.marginal(start, t - 1).log_prob(before)
    back, marginal = (
        q.posterior(now, start, t).log_prob(before),
        q.marginal(start, t).log_prob(now),
    )
    size = float(step.abs() + earlier.abs() + back.abs() + marginal.abs()) + 1
    assert abs(float(step + earlier - back - marginal)) < 1e-11 * size


@pytest.mark.parametrize("name", SCHEDULES)
def test_marginals_compose(name: str):
    """Kills: a step whose variance is not that of the marginals (Chapman and Kolmogorov)."""
    schedule = shipped(name, 100)
    q, t, x_0 = GaussianForward(schedule), torch.arange(2, 101), column(*[0.7] * 99)
    before, now = q.marginal(x_0, t - 1), q.marginal(x_0, t)
    step = q.step(before.mean, t)
    alpha = schedule.alpha[2:, None]
    assert_close(step.mean, now.mean, rel=1e-13)
    assert_close(alpha * before.log_var.exp() + step.log_var.exp(), now.log_var.exp(), rel=1e-13)
