"""Laws of the bound on every schedule, parametrisation and variance (memo D1 to D11).

Each law's docstring names the mutant that it kills; `tests/mutants.py` seeds them.
"""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor, nn

from nelbo import testing
from nelbo.bound.chain import Chain, ForwardProcess, ReverseProcess, constant_time
from nelbo.bound.distribution import StepDistribution
from nelbo.bound.estimators import (
    Rows,
    every_time,
    exhaustive,
    importance_weighted,
    low_discrepancy_times,
    one_time,
    spread_offsets,
    stratified,
    term,
    trajectory,
)
from nelbo.bound.noise import KeyedNoise, Noise
from nelbo.bound.terms import prior_term, reconstruction_term, transition_term
from nelbo.errors import BadInput
from nelbo.gaussian.decoder import Density, Discretized, LevelPosterior
from nelbo.gaussian.distribution import Gaussian
from nelbo.gaussian.forward import GaussianForward
from nelbo.gaussian.objective import simple_loss
from nelbo.gaussian.parametrization import EPS, PARAMETRIZATIONS, X_0, Levels, V
from nelbo.gaussian.reverse import TIME_INPUTS, GaussianReverse
from nelbo.gaussian.schedule import SCHEDULES, Schedule, from_betas, linear
from nelbo.gaussian.variance import LearnedRange, Tabulated, first_variance, large, small
from nelbo.types import Grid

torch.set_num_threads(1)

exactly = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    phases=(Phase.explicit, Phase.generate),
)

GRID = Grid(5)
BETAS = [0.1, 0.2, 0.3, 0.4]


def schedule_of(name: str, T: int = 5) -> Schedule:
    build = SCHEDULES[name]
    if name == "linear-by-T":  # its usual ends are beyond 1 for so few steps
        return build(T, beta_1=1e-4 * T, beta_T=5e-4 * T)
    return build([0.05 + 0.6 * t / T for t in range(T)]) if build is from_betas else build(T)


ZERO_SNR = from_betas([0.2, 0.4, 0.6, 1.0], "zero-terminal-snr")
EVERY_SCHEDULE = [*(schedule_of(name) for name in SCHEDULES), ZERO_SNR]
EVERY_PARAMETRIZATION = [*PARAMETRIZATIONS.values(), Levels(GRID)]
EVERY_VARIANCE = {
    "small": lambda schedule: small(schedule, "beta_tilde_2"),
    "large": lambda schedule: large(schedule, "beta_1"),
    "learned-range": lambda schedule: LearnedRange(schedule, first_variance(schedule, 0.01)),
}
SCHEDULE_IDS = [schedule.name for schedule in EVERY_SCHEDULE]
every_schedule = pytest.mark.parametrize("schedule", EVERY_SCHEDULE, ids=SCHEDULE_IDS)
every_parametrization = pytest.mark.parametrize(
    "parametrization", EVERY_PARAMETRIZATION, ids=[p.name for p in EVERY_PARAMETRIZATION]
)
every_variance = pytest.mark.parametrize("variance", list(EVERY_VARIANCE))


def every_chain(test: Callable) -> Callable:
    """Every schedule x parametrisation x variance, where the model can be built at all."""
    cases = [
        pytest.param(schedule, parametrization, variance)
        for schedule in EVERY_SCHEDULE
        for parametrization in EVERY_PARAMETRIZATION
        for variance in EVERY_VARIANCE
        if not (schedule is ZERO_SNR and parametrization is EPS)
    ]
    names = [f"{c.values[0].name}-{c.values[1].name}-{c.values[2]}" for c in cases]
    return pytest.mark.parametrize("case", [c.values for c in cases], ids=names)(test)


class Wavy(nn.Module):
    """A fixed non-linear function of (x_t, t), pixel by pixel across channels."""

    def __init__(self, channels: int, outputs: int, dtype=torch.float64) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(1)
        self.into = nn.Parameter(torch.randn(6, channels, generator=draw, dtype=dtype))
        self.shift = nn.Parameter(torch.randn(6, generator=draw, dtype=dtype))
        self.out = nn.Parameter(0.4 * torch.randn(outputs, 6, generator=draw, dtype=dtype))

    def forward(self, x, time):
        flat = x.to(self.into.dtype).reshape(len(x), x.shape[1], -1)
        phase = (time.to(flat) / 3)[:, None, None] * self.shift[:, None]
        hidden = torch.tanh(self.into @ flat + phase)
        return (self.out @ hidden).reshape(len(x), -1, *x.shape[2:])


class Linear(nn.Module):
    """x0-hat = m + g_t (x_t - sqrt(alpha_bar_t) m), exact for data N(m, s^2); told t."""

    def __init__(self, schedule: Schedule, m: float, s: float) -> None:
        super().__init__()
        alpha_bar = schedule.alpha_bar
        self.root, self.m = alpha_bar.sqrt(), m
        self.slope = self.root * s * s / (alpha_bar * s * s + schedule.one_minus_alpha_bar)

    def forward(self, x, time):
        ones = (1,) * (x.ndim - 1)
        slope, root = self.slope[time].reshape(-1, *ones), self.root[time].reshape(-1, *ones)
        return self.m + slope * (x - root * self.m)


class Fixed(nn.Module):
    """Gives the same tensor or number at every (x_t, t), and remembers what it was told."""

    def __init__(self, output: Tensor | float, outputs: int = 1) -> None:
        super().__init__()
        self.output, self.outputs, self.times = output, outputs, []

    def forward(self, x, time):
        self.times.append(time)
        if isinstance(self.output, Tensor):
            return self.output
        return x.new_full((len(x), self.outputs * x.shape[1], *x.shape[2:]), self.output)


def chain_of(
    schedule,
    parametrization,
    variance,
    *,
    network=None,
    decoder=None,
    time_input="index",
    clip=None,
) -> Chain:
    """The chain of the given choices; a `Wavy` network for 2 channels where none is given."""
    if isinstance(variance, str):
        variance = EVERY_VARIANCE[variance](schedule)
    if network is None:
        network = Wavy(2, 2 * (parametrization.outputs + variance.outputs))
    if decoder is None:
        levels = isinstance(parametrization, Levels)
        decoder = LevelPosterior(GRID) if levels else Discretized(GRID)
    forward = GaussianForward(schedule)
    p = GaussianReverse(
        network,
        forward,
        parametrization=parametrization,
        variance=variance,
        decoder=decoder,
        time_input=TIME_INPUTS[time_input],
        clip=clip,
    )
    return Chain(forward, p)


def gaussian_model(betas, m: float, s: float, variance: str, decoder=None) -> Chain:
    """The exact denoiser of data N(m, s^2) in one dimension (hazards 2.2)."""
    schedule = from_betas(betas)
    table = small(schedule, "beta_tilde_2") if len(betas) > 1 else large(schedule, "beta_1")
    if variance == "large":
        table = large(schedule, "beta_tilde_2")
    if variance == "optimal":
        om, c_1 = schedule.one_minus_alpha_bar, schedule.posterior_x_0
        spread = s * s * om / (schedule.alpha_bar * s * s + om)
        table = Tabulated("optimal", schedule.posterior_variance + c_1.square() * spread)
    return chain_of(
        schedule,
        X_0,
        table,
        network=Linear(schedule, m, s),
        decoder=decoder or Density(),
        time_input="t",
    )


