"""V_1 where nobody says it, and whether it is large enough for the network's error at t = 1."""

import math

import pytest
import torch
from truth import assert_close

import nelbo
from nelbo.data import Points
from nelbo.gaussian.schedule import from_log_snr, linear, log_snr_linear
from nelbo.report.page.checks import State, checks
from nelbo.results.unit import BITS
from nelbo.results.warnings import lost_by_V_1, of_figure

torch.set_num_threads(1)

DEVIATION = 0.2  # of the data, which are normal: their entropy is -0.19 nats/dim


def exact(x_t, log_snr):
    """E[eps | x_t]."""
    level = log_snr.to(x_t).reshape(-1, *(1,) * (x_t.ndim - 1))
    alpha_bar, left = torch.sigmoid(level), torch.sigmoid(-level)
    return left.sqrt() * x_t / (alpha_bar * DEVIATION**2 + left)


def density(schedule, **choices):
    return nelbo.wrap(exact, schedule=schedule, predicts="eps", variance="small",
                      time_input="log-snr", shape=(2,), decoder="density", **choices)  # fmt: skip


def points(count=100):
    draws = torch.randn(count, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return Points("normal", None, DEVIATION * draws)


@pytest.mark.parametrize("T", [1_000, 4_000])
def test_an_exact_denoiser_along_a_log_snr_has_the_entropy_by_default(T):
    """Kills: beta_tilde_2 there, which a fine grid takes to 0."""
    data = points()
    wanted = (data.values / DEVIATION).square().mean() / 2
    wanted = float(wanted) + math.log(DEVIATION) + 0.5 * math.log(2 * math.pi)
    schedule = from_log_snr(torch.linspace(9.2, -9, T).double().tolist())
    result = nelbo.evaluate(density(schedule), data, budget=30 * len(data.values))
    margin = 4 * result.unit.per_dim(result.monte_carlo.se, 2)
    assert -margin < result.per_dim - wanted < 0.06 + margin


def test_sub_chains_of_a_log_snr_have_the_1_over_snr_of_their_own_x_1():
    """Kills: a sub-chain taken for a chain of betas, or with the V_1 of the whole chain."""
    whole = density(log_snr_linear(1_000))
    kept = density(log_snr_linear(1_000), steps=range(3, 1_001))
    for model in (
        whole,
        whole.every(10),
        whole.keeping([40, 500, 1_000]),
        whole.keeping([7]),
        kept,
        density(log_snr_linear(1_000).subchain(range(3, 1_001))),
    ):
        log_snr_1 = float(model.log_snr[1])
        assert_close(model.described()["V_1"], math.exp(-log_snr_1), rel=1e-12)
    assert whole.described()["sources"]["V_1"]["value"] == "inverse_snr_1"


def test_schedules_of_betas_keep_beta_tilde_2():
    """Kills: 1 / SNR_1 wherever nothing is said."""
    schedule = linear(1_000)
    for chosen in ("linear", schedule, schedule.beta[1:].tolist()):
        V_1 = density(chosen).described()["V_1"]
        assert_close(V_1, float(schedule.posterior_variance[2]), rel=1e-12)


@pytest.mark.parametrize(("V_1", "reported"), [("inverse_snr_1", False), (2e-5, True)])
def test_an_error_above_sqrt_V_1_is_reported(V_1, reported):
    """Kills: a mean square taken for its root; no word where L_0 is as large as it is."""
    data, schedule = points(2_000), log_snr_linear(100)
    result = nelbo.evaluate(density(schedule, V_1=V_1), data, budget=4 * len(data.values))
    assert ("V_1 is too small: x0-hat is off by 0.00" in str(result)) == reported
    error = result.estimator["x_0_hat_at_1"]
    known = DEVIATION**2 / (1 + DEVIATION**2 * math.exp(9.2))  # Var(x_0 | x_1)
    assert_close(error["rms"], math.sqrt(known), rel=0.05)
    scale = math.exp(-9.2) if V_1 == "inverse_snr_1" else V_1
    assert_close(error["in_deviations"], math.sqrt(known / scale), rel=0.05)
    states = {check.name: check.state for check in checks(result)}
    assert states["V_1"] is (State.warning if reported else State.passed)


def test_what_too_large_a_V_1_costs_is_the_L_0_that_the_best_one_saves():
    """Law: L_0(V_1) - L_0(e^2) = 1/2 (r - 1 - ln r), r = e^2 / V_1, on the same images and noise.

    Kills: e for e^2, a sign, nats for the unit, a warning of what levels do not lose.
    """
    data, schedule = points(20), log_snr_linear(8)

    def measured(V_1):
        return nelbo.evaluate(density(schedule, V_1=V_1), data, exhaustive=True, check=False)

    large = measured(2e-3)
    error = large.estimator["x_0_hat_at_1"]
    best = measured(error["rms"] ** 2)
    saved = (large.terms["L_0"][0].mean - best.terms["L_0"][0].mean) / 2
    lost = lost_by_V_1(error, 2e-3, 0.0, large.unit, None)
    assert_close(lost, saved, rel=1e-6)
    words = f"which costs {lost:.2g} nats/dim: V_1 = {error['rms'] ** 2:.2g} is better"
    assert [words in warning for warning in large.warnings] == [True]
    assert best.warnings == []
    states = [check.state for check in checks(large) if check.name == "V_1"]
    assert states == [State.warning]

    at_1 = {"rms": 0.02, "in_deviations": 0.02 / math.sqrt(0.01 + 0.002)}  # bins have 0.002
    known = (2.4e-3 / 0.012 - 1 - math.log(2.4e-3 / 0.012)) / 2 / math.log(2)
    assert_close(lost_by_V_1(at_1, 0.01, 9.0, BITS, math.log(200)), known, rel=1e-12)
    assert lost_by_V_1(at_1, 0.01, 0.03, BITS, math.log(200)) == 0.03  # more than L_0 is not lost
    assert lost_by_V_1(at_1, 0.01, 9.0, BITS, math.log(100)) == 0  # V_1 = 1/SNR
    assert_close(lost_by_V_1(at_1, 0.01, 9.0, BITS, math.log(200), 17), known, rel=1e-12)


def test_a_worse_V_1_is_not_called_better():
    """Law: of a normal law in bins, where x0-hat is far off, L_0 at e^2 is above that at 1.5.

    Kills: the minimum of a density's L_0 stated of levels, whose ends take the mass beyond them.
    """
    levels, e_2 = 17, 0.65**2
    edges = torch.linspace(-1, 1, levels, dtype=torch.float64)[:-1] + 1 / (levels - 1)
    x_0 = torch.linspace(-1, 1, levels, dtype=torch.float64)

    def L_0(V):
        below = torch.special.ndtr(torch.cat([edges, torch.tensor([math.inf])]) / V**0.5)
        mass = below.diff(prepend=torch.zeros(1, dtype=torch.float64))
        return float(-(mass.log2() * (x_0.abs() > 0.5)).sum() / (x_0.abs() > 0.5).sum())

    assert L_0(e_2) > L_0(1.5)  # of levels towards the ends, as digits have
    units = math.sqrt(e_2 / (1.5 + (2 / (levels - 1)) ** 2 / 12))
    at_1 = {"rms": e_2**0.5, "in_deviations": units}
    assert lost_by_V_1(at_1, 1.5, 9.0, BITS, math.log(200), levels) == 0
    assert lost_by_V_1(at_1, 1.5, 9.0, BITS, math.log(200)) > 0.1


def test_the_thresholds_of_a_V_1_that_is_too_large():
    """At each, just below and above. Kills: one of two conditions alone, a warning on a path."""
    at_1 = {"rms": 0.02, "in_deviations": 0.02 / math.sqrt(0.011)}

    def warned(per_dim, L_0, **model):
        facts = {"V_1": 0.01, **model}
        lines = of_figure(per_dim, 0.0, BITS, 256, facts, None, at_1, L_0, math.log(200))
        return [line for line in lines if line.startswith("V_1 is too large")]

    assert warned(2.0, 0.021)
    assert not warned(2.0, 0.019)
    assert not warned(0.5, 0.009)
    assert not warned(2.0, 0.021, path="flow")