def marginal_of(chain: Chain) -> tuple[float, float]:
    """M_0 and P_0 of p_theta(x_0), a Gaussian where the network is linear (hazards 2.2)."""
    schedule, network, table = chain.q.schedule, chain.p.network, chain.p.variance.table
    M, P = 0.0, 1.0
    for t in range(schedule.T, 0, -1):
        c_1, c_2 = float(schedule.posterior_x_0[t]), float(schedule.posterior_x_t[t])
        slope, root = float(network.slope[t]), float(network.root[t])
        M = (c_1 * slope + c_2) * M + c_1 * network.m * (1 - slope * root)
        P = (c_1 * slope + c_2) ** 2 * P + float(table[t])
    return M, P


def images(count: int = 3, *dims: int) -> Tensor:
    shape = (count, *(dims or (2, 3)))
    level = torch.arange(math.prod(shape)).reshape(shape) * 7 % GRID.n
    return GRID.values(level, torch.float64)


def keyed(count: int, seed: int = 0) -> KeyedNoise:
    return KeyedNoise.of(seed, torch.arange(count))


def ancestral(chain: Chain, like: Tensor, noise: Noise) -> Tensor:
    """x_0 ~ p_theta: the prior, every step, and the decoder as a distribution."""
    x = chain.p.prior(like).sample(noise.at(constant_time(chain.q.T + 1, like)))
    for number in range(chain.q.T, 1, -1):
        t = constant_time(number, like)
        x = chain.p.step(x, t).sample(noise.at(t))
    return chain.p.decoder(x).sample(noise.at(constant_time(1, like)))


def assert_close(left: Tensor, right: Tensor | float, tolerance: float) -> None:
    right = torch.as_tensor(right, dtype=torch.float64)
    error = float(((left - right).abs() / right.abs().clamp(min=1)).detach().max())
    assert error <= tolerance, f"relative error {error:.3g}"


# The forward chain: marginal, step and posterior of one joint law.

points = st.floats(-4, 4)


@every_schedule
@exactly
@given(x_prev=points, x_t=points, x_0=points)
def test_bayes_identity_holds_at_any_point_and_time(schedule, x_prev, x_t, x_0):
    """Kills: posterior mean coefficients swapped, posterior variance beta."""
    q = GaussianForward(schedule)
    t = torch.arange(2, schedule.T + 1)
    before, after, data = (torch.full((len(t), 1), float(x)).double() for x in (x_prev, x_t, x_0))
    parts = [
        q.step(before, t).log_prob(after),
        q.marginal(data, t - 1).log_prob(before),
        -q.posterior(after, data, t).log_prob(before),
        -q.marginal(data, t).log_prob(after),
    ]
    scale = torch.stack(parts).abs().amax(0)
    assert (sum(parts).abs() <= 1e-10 * (1 + scale)).all()


@every_schedule
def test_a_step_after_a_marginal_is_the_next_marginal(schedule):
    """Chapman-Kolmogorov, exact on moments. Kills: a schedule table in float32."""
    q, x_0 = GaussianForward(schedule), torch.full((schedule.T - 1, 1), 0.7, dtype=torch.float64)
    t = torch.arange(2, schedule.T + 1)
    before, after = q.marginal(x_0, t - 1), q.marginal(x_0, t)
    step = q.step(before.mean, t)
    slope = q.step(torch.ones_like(x_0), t).mean
    torch.testing.assert_close(step.mean, after.mean, rtol=1e-13, atol=1e-13)
    variance = slope.square() * before.log_var.exp() + step.log_var.exp()
    torch.testing.assert_close(variance, after.log_var.exp(), rtol=1e-13, atol=0)


@every_schedule
def test_the_first_marginal_is_the_first_step(schedule):
    q, x_0, t = GaussianForward(schedule), images(4), torch.ones(4, dtype=torch.int64)
    x_1 = x_0 + 0.3
    assert_close(q.step(x_0, t).log_prob(x_1), q.marginal(x_0, t).log_prob(x_1), 1e-12)


@every_schedule
def test_the_posterior_refuses_the_first_step(schedule):
    q, x = GaussianForward(schedule), images(2)
    with pytest.raises(BadInput, match="point mass at t = 1"):
        q.posterior(x, x, torch.tensor([2, 1]))


@every_schedule
def test_a_sub_chain_is_a_chain_of_its_own_with_the_marginals_of_the_whole(schedule):
    """Kills: sub-chain with the betas of the whole (H14)."""
    kept = [1, 3, schedule.T]
    sub, x_0 = GaussianForward(schedule.subchain(kept)), images(3)
    here = sub.marginal(x_0, torch.arange(1, 4))
    there = GaussianForward(schedule).marginal(x_0, torch.tensor(kept))
    torch.testing.assert_close(here.mean, there.mean, rtol=1e-14, atol=1e-14)
    torch.testing.assert_close(here.log_var, there.log_var, rtol=1e-14, atol=1e-14)
    testing.check_forward(sub, images(2), draws=64)


# The public laws hold on every family member, and fail on broken ones.


@every_schedule
def test_the_public_laws_hold_for_every_schedule(schedule):
    chain = chain_of(schedule, V, "learned-range")
    testing.check_forward(chain.q, images(2))
    testing.check_reverse(chain, images(2))


@every_parametrization
@every_variance
def test_the_public_laws_hold_for_every_parametrization_and_variance(parametrization, variance):
    """Kills: noise that ignores t, KL arguments swapped, KL with the model's variance for q's."""
    testing.check_chain(chain_of(from_betas(BETAS), parametrization, variance), images(2))


@pytest.mark.parametrize("T", [1, 2])
def test_the_public_laws_hold_for_the_shortest_chains(T):
    testing.check_chain(chain_of(from_betas(BETAS[:T]), X_0, "large"), images(3))


class Broken(ForwardProcess[Gaussian]):
    """DDPM's q with one conditional replaced."""

    def __init__(self, **replaced: Callable) -> None:
        self.q, self.replaced = GaussianForward(from_betas(BETAS)), replaced

    @property
    def T(self) -> int:
        return self.q.T

    def marginal(self, x_0, t):
        return self.replaced.get("marginal", self.q.marginal)(x_0, t)

    def step(self, x_prev, t):
        return self.replaced.get("step", self.q.step)(x_prev, t)

    def posterior(self, x_t, x_0, t):
        return self.replaced.get("posterior", self.q.posterior)(x_t, x_0, t)


RIGHT = GaussianForward(from_betas(BETAS))
BROKEN_FORWARDS = {
    "Bayes": {"posterior": lambda x_t, x_0, t: replace(RIGHT.posterior(x_t, x_0, t), mean=x_t)},
    "one at t = 1": {"marginal": lambda x_0, t: Gaussian(x_0, RIGHT.marginal(x_0, t).log_var)},
    "must raise": {"posterior": lambda x_t, x_0, t: RIGHT.marginal(x_0, t)},
}


@pytest.mark.parametrize("law", list(BROKEN_FORWARDS))
def test_check_forward_names_the_law_that_a_broken_forward_breaks(law):
    with pytest.raises(AssertionError, match=law):
        testing.check_forward(Broken(**BROKEN_FORWARDS[law]), images(3))


@dataclass(frozen=True)
class Wrong(StepDistribution):
    """A Gaussian that draws, scores or compares as if its variance or mean were another."""

    truth: Gaussian
    draws: float = 0.0
    shift: float | Tensor = 0.0
    extra: float = 0.0

    def sample(self, noise):
        return replace(self.truth, log_var=self.truth.log_var + self.draws).sample(noise)

    def log_prob(self, x):
        return self.truth.log_prob(x - self.shift)

    def kl(self, other):
        return self.truth.kl(other.truth) + self.extra


@pytest.mark.parametrize(
    ("wrong", "law"),
    [
        ({"extra": 0.1}, "KL\\(d \\|\\| d\\) = 0"),
        ({"shift": 0.2}, "E_d\\[log d - log other\\]"),
        ({"draws": 0.3}, "E_d\\[log d - log other\\]"),
    ],
    ids=["kl", "log_prob", "sample"],
)
def test_check_distribution_sees_a_draw_a_score_or_a_divergence_that_differs(wrong, law):
    zero, var = torch.zeros(2000, 1).double(), torch.zeros(1, 1).double()
    d, other = Gaussian(zero, var), Wrong(Gaussian(zero + 0.4, var + 0.5))
    testing.check_distribution(Wrong(d), other, keyed(2000))
    with pytest.raises(AssertionError, match=law):
        testing.check_distribution(Wrong(d, **wrong), other, keyed(2000))


def test_check_sampling_sees_a_sampler_that_keeps_no_promise():
    zero, var = torch.zeros(2000, 1).double(), torch.zeros(1, 1).double()
    d, other = Gaussian(zero, var), Gaussian(zero + 0.4, var + 0.5)
    testing.check_sampling(d, other, keyed(2000))
    with pytest.raises(AssertionError, match="E_d"):
        testing.check_sampling(Wrong(d, draws=1.0), other, keyed(2000))


def test_check_estimators_and_check_reverse_see_a_forward_that_is_not_one_law():
    forward = Broken(posterior=lambda x_t, x_0, t: replace(RIGHT.posterior(x_t, x_0, t), mean=x_t))
    chain = Chain(forward, chain_of(from_betas(BETAS), X_0, "small").p)
    with pytest.raises(AssertionError, match="trajectory = exhaustive"):
        testing.check_estimators(chain, images(3))


def test_check_forward_sees_steps_that_do_not_draw_what_they_score():
    """Bayes' identity holds for such steps; Chapman-Kolmogorov does not."""
    forward = Broken(step=lambda x_prev, t: Wrong(RIGHT.step(x_prev, t), draws=0.4))
    with pytest.raises(AssertionError, match="Chapman-Kolmogorov at t = 2, mean square"):
        testing.check_forward(forward, images(3))


class BrokenReverse(ReverseProcess[Gaussian]):
    """The tight chain's p, whose decoder draws around another mean than it scores."""

    def __init__(self, shift: float) -> None:
        self.p, self.shift = tight_chain(RIGHT.schedule).p, shift

    def prior(self, x_0):
        return self.p.prior(x_0)

    def step(self, x_t, t):
        return self.p.step(x_t, t)

    def decoder(self, x_1):
        return Wrong(self.p.decoder(x_1), shift=self.shift * x_1)


def test_check_reverse_sees_a_decoder_that_does_not_draw_what_it_scores():
    """H16: the reported likelihood would be that of another p(x_0 | x_1)."""
    testing.check_reverse(Chain(RIGHT, BrokenReverse(0.0)), images(3))
    with pytest.raises(AssertionError, match="p\\(x_0 \\| x_1\\): E_d"):
        testing.check_reverse(Chain(RIGHT, BrokenReverse(0.3)), images(3))


class NeighbourlyNetwork(nn.Module):
    """Subtracts the batch's mean, as batch normalisation does in training mode."""

    def forward(self, x, time):
        return x - x.mean(0, keepdim=True)


def test_check_batch_invariance_sees_a_network_that_looks_at_its_neighbours():
    chain = chain_of(from_betas(BETAS), X_0, "small", network=NeighbourlyNetwork())
    with pytest.raises(AssertionError, match="one image at a time"):
        testing.check_batch_invariance(chain, images(3))


# D1 to D10 are one number on every path; D11 has the same expectation.


@every_chain
def test_the_joint_log_ratio_equals_d10_path_by_path(case):
    """Kills: trajectory without the prior, q at the wrong time, L_0 dropped."""
    chain, x_0, noise = chain_of(*case), images(4), keyed(4)
    path = chain.q.path(x_0, noise)
    ratio = chain.q.log_prob(path) - chain.p.log_prob(path)
    assert ratio.dtype == torch.float64
    assert_close(trajectory(chain, x_0, noise), ratio, 1e-10)


class Nodes(Noise):
    """Gauss-Hermite nodes in place of draws: row r holds one node for each t (1-d data)."""

    def __init__(self, nodes: Tensor, t: Tensor | None = None) -> None:
        self.nodes, self.t = nodes, t

    def normal(self, like):
        return self.nodes.gather(1, self.t[:, None] - 1).to(like)

    def at(self, t):
        return Nodes(self.nodes, t)

    def rows(self, index):
        return Nodes(self.nodes[index], None if self.t is None else self.t[index])

    def uniform(self, like):
        pytest.fail("a rule for normal numbers was asked for uniform ones")

    def draws(self, count):
        pytest.fail("a rule has its nodes, and no further draws")


def quadrature(T: int, order: int) -> tuple[Nodes, Tensor]:
    """A rule for E over T independent normals, exact to degree 2 order - 1 in each."""
    z, w = np.polynomial.hermite_e.hermegauss(order)
    nodes = torch.tensor(list(itertools.product(z, repeat=T)))
    weights = torch.tensor([math.prod(c) for c in itertools.product(w / w.sum(), repeat=T)])
    return Nodes(nodes), weights


@every_schedule
@every_variance
def test_the_joint_log_ratio_has_the_terms_as_its_expectation(schedule, variance):
    """Eq. 3 = eq. 5 exactly: a linear network makes both quadratic in the noise.

    Kills: L_T dropped, L_0 dropped, KL arguments swapped, KL with the model's variance for q's.
    """
    schedule = schedule.subchain([1, 2, schedule.T])
    for parametrization in (X_0, V):
        outputs = parametrization.outputs + EVERY_VARIANCE[variance](schedule).outputs
        network = Affine(outputs)
        chain = chain_of(schedule, parametrization, variance, network=network, decoder=Density())
        noise, weights = quadrature(3, 3)
        x_0 = torch.full((len(weights), 1), 0.8, dtype=torch.float64)
        joint = (weights * trajectory(chain, x_0, noise)).sum()
        terms = (weights[:, None] * exhaustive(chain, x_0, noise)).sum(0)
        assert_close(joint, terms.sum(), 1e-11)


class Affine(nn.Module):
    """0.4 x + 0.1 told - 0.2, and a constant fraction for a learned variance."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.outputs = outputs

    def forward(self, x, time):
        first = 0.4 * x + 0.1 * time.to(x)[:, None] - 0.2
        return torch.cat([first, torch.full_like(x, 0.3)][: self.outputs], dim=1)


@pytest.mark.parametrize(
    ("variance", "x", "L_T", "L_mid", "L_0"),
    [
        ("small", -0.7, 0.102942703194, 1.459669938982, 0.396332945320),
        ("small", 1.0, 0.180054703194, 1.786505975743, 0.508995667214),
        ("large", -0.7, 0.102942703194, 0.937003930879, 0.396332945320),
        ("large", 1.0, 0.180054703194, 1.085429525950, 0.508995667214),
        ("optimal", -0.7, 0.102942703194, 1.001616687547, 0.376463854474),
        ("optimal", 1.0, 0.180054703194, 1.203757640231, 0.481079239089),
    ],
)
def test_the_three_terms_and_the_path_have_the_closed_forms_of_gaussian_data(
    variance, x, L_T, L_mid, L_0
):
    """Hazards 2.2, T4. Kills: H05 and H10 to H12, each by its own column."""
    chain = gaussian_model(BETAS, 0.1, 0.5, variance)
    noise, weights = quadrature(4, 3)
    x_0 = torch.full((len(weights), 1), x, dtype=torch.float64)
    terms = (weights[:, None] * exhaustive(chain, x_0, noise)).sum(0)
    assert_close(terms[-1], L_T, 1e-11)
    assert_close(terms[1:-1].sum(), L_mid, 1e-11)
    assert_close(terms[0], L_0, 1e-11)
    joint = (weights * trajectory(chain, x_0, noise)).sum()
    assert_close(joint, L_T + L_mid + L_0, 1e-11)


@pytest.mark.parametrize("variance", ["small", "large", "optimal"])
def test_the_mean_weight_of_a_path_is_the_marginal_likelihood(variance):
    """Line (3): E_q[p(x_0:T)/q(x_1:T|x_0)] = p(x_0), by z-score; the bound lies above -log p.

    Kills: posterior variance beta, posterior mean coefficients swapped.
    """
    chain = gaussian_model(BETAS, 0.1, 0.5, variance)
    M, P = marginal_of(chain)
    x_0 = torch.full((40_000, 1), 1.0, dtype=torch.float64)
    log_p = stats.norm(M, math.sqrt(P)).logpdf(1.0)
    values = trajectory(chain, x_0, keyed(len(x_0)))
    ratio = torch.exp(-values - log_p)
    assert abs(float((ratio.mean() - 1) / (ratio.std() / len(ratio) ** 0.5))) < 4
    assert float(values.mean()) > -log_p


# A chain with no gap: data N(0, I), whose reverse is known.


def tight_chain(schedule: Schedule) -> Chain:
    """x0-hat = sqrt(alpha_bar_t) x_t is v = 0; V_t = beta_t: p is q's reverse for N(0, I)."""
    variance = large(schedule, "beta_1")
    return chain_of(schedule, V, variance, network=Fixed(0.0), decoder=Density())


@every_schedule
def test_a_tight_chain_has_no_gap_on_any_path(schedule):
    """Zero variance: any error in step, decoder, prior, log q or log p shows on each path.

    Kills: trajectory without the prior, sign in v, V_1 = 1e-20.
    """
    x_0 = images(8).repeat(25, 1, 1)
    exact = -Gaussian(torch.zeros_like(x_0), torch.zeros(1, 1, 1).double()).log_prob(x_0)
    for seed in range(3):
        values = trajectory(tight_chain(schedule), x_0, keyed(len(x_0), seed))
        assert_close(values, exact, 1e-12)


@pytest.mark.parametrize("paths", [1, 2, 7])
def test_importance_weighting_a_tight_chain_gives_the_likelihood(paths):
    """Kills: importance-weighted without log K, lost reduction."""
    chain, x_0 = tight_chain(from_betas(BETAS)), images(4)
    exact = -Gaussian(torch.zeros_like(x_0), torch.zeros(1, 1, 1).double()).log_prob(x_0)
    assert_close(importance_weighted(chain, x_0, keyed(4), paths), exact, 1e-12)


@pytest.mark.parametrize(
    ("schedule", "parametrization"),
    [
        pytest.param(schedule, parametrization, id=f"{schedule.name}-{name}")
        for schedule in EVERY_SCHEDULE
        for name, parametrization in PARAMETRIZATIONS.items()
        if not (schedule is ZERO_SNR and parametrization.divides)
    ],
)
def test_every_parametrization_can_state_the_tight_chain(schedule, parametrization):
    """The output that says x0-hat = sqrt(alpha_bar) x_t. Kills: sign in v, eps formula."""
    chain = tight_chain(schedule)
    table = {"eps": schedule.one_minus_alpha_bar, "x_0": schedule.alpha_bar}
    slope = table.get(parametrization.name, torch.zeros(schedule.T + 1).double()).sqrt()
    network = Slope(slope)
    other = chain_of(
        schedule,
        parametrization,
        chain.p.variance,
        network=network,
        decoder=Density(),
        time_input="t",
    )
    x_0, noise = images(4), keyed(4)
    assert_close(exhaustive(other, x_0, noise), exhaustive(chain, x_0, noise), 1e-9)


class Slope(nn.Module):
    """slope_t x."""

    def __init__(self, slope: Tensor) -> None:
        super().__init__()
        self.slope = slope

    def forward(self, x, time):
        return self.slope[time].reshape(-1, *(1,) * (x.ndim - 1)) * x


# A chain whose terms are known numbers: weights and ranges of every estimator, exactly.


@dataclass(frozen=True)
class Known(StepDistribution):
    """Says `value` when asked for a divergence, -value when asked for a score."""

    value: Tensor

    def sample(self, noise):
        return self.value[:, None]

    def log_prob(self, x):
        return -self.value

    def kl(self, other):
        return self.value


class KnownForward(ForwardProcess[Known]):
    def __init__(self, terms: Tensor) -> None:
        self.terms = terms

    @property
    def T(self) -> int:
        return len(self.terms) - 1

    def marginal(self, x_0, t):
        return Known(self.terms[t])  # the prior term asks for t = T

    def step(self, x_prev, t):
        return Known(self.terms[t])

    def posterior(self, x_t, x_0, t):
        assert int(t.min()) >= 2
        assert torch.equal(x_t[:, 0], self.terms[t])  # x_t is from the marginal of the same t
        return Known(self.terms[t - 1])


class KnownReverse(ReverseProcess[Known]):
    def __init__(self, terms: Tensor) -> None:
        self.terms = terms

    def prior(self, x_0):
        return Known(self.terms[-1].expand(len(x_0)))

    def step(self, x_t, t):
        return Known(self.terms[t - 1])

    def decoder(self, x_1):
        assert torch.equal(x_1[:, 0], self.terms[1].expand(len(x_1)))
        return Known(self.terms[0].expand(len(x_1)))


def known_chain(T: int) -> tuple[Chain, Tensor]:
    """[L_0, ..., L_{T-1}, L_T] are square roots of primes: no wrong sum of them is right."""
    primes = [n for n in range(2, 400) if all(n % k for k in range(2, n))][: T + 1]
    terms = torch.tensor(primes, dtype=torch.float64).sqrt()
    return Chain(KnownForward(terms), KnownReverse(terms)), terms


some_T = st.integers(1, 30)


@exactly
@given(T=some_T)
def test_exhaustive_gives_each_known_term_in_its_column(T):
    """Kills: time index off by one, L_T or L_0 dropped."""
    chain, terms = known_chain(T)
    assert torch.equal(exhaustive(chain, torch.zeros(2, 1), keyed(2)), terms.expand(2, -1))


@exactly
@given(T=some_T)
def test_one_time_averaged_over_every_t_is_the_known_sum(T):
    """Kills: estimator weight n -> n + 1, which no z-test of ours could see."""
    chain, terms = known_chain(T)
    t = torch.arange(1, T + 1).repeat(2)[torch.randperm(2 * T, generator=torch.Generator())]
    values = one_time(chain, torch.zeros(len(t), 1), t, keyed(len(t)))
    assert_close(values.mean(), terms.sum(), 1e-13)


def check_rows(rows: Rows, T: int, width: Tensor, result: Tensor) -> None:
    """t is asked for asked[t - 2] times in expectation, and the weights make the sum right.

    width[i] is the probability of what image i stands for.
    """
    chain, terms = known_chain(T)
    assert ((rows.t >= 2) & (rows.t <= T)).all(), "L_0 is no row"
    assert (rows.t.diff() >= 0).all(), "rows in the order of t"
    counts = torch.zeros(T - 1, dtype=torch.float64)
    counts.index_add_(0, rows.t - 2, width[rows.image])
    assert_close(counts, result, 1e-9)
    values = term(chain, torch.zeros(len(rows), 1), rows.t, keyed(len(rows)))
    assert_close((width[rows.image] * rows.weight * values).sum(), terms[1:-1].sum(), 1e-9)
    key = (rows.image * (T + 1) + rows.t) * len(rows) + rows.draw
    assert len(key.unique()) == len(rows), "rows that share image and t differ in draw"


@exactly
@given(T=some_T, images=st.integers(1, 5), start=st.integers(0, 3))
def test_every_time_is_each_t_of_each_image_once(T, images, start):
    """Kills: rows of t = 1, which would count L_0 twice; images counted from 0."""
    rows = every_time(T, images, start)
    pairs = list(zip(rows.t.tolist(), rows.image.tolist(), strict=True))
    assert pairs == [(t, i) for t in range(2, T + 1) for i in range(start, start + images)]
    assert (rows.draw == 0).all()
    if T > 1:
        width = torch.full((start + images,), 1 / images, dtype=torch.float64)
        check_rows(rows, T, width, torch.ones(T - 1, dtype=torch.float64))


def some_chances(data, T: int) -> Tensor:
    share = st.lists(st.floats(0.01, 10), min_size=T - 1, max_size=T - 1)
    return torch.tensor(data.draw(share), dtype=torch.float64)


@exactly
@given(T=st.integers(2, 30), strata=st.integers(1, 40), data=st.data())
def test_a_stratified_draw_asks_each_time_with_its_chance(T, strata, data):
    """The offset is integrated exactly: t changes where strata * quantile is whole.

    Kills: weight n -> n + 1, chances forgotten in the weight, t from 1, an offset left out.
    """
    share = some_chances(data, T)
    chance = share / share.sum()
    edges = torch.cat([(strata * chance.cumsum(0)) % 1, torch.tensor([0.0, 1.0]).double()]).unique()
    edges = edges[torch.cat([torch.tensor([True]), edges.diff() > 1e-12])]
    rows = stratified(share, strata, (edges[1:] + edges[:-1]) / 2)
    assert torch.equal(rows.image.bincount(), torch.full((len(edges) - 1,), strata))
    check_rows(rows, T, edges.diff(), strata * chance)
    counts = torch.zeros(len(edges) - 1, T - 1, dtype=torch.float64)
    counts.index_put_((rows.image, rows.t - 2), torch.ones(len(rows)).double(), accumulate=True)
    assert ((counts - strata * chance).abs() < 1 + 1e-9).all(), "each t as often as its chance says"


@every_schedule
def test_the_importances_of_a_schedule_are_shares_of_every_time(schedule):
    for chain in (schedule, schedule.subchain([1, schedule.T]), schedule.subchain([schedule.T])):
        shares = chain.importance
        assert shares.shape == (chain.T - 1,)
        assert (shares > 0).all()
        assert_close(shares.sum(), float(chain.T > 1), 1e-14)
        if chain.T > 1:
            assert len(stratified(shares, 3, torch.tensor([0.5]).double())) == 3


@exactly
@given(
    T=st.integers(2, 1000),
    strata=st.integers(1, 1000),
    offset=st.sampled_from([2.0**-53, 0.25, 0.5, 1 - 2.0**-53]),
)
def test_a_stratified_draw_stays_in_range_at_the_ends_of_the_offset(T, strata, offset):
    even = torch.ones(T - 1, dtype=torch.float64)
    rows = stratified(even, strata, torch.tensor([offset], dtype=torch.float64))
    assert rows.t.min() >= 2
    assert rows.t.max() <= T
    assert len(rows.t.unique()) == min(strata, T - 1), "no time twice before every time once"


@pytest.mark.parametrize("strata", [1, 4, 8])
def test_an_offset_on_the_edge_of_a_time_belongs_to_the_next(strata):
    """[a, b) is the part of t: an edge counts once. Kills: right=False in the search."""
    rows = stratified(torch.ones(8, dtype=torch.float64), strata, torch.zeros(1).double())
    assert rows.t.tolist() == list(range(2, 10, 8 // strata))


@pytest.mark.parametrize(
    ("strata", "chance", "message"),
    [
        (0, [1.0, 1.0], "at least 1; got 0"),
        (2, [1.0, 0.0], "positive; got 0.0 at t = 3"),
        (2, [-1.0, 1.0], "positive; got -1.0 at t = 2"),
        (2, [1.0, math.nan], "positive; got nan at t = 3"),
    ],
)
def test_a_stratified_draw_refuses_to_leave_times_out(strata, chance, message):
    """A time that is never asked for biases the bound without a trace."""
    with pytest.raises(BadInput, match=message):
        stratified(torch.tensor(chance).double(), strata, torch.tensor([0.5]).double())


@pytest.mark.parametrize("count", [1, 2, 7, 500])
def test_spread_offsets_are_evenly_spaced_and_follow_their_keys(count):
    """Kills: offsets by place in the batch, offsets that are drawn one by one."""
    offsets = spread_offsets(keyed(count, seed=3))
    assert ((offsets > 0) & (offsets < 1)).all()
    rank = torch.arange(count, dtype=torch.float64)
    assert_close(offsets.sort().values, offsets.min() + rank / count, 1e-12)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    moved = spread_offsets(keyed(count, seed=3).rows(order))
    assert_close(moved, offsets[order], 1e-12)
    assert not torch.equal(spread_offsets(keyed(count, seed=4)), offsets)


def test_each_spread_offset_is_uniform_whatever_its_rank():
    """By chi-square over 20 cells, each image. Kills: ranks in the order of the images."""
    count, seeds = 5, 1000
    offsets = torch.stack([spread_offsets(keyed(count, seed)) for seed in range(seeds)])
    for image in range(count):
        cells = np.histogram(offsets[:, image].numpy(), bins=20, range=(0, 1))[0]
        assert abs(chi_square_z(cells, np.full(20, 1 / 20))) < 4
    rank = offsets.argsort(1).argsort(1)
    pairs = (rank[:, 0] * count + rank[:, 1]).bincount(minlength=count**2).numpy()
    off_diagonal = ~np.eye(count, dtype=bool).flatten()
    assert pairs[~off_diagonal].sum() == 0
    assert abs(chi_square_z(pairs[off_diagonal], np.full(20, 1 / 20))) < 4


@exactly
@given(T=st.integers(1, 12), count=st.integers(1, 9))
def test_each_low_discrepancy_time_is_uniform_and_together_they_are_even(T, count):
    """Integrated exactly over the offset. Kills: places of the batch bound to strata, t from 0."""
    cells = T * count
    seen = torch.zeros(count, T + 1, dtype=torch.int64)
    for cell in range(cells):
        t = low_discrepancy_times(T, count, (cell + 0.5) / cells)
        counts = t.bincount(minlength=T + 1)[1:]
        assert counts.max() - counts.min() <= 1, "evenly spread"
        seen[torch.arange(count), t] += 1
    assert (seen[:, 1:] == count).all(), "each place in the batch sees each t equally often"
    assert (seen[:, 0] == 0).all()


def test_term_keeps_each_example_in_its_place_when_times_are_mixed():
    """Kills: rows of L_0 and L_{t-1} put back in the wrong order."""
    chain, terms = known_chain(6)
    t = torch.tensor([3, 1, 6, 1, 2, 5])
    assert torch.equal(term(chain, torch.zeros(6, 1), t, keyed(6)), terms[t - 1])


@every_parametrization
def test_term_in_a_mixed_batch_equals_each_time_apart(parametrization):
    chain, x_0, noise = chain_of(from_betas(BETAS), parametrization, "small"), images(6), keyed(6)
    t = torch.tensor([3, 1, 4, 1, 2, 4])
    table = exhaustive(chain, x_0, noise)
    assert_close(term(chain, x_0, t, noise), table[torch.arange(6), t - 1], 1e-13)


# The importance-weighted bound.


def test_one_importance_path_is_a_trajectory():
    chain, x_0, noise = chain_of(from_betas(BETAS), EPS, "small"), images(4), keyed(4)
    single = trajectory(chain, x_0, noise.draws(1))
    assert_close(importance_weighted(chain, x_0, noise, 1), single, 1e-14)


def test_importance_weighting_tightens_the_bound_towards_the_likelihood():
    """By z-score: IW_1 > IW_4 > IW_16 >= -log p. Kills: draws that are all the same."""
    chain = gaussian_model(BETAS, 0.1, 0.5, "small")
    M, P = marginal_of(chain)
    x_0 = torch.full((3000, 1), 1.0, dtype=torch.float64)
    values = [importance_weighted(chain, x_0, keyed(3000, k), k) for k in (1, 4, 16)]
    for looser, tighter in itertools.pairwise(values):
        gain = looser - tighter
        assert float(gain.mean() / (gain.std() / len(gain) ** 0.5)) > 4
    above = values[-1] + stats.norm(M, math.sqrt(P)).logpdf(1.0)
    assert float(above.mean() / (above.std() / len(above) ** 0.5)) > -4


def test_importance_weighting_survives_thousands_of_nats():
    """No exp of a large number: the mean lies in [best path, best path + log K]."""
    chain = chain_of(schedule_of("cosine"), EPS, "small", network=Fixed(0.0), decoder=Density())
    x_0, noise = images(3, 4, 100), keyed(3)
    paths = trajectory(chain, x_0.repeat_interleave(6, 0), noise.draws(6)).reshape(3, 6)
    assert float(paths.min()) > 1000
    value = importance_weighted(chain, x_0, noise, 6)
    best = paths.amin(1)
    assert (value >= best - 1e-9).all()
    assert (value <= best + math.log(6) + 1e-9).all()
    by_hand = best - ((best[:, None] - paths).exp().mean(1)).log()
    assert_close(value, by_hand, 1e-13)


# Parametrisations and the weights of the bound.


@every_schedule
@pytest.mark.parametrize("parametrization", PARAMETRIZATIONS.values(), ids=PARAMETRIZATIONS)
@exactly
@given(x=points, noise=points)
def test_the_target_of_a_parametrization_gives_the_data_back(schedule, parametrization, x, noise):
    """Kills: sign in v."""
    last = schedule.T - (schedule is ZERO_SNR and parametrization.divides)
    t = torch.arange(1, last + 1)
    x_0, eps = (torch.full((last, 1), value, dtype=torch.float64) for value in (x, noise))
    a = schedule.alpha_bar[t].sqrt()[:, None]
    s = schedule.one_minus_alpha_bar[t].sqrt()[:, None]
    x_t, output = a * x_0 + s * eps, parametrization.target(x_0, eps, a, s)
    back = parametrization.x_0(output, x_t, t, schedule)
    slack = 1e-13 / a if parametrization.divides else 1e-13
    assert ((back - x_0).abs() <= slack * 10).all()


@every_schedule
def test_the_levels_posterior_is_bayes_rule_over_the_levels(schedule):
    """Against torch.distributions. Kills: likelihood of x_t without alpha_bar."""
    T, levels = schedule.T, Levels(GRID)
    t = torch.arange(1, T + 1)
    x_t = torch.linspace(-2, 2, T * 6, dtype=torch.float64).reshape(T, 2, 3)
    logits = torch.sin(torch.arange(T * 30, dtype=torch.float64)).reshape(T, 10, 3)
    values = GRID.values(torch.arange(5), torch.float64).reshape(5, 1)
    a, s = schedule.alpha_bar[t].sqrt(), schedule.one_minus_alpha_bar[t].sqrt()
    a, s = a.reshape(T, 1, 1, 1), s.reshape(T, 1, 1, 1)
    joint = torch.distributions.Normal(a * values, s).log_prob(x_t.unsqueeze(2))
    joint = joint + logits.reshape(T, 2, 5, 3)
    expected = (joint - joint.logsumexp(2, keepdim=True)).exp()
    result = levels.log_posterior(logits, x_t, t, schedule)
    torch.testing.assert_close(result.exp(), expected, rtol=1e-10, atol=1e-13)
    mean = (expected * values).sum(2)
    torch.testing.assert_close(levels.x_0(logits, x_t, t, schedule), mean, rtol=1e-10, atol=1e-12)


@every_schedule
@pytest.mark.parametrize("variance", ["small", "large"])
def test_the_weight_of_the_bound_in_eps_form_is_the_closed_form(schedule, variance):
    """L_{t-1} = 1/2 [r - 1 - log r + w (eps - output)^2], w = beta^2/(V alpha (1 - alpha_bar)).

    In value and in autograd's gradient. Kills: clip ignored, KL with the model's variance.
    """
    if schedule is ZERO_SNR:
        schedule = schedule.subchain([1, 2, 3])
    T = schedule.T
    t, x_0, noise = torch.arange(2, T + 1), images(T - 1), keyed(T - 1)
    output = torch.cos(torch.arange(x_0.numel(), dtype=torch.float64)).reshape(x_0.shape)
    output.requires_grad_()
    chain = chain_of(schedule, EPS, variance, network=Fixed(output))
    value = transition_term(chain, x_0, t, noise)
    (gradient,) = torch.autograd.grad(value.sum(), output)
    V_t = chain.p.variance.table[t]
    beta, om = schedule.beta[t], schedule.one_minus_alpha_bar[t]
    weight = beta.square() / (V_t * schedule.alpha[t] * om)
    r = beta * schedule.one_minus_alpha_bar[t - 1] / om / V_t
    error = noise.at(t).normal(x_0) - output.detach()
    shape = x_0[0].numel() * (r - 1 - r.log())
    assert_close(value, 0.5 * (shape + weight * error.square().flatten(1).sum(1)), 1e-9)
    assert_close(gradient, -weight[:, None, None] * error, 1e-9)


@every_schedule
@pytest.mark.parametrize("f", [-0.5, 0.0, 0.25, 1.0])
def test_a_learned_variance_interpolates_the_logarithms(schedule, f):
    """V_t = beta^f beta_tilde^(1-f). Kills: H12, variances mixed, end points swapped."""
    network = Fixed(2 * f - 1, outputs=2)
    chain = chain_of(schedule, V, LearnedRange(schedule, 0.03), network=network)
    x = images(schedule.T)
    t = torch.arange(1, schedule.T + 1)
    low = torch.cat([torch.tensor([0.03], dtype=torch.float64), schedule.posterior_variance[2:]])
    expected = schedule.beta[t].pow(f) * low.pow(1 - f)
    result = chain.p.predict(x, t).log_var.exp()
    assert_close(result, expected[:, None, None].expand_as(result), 1e-13)


# Objectives.


@pytest.mark.parametrize("name", list(PARAMETRIZATIONS))
def test_the_simple_loss_is_the_squared_error_of_the_target(name):
    schedule, x_0, noise = from_betas(BETAS), images(4), keyed(4)
    chain, t = chain_of(schedule, PARAMETRIZATIONS[name], "learned-range"), torch.arange(1, 5)
    eps = noise.at(t).normal(x_0)
    a = schedule.alpha_bar[t].sqrt()[:, None, None]
    s = schedule.one_minus_alpha_bar[t].sqrt()[:, None, None]
    target = {"eps": eps, "x_0": x_0, "v": a * eps - s * x_0}[name]
    output = chain.p.network(a * x_0 + s * eps, t - 1)[:, :2]
    expected = (target - output).square().sum((1, 2))
    assert_close(simple_loss(chain.p, x_0, t, noise), expected, 1e-13)


def test_the_simple_loss_refuses_levels():
    chain = chain_of(from_betas(BETAS), Levels(GRID), "small")
    with pytest.raises(BadInput, match="no target for levels"):
        simple_loss(chain.p, images(2), torch.tensor([1, 2]), keyed(2))


@every_chain
def test_the_gradient_of_every_term_is_finite(case):
    """H26. Kills: a decoder that divides by a variance of 0 at t = 1."""
    chain, x_0 = chain_of(*case), images(3)
    for t in range(1, chain.q.T + 1):
        value = term(chain, x_0, constant_time(t, x_0), keyed(3)).sum()
        for gradient in torch.autograd.grad(value, list(chain.p.parameters())):
            assert gradient.isfinite().all(), f"t = {t}"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("deviation", [1e-10, 1e-6, 1e-3, 1.0, 10.0])
def test_the_gradient_is_finite_and_alive_at_any_first_deviation(dtype, deviation):
    """H01 and H26: no branch that is not taken may poison it, no clamp may kill it."""
    schedule = linear(4, 0.02, 0.5)
    output = torch.tensor([-0.9, 0.7, 0.2, -0.3, 1.5], dtype=dtype)[:, None].requires_grad_()
    chain = chain_of(schedule, X_0, large(schedule, deviation**2), network=Fixed(output))
    x_0 = GRID.values(torch.arange(5)[:, None], dtype)
    loss = reconstruction_term(chain, x_0, keyed(5))
    (gradient,) = torch.autograd.grad(loss.sum(), output)
    assert loss.isfinite().all()
    assert gradient.isfinite().all()
    wrong_bin = (GRID.levels(output.detach()) != torch.arange(5)[:, None]).all(1)
    assert wrong_bin.tolist() == [False, True, False, True, False]
    assert (gradient[wrong_bin] != 0).all()


# What the model is: clipping, time, precision, seeds.


def test_clipping_is_a_part_of_the_model_in_its_bound_and_in_its_samples():
    """H17. Kills: clip ignored."""
    schedule, x_0, noise = from_betas(BETAS), images(4), keyed(4)

    def chain(output, clip=None):
        return chain_of(schedule, X_0, "large", network=Fixed(output), clip=clip)

    clipped, moved, free = chain(1.7, (-1.0, 1.0)), chain(1.0), chain(1.7)
    for values in (
        lambda chain: exhaustive(chain, x_0, noise),
        lambda chain: trajectory(chain, x_0, noise),
        lambda chain: ancestral(chain, x_0, noise),
    ):
        assert torch.equal(values(clipped), values(moved))
        assert not torch.equal(values(clipped), values(free))


@pytest.mark.parametrize(
    ("time_input", "expected"), [("index", range(10)), ("t", range(1, 11)), ("log-snr", None)]
)
def test_the_network_receives_each_time_exactly_once(time_input, expected):
    """H15. Kills: time index off by one."""
    schedule, network = linear(10, 0.02, 0.5), Fixed(0.0)
    chain = chain_of(schedule, X_0, "large", network=network, time_input=time_input)
    log_snr = (schedule.alpha_bar[1:] / schedule.one_minus_alpha_bar[1:]).log()
    exact = pytest.approx(log_snr.tolist(), rel=1e-12) if expected is None else list(expected)
    x_0 = images(1)
    exhaustive(chain, x_0, keyed(1))
    assert [float(time) for time in network.times] == exact
    network.times.clear()
    trajectory(chain, x_0, keyed(1))
    assert [float(time) for time in network.times] == exact
    network.times.clear()
    ancestral(chain, x_0, keyed(1))
    assert [float(time) for time in network.times[::-1]] == exact


def test_the_network_of_a_sub_chain_receives_the_original_times():
    """H14. Kills: kept index off by one, index of the sub-chain."""
    schedule = linear(10, 0.02, 0.5).subchain([2, 5, 9, 10])
    for time_input, expected in (("index", [1, 4, 8, 9]), ("t", [2, 5, 9, 10])):
        network = Fixed(0.0)
        chain = chain_of(schedule, X_0, "large", network=network, time_input=time_input)
        exhaustive(chain, images(1), keyed(1))
        assert [int(time) for time in network.times] == expected
    again = schedule.subchain([1, 3])
    assert again.kept.tolist() == [2, 9]


def test_a_network_given_log_snr_scores_a_sub_chain_like_the_whole():
    whole = linear(10, 0.02, 0.5)
    sub = whole.subchain([3, 7, 10])
    assert_close(sub.log_snr[1:], whole.log_snr[[3, 7, 10]], 1e-14)


@pytest.mark.parametrize("low", [torch.bfloat16, torch.float16])
def test_a_low_precision_network_changes_nothing_but_its_own_output(low):
    """H23 and H27. Kills: a schedule table in the network's dtype."""
    schedule, x_0 = linear(1000), images(3).float()
    network = Wavy(2, 2, low)
    chain = chain_of(schedule, EPS, "large", network=network)
    stored = chain_of(schedule, EPS, "large", network=Rounded(Wavy(2, 2, low)))
    for number in (1, 2, 3, 500, 1000):
        t = constant_time(number, x_0)
        value = term(chain, x_0, t, keyed(3))
        assert value.dtype == torch.float32
        assert value.isfinite().all()
        assert torch.equal(value, term(stored, x_0, t, keyed(3)))
    chain.p.to(low)
    assert schedule.alpha_bar.dtype == torch.float64
    assert chain.p.variance.table.dtype == torch.float64
    assert prior_term(chain, x_0).dtype == torch.float32


class Rounded(nn.Module):
    """The network's low-precision output, given as float32."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x, time):
        return self.network(x, time).float()


@every_schedule
@pytest.mark.parametrize("parametrization", [X_0, V, Levels(GRID)], ids=["x_0", "v", "levels"])
def test_float32_agrees_with_float64(schedule, parametrization):
    """Figure C2: 1e-5 of the bound."""
    chain, x_0, noise = chain_of(schedule, parametrization, "learned-range"), images(3), keyed(3)
    exact = exhaustive(chain, x_0, noise).sum(1)
    rough = exhaustive(chain, x_0.float(), noise).sum(1)
    assert rough.dtype == torch.float64
    assert_close(rough, exact, 1e-5)


@settings(exactly, max_examples=25)
@given(order=st.permutations(range(7)), sizes=st.lists(st.integers(1, 3), min_size=7, max_size=7))
def test_values_do_not_depend_on_the_batch_or_its_order(order, sizes):
    """H34. Kills: noise by place in the batch."""
    chain, x_0, t = chain_of(from_betas(BETAS), EPS, "small"), images(7), 1 + torch.arange(7) % 4
    whole = term(chain, x_0, t, keyed(7))
    index, start = torch.tensor(order), 0
    for size in sizes:
        part = index[start : start + size]
        if len(part):
            value = term(chain, x_0[part], t[part], KeyedNoise.of(0, part))
            assert_close(value, whole[part].detach(), 1e-13)
        start += size


def test_the_same_seed_gives_the_same_value_and_another_seed_another():
    chain, x_0 = chain_of(from_betas(BETAS), EPS, "small"), images(2)
    first, again, other = (trajectory(chain, x_0, keyed(2, seed)) for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not (first == other).any()


def test_noise_tells_the_seed_from_the_image():
    """Kills: a symmetric mixture, where image 5 under seed 3 is image 3 under seed 5."""
    like = torch.zeros(1, 4)
    seen = [
        tuple(KeyedNoise.of(seed, torch.tensor([image])).normal(like)[0].tolist())
        for seed in range(6)
        for image in range(6)
    ]
    assert len(set(seen)) == 36


def test_zero_terminal_snr_is_exact_or_refused():
    """H24: L_T = 0 for v and x_0. Kills: zero-SNR check removed."""
    x_0 = images(3)
    for parametrization in (X_0, V, Levels(GRID)):
        chain = chain_of(ZERO_SNR, parametrization, "small")
        assert torch.equal(prior_term(chain, x_0), torch.zeros(3).double())
        assert exhaustive(chain, x_0, keyed(3)).isfinite().all()
    with pytest.raises(BadInput, match="zero terminal SNR"):
        chain_of(ZERO_SNR, EPS, "small")


def test_a_grid_runs_from_lo_to_hi():
    """H04. Kills: data left in [0, 1]."""
    for grid in (GRID, Grid(256), Grid(17, 0.0, 16.0)):
        values = grid.values(torch.arange(grid.n), torch.float64)
        assert float(values[0]) == grid.lo
        assert abs(float(values[-1]) - grid.hi) <= 1e-15 * grid.hi
        assert torch.equal(grid.levels(values), torch.arange(grid.n))


# Sampling draws from the p_theta that the bound scores.


def chi_square_z(counts: np.ndarray, probabilities: np.ndarray) -> float:
    expected = counts.sum() * probabilities
    chi_square = float(((counts - expected) ** 2 / expected).sum())
    dof = len(counts) - 1
    return (chi_square - dof) / math.sqrt(2 * dof)


@pytest.mark.parametrize("variance", ["small", "large", "optimal"])
def test_ancestral_samples_have_the_exact_mean_and_variance(variance):
    """H18: P_0, not P_0 - V_1. Kills: Box-Muller factor, the mean of the last step."""
    chain = gaussian_model(BETAS, 0.1, 0.5, variance)
    M, P = marginal_of(chain)
    count = 40_000
    x = ancestral(chain, torch.zeros(count, 1).double(), keyed(count))
    assert abs(float(x.mean() - M) / math.sqrt(P / count)) < 4
    assert abs(float((x - M).square().mean() / P - 1) / math.sqrt(2 / count)) < 4


@pytest.mark.parametrize("variance", ["small", "large", "optimal"])
def test_ancestral_samples_have_the_exact_histogram_of_the_levels(variance):
    """H16, hazards 2.4: p(k) is a bin mass of N(M_0, P_0). Kills: bin half-width hard-coded."""
    grid = Grid(9)
    chain = gaussian_model(BETAS, 0.1, 0.5, variance, Discretized(grid))
    M, P = marginal_of(chain)
    edges = np.array([-np.inf, *(-1 + grid.spacing * (np.arange(8) + 0.5)), np.inf])
    exact = np.diff(stats.norm.cdf(edges, M, math.sqrt(P)))
    x = ancestral(chain, torch.zeros(40_000, 1).double(), keyed(40_000))
    assert torch.equal(x, grid.values(grid.levels(x), x.dtype)), "samples lie on the grid"
    counts = np.bincount(grid.levels(x).flatten().numpy(), minlength=9)
    assert abs(chi_square_z(counts, exact)) < 4


def test_samples_of_the_levels_decoder_have_its_exact_histogram():
    """T = 1: p(k) = E over N(x_1; 0, 1) of the posterior mass. Kills: noise that ignores t."""
    schedule = from_betas([0.6])
    chain = chain_of(
        schedule, Levels(GRID), large(schedule, "beta_1"), network=Fixed(0.0, outputs=5)
    )
    z = torch.linspace(-9, 9, 4001, dtype=torch.float64).reshape(-1, 1)
    weight = torch.exp(-0.5 * z.square()) / math.sqrt(2 * math.pi) * 18 / 4000
    masses = chain.p.decoder(z).log_masses[:, 0].exp()
    exact = (weight * masses).sum(0)
    assert_close(exact.sum(), 1.0, 1e-10)
    x = ancestral(chain, torch.zeros(40_000, 1).double(), keyed(40_000))
    counts = np.bincount(GRID.levels(x).flatten().numpy(), minlength=5)
    assert abs(chi_square_z(counts, exact.numpy())) < 4


@every_parametrization
def test_the_exact_discrete_model_is_normalised_and_lies_above_the_bound(parametrization):
    """T = 1, one pixel: sum over k of p(k) = 1 and E[L] >= -log p(k) for every level."""
    schedule = from_betas([0.5])
    variance = large(schedule, "beta_1")
    network = Wavy(1, parametrization.outputs)
    chain = chain_of(schedule, parametrization, variance, network=network)
    x_0 = GRID.values(torch.arange(5)[:, None], torch.float64)
    z = torch.linspace(-9, 9, 2001, dtype=torch.float64).reshape(-1, 1)
    weight = torch.exp(-0.5 * z.square()) / math.sqrt(2 * math.pi) * 18 / 2000
    decoder = chain.p.decoder(z)
    mass = torch.stack([decoder.log_prob(x.expand(len(z), 1)) for x in x_0], 1).exp()
    p = (weight * mass).sum(0)
    assert_close(p.sum(), 1.0, 1e-10)
    nodes = Nodes(z)
    L_0 = [
        (weight[:, 0] * reconstruction_term(chain, x.expand(len(z), 1).contiguous(), nodes)).sum()
        for x in x_0
    ]
    bound = torch.stack(L_0) + prior_term(chain, x_0)
    assert (bound >= -p.log() - 1e-10).all()
