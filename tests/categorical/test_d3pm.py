"""D3PM chains: the public laws for every transition, the averaged reverse, and exact models."""

import math
from collections.abc import Callable
from itertools import product

import pytest
import torch
from torch import Tensor, nn

from nelbo import testing
from nelbo.bound.chain import Chain, constant_time
from nelbo.bound.estimators import exhaustive, importance_weighted, one_time, term, trajectory
from nelbo.bound.noise import KeyedNoise, Noise
from nelbo.bound.terms import prior_term, reconstruction_term
from nelbo.categorical.dense import Dense, discretized_gaussian
from nelbo.categorical.distribution import Categorical
from nelbo.categorical.forward import CategoricalForward
from nelbo.categorical.objective import hybrid_loss, masked_bound
from nelbo.categorical.resampling import absorbing, resampling, uniform
from nelbo.categorical.reverse import PRIORS, TIME_INPUTS, CategoricalReverse, TabularReverse
from nelbo.categorical.transition import Transition
from nelbo.errors import BadInput
from nelbo.model import Settings, categorical_model
from nelbo.networks.resnet import ResNet
from nelbo.types import Grid

torch.set_num_threads(1)

FLOAT = torch.float64
INF = math.inf
BETAS = [0.1, 0.2, 0.3, 0.4]
ENDS = [0.25, 0.3, 0.5, 1.0]  # the last step forgets all


def generic(T: int, K: int) -> Dense:
    weights = torch.rand(T, K, K, generator=torch.Generator().manual_seed(K), dtype=FLOAT) + 0.05
    return Dense(weights / weights.sum(2, keepdim=True), FLOAT)


EVERY: dict[str, tuple[Transition, int, str]] = {  # with the data's levels and p(x_T)
    "uniform": (uniform(BETAS, 4, FLOAT), 4, "uniform"),
    "uniform-forgets": (uniform(ENDS, 3, FLOAT), 3, "target"),
    "absorbing": (absorbing(ENDS, 4, FLOAT), 3, "target"),
    "absorbing-spread": (absorbing(BETAS, 4, FLOAT), 3, "uniform"),
    "absorbing-mask-is-data": (absorbing(ENDS, 3, FLOAT), 3, "target"),
    "resampling": (resampling(BETAS, [0.5, 0.2, 0.3], FLOAT), 2, "target"),
    "discretized-gaussian": (discretized_gaussian(BETAS, 5, FLOAT), 5, "uniform"),
    "generic": (generic(4, 4), 4, "uniform"),
}
every_chain = pytest.mark.parametrize("name", EVERY)


class Wavy(nn.Module):
    """A fixed non-linear function of (x_t, t) that mixes dimensions and remembers its calls."""

    def __init__(self, inputs: int, outputs: int, dtype: torch.dtype = FLOAT) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(1)
        self.into = nn.Parameter(torch.randn(6, inputs, generator=draw).to(dtype))
        self.shift = nn.Parameter(torch.randn(6, generator=draw).to(dtype))
        self.out = nn.Parameter(0.7 * torch.randn(outputs, 6, generator=draw).to(dtype))
        self.seen: list[tuple[Tensor, Tensor]] = []

    def forward(self, x, time):
        self.seen.append((x.detach(), time))
        flat = x.to(self.into.dtype).flatten(2) if x.ndim > 2 else x.to(self.into.dtype)[..., None]
        phase = time.to(flat)[:, None, None] / 3 * self.shift[:, None]
        hidden = torch.tanh(self.into @ flat + phase)
        return (self.out @ hidden).reshape(len(x), -1, *x.shape[2:])


class Says(nn.Module):
    """The same logits for every dimension at every (x_t, t), of chains over K states."""

    def __init__(self, logits: Tensor, K: int) -> None:
        super().__init__()
        self.logits, self.K = nn.Parameter(logits.to(FLOAT)), K

    def forward(self, x, time):
        every = self.logits.repeat(x.shape[1] // self.K)
        return every.reshape(1, -1, *(1,) * (x.ndim - 2)).expand(len(x), -1, *x.shape[2:])


def chain_of(
    q: Transition, levels: int, prior: str | Tensor, network: nn.Module | None = None
) -> Chain[Categorical]:
    """The chain over data of 2 channels, or of 2 dimensions, unless the network says otherwise."""
    forward = CategoricalForward(q)
    p = CategoricalReverse(
        Wavy(2 * q.K, 2 * levels) if network is None else network,
        forward,
        time_input=TIME_INPUTS["t"],
        prior=PRIORS[prior](q) if isinstance(prior, str) else prior,
        levels=levels,
    )
    return Chain(forward, p)


def data(levels: int, count: int = 3, *dims: int) -> Tensor:
    shape = (count, *(dims or (2,)))
    return (torch.arange(math.prod(shape)) * 7 // 2 % levels).reshape(shape)


def keyed(count: int, seed: int = 0) -> KeyedNoise:
    return KeyedNoise.of(seed, torch.arange(count))


def assert_close(got: Tensor, want: Tensor, tolerance: float = 1e-12) -> None:
    torch.testing.assert_close(got, want, rtol=tolerance, atol=tolerance)


def ancestral(chain: Chain, like: Tensor, noise: Noise) -> Tensor:
    """x_0 ~ p_theta: the prior, every step, and the decoder."""
    x = chain.p.prior(like).sample(noise.at(constant_time(chain.q.T + 1, like)))
    for number in range(chain.q.T, 1, -1):
        t = constant_time(number, like)
        x = chain.p.step(x, t).sample(noise.at(t))
    return chain.p.decoder(x).sample(noise.at(constant_time(1, like)))


# The public laws, for every transition.


@every_chain
def test_the_public_laws_hold_for_every_transition(name: str):
    """Kills: Qbar_t for Qbar_{t-1} in the step, the likelihood left out of the decoder."""
    q, levels, prior = EVERY[name]
    testing.check_chain(chain_of(q, levels, prior), data(levels, 2))


@pytest.mark.parametrize("name", ["absorbing", "discretized-gaussian"])
def test_the_public_laws_hold_for_images(name: str):
    q, levels, prior = EVERY[name]
    testing.check_chain(chain_of(q, levels, prior), data(levels, 2, 2, 1, 2))


@pytest.mark.parametrize("T", [1, 2])
@pytest.mark.parametrize("make", [uniform, absorbing, discretized_gaussian])
def test_the_public_laws_hold_for_the_shortest_chains(make: Callable, T: int):
    q = make([*BETAS[: T - 1], 1.0], 4, FLOAT)
    prior = "target" if make is absorbing else "uniform"
    testing.check_chain(chain_of(q, 3, prior), data(3))


def test_the_public_laws_hold_for_tables():
    """Kills: R transposed, R of t - 1."""
    R, pi = generic(4, 4).tables.flip(2), torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=FLOAT)
    testing.check_chain(Chain(CategoricalForward(generic(4, 4)), TabularReverse(R, pi)), data(4))


# The reverse step: q's posterior averaged over what the network says of x_0.


def average_by_hand(chain: Chain, log_pi: Tensor, x_t: Tensor, t: int) -> tuple[Tensor, Tensor]:
    """p(x_{t-1} | x_t) and p(x_0 | x_t) of one dimension: a sum over x_0 of posteriors."""
    time = torch.full((1,), t)
    joint = [
        float(
            log_pi[k].exp() * chain.q.marginal(torch.tensor([[k]]), time).log_probs[0, 0, x_t].exp()
        )
        for k in range(len(log_pi))
    ]
    total = torch.zeros(len(log_pi), dtype=FLOAT)
    for k, weight in enumerate(joint):
        if weight > 0 and t > 1:
            x_0 = torch.tensor([[k]])
            posterior = chain.q.posterior(torch.tensor([[x_t]]), x_0, time)
            total += weight / sum(joint) * posterior.log_probs[0, 0].exp()
    return total, torch.tensor(joint, dtype=FLOAT) / sum(joint)


@every_chain
@pytest.mark.parametrize("zero", [True, False], ids=["zero-network", "some-network"])
def test_the_reverse_is_the_posterior_averaged_over_x_0(name: str, zero: bool):
    """Both forms: the sum over x_0, and the column times the mixture. Kills: D3PM's own average
    without q(x_t | x_0) in the denominator; the likelihood counted twice."""
    q, levels, prior = EVERY[name]
    logits = torch.zeros(levels) if zero else torch.linspace(-1, 2, levels).cos()
    chain = chain_of(q, levels, prior, Says(logits, q.K))
    log_pi = torch.full((q.K,), -INF, dtype=FLOAT)
    log_pi[:levels] = logits.to(FLOAT).log_softmax(0)
    for t, x_t in product(range(1, q.T + 1), range(q.K)):
        state, time = torch.tensor([[x_t]]), torch.tensor([t])
        before, x_0 = average_by_hand(chain, log_pi, x_t, t)
        if x_0.isnan().any():
            continue  # no level leads here
        assert_close(chain.p.x_0(log_pi[None, None], state, time).log_probs[0, 0].exp(), x_0)
        if t == 1:
            assert_close(chain.p.decoder(state).log_probs[0, 0].exp(), x_0)
        else:
            assert_close(chain.p.step(state, time).log_probs[0, 0].exp(), before)


def test_a_masked_network_is_never_queried_about_what_it_can_see():
    """An absorbing chain: a state that is not the mask stays, and at t = 1 it is the data."""
    q, levels, prior = EVERY["absorbing"]
    chain, x = chain_of(q, levels, prior), torch.tensor([[0, 3], [3, 2]])
    for number in (2, 3):
        log_probs = chain.p.step(x, torch.tensor([number] * 2)).log_probs
        assert_close(log_probs[[0, 1], [0, 1]].exp(), torch.eye(4, dtype=FLOAT)[[0, 2]])
    decoded = chain.p.decoder(x).log_probs.exp()
    assert_close(decoded[[0, 1], [0, 1]], torch.eye(4, dtype=FLOAT)[[0, 2]])
    assert bool((decoded[..., 3] == 0).all()), "the mask is never data"


# A model that knows the law of its data has no gap.


@every_chain
def test_an_exact_model_has_the_same_value_on_every_path(name: str):
    """Data iid from pi, p(x_T) = pi Qbar_T: D10 = -log pi(x_0). Kills: a wrong prior, KL or t."""
    q, levels, _ = EVERY[name]
    weights = torch.tensor([0.4, 0.1, 0.3, 0.15, 0.05], dtype=FLOAT)[:levels]
    log_pi = (weights / weights.sum()).log()
    known = torch.full((1, 1, q.K), -INF, dtype=FLOAT)
    known[..., :levels] = log_pi
    end = q.log_mix_bar(known, torch.tensor([q.T]))[0, 0]
    chain = chain_of(q, levels, end, Says(log_pi, q.K))
    x_0 = data(levels, 50, 1, 2, 2)
    want = -log_pi[x_0].flatten(1).sum(1)
    for seed in range(4):
        assert_close(trajectory(chain, x_0, keyed(50, seed)), want, 1e-10)
        assert_close(importance_weighted(chain, x_0, keyed(50, seed), 3), want, 1e-10)
    x = ancestral(chain, torch.zeros(40_000, 1, dtype=torch.int64), keyed(40_000))
    seen = torch.bincount(x[:, 0], minlength=q.K)[:levels] / 40_000
    mass = log_pi.exp()
    assert bool(((seen - mass).abs() < 4 * (mass * (1 - mass) / 40_000).sqrt()).all())


@every_chain
def test_the_model_adds_up_to_1_and_its_bound_is_one(name: str):
    """p(x_0) by summing out every latent, one dimension. Kills: an x_0-dependent p."""
    q, levels, prior = EVERY[name]
    chain = chain_of(q, levels, prior, Wavy(q.K, levels))
    states, likely = torch.arange(q.K)[:, None], chain.p.prior(torch.zeros(1, 1).long())
    law = likely.log_probs[0, 0].exp()
    for number in range(q.T, 1, -1):
        rows = chain.p.step(states, constant_time(number, states)).log_probs[:, 0].exp()
        law = law[law > 0] @ rows[law > 0]  # from states of no mass there is no step
    p = law[law > 0] @ chain.p.decoder(states).log_probs[law > 0, 0].exp()
    assert_close(p.sum(), torch.tensor(1.0, dtype=FLOAT))
    x_0 = torch.arange(levels).repeat_interleave(4000)[:, None]
    L = exhaustive(chain, x_0, keyed(len(x_0))).sum(1).reshape(levels, -1)
    z = (L.mean(1) + p[:levels].log()) / (L.std(1) / 4000**0.5).clamp(min=2**-40)
    assert bool((z > -4).all())


# What the network sees and is told.


def test_the_network_sees_states_as_channels_of_0_and_1():
    """(B, C K, H, W), the states of channel 0 first. Kills: the order of C and K, of K and W."""
    q, network = uniform(BETAS, 3), Wavy(6, 6, torch.float32)
    chain = chain_of(q, 3, "uniform", network)
    x_t = data(3, 2, 2, 4, 5)
    chain.p.step(x_t, torch.tensor([2, 4]))
    ((seen, time),) = network.seen
    assert seen.shape == (2, 6, 4, 5)
    assert seen.dtype == torch.float32
    assert time.tolist() == [2, 4]
    for c, k in product(range(2), range(3)):
        assert torch.equal(seen[:, 3 * c + k], (x_t[:, c] == k).float())
    chain.p.step(x_t[:, :, 0, 0], torch.tensor([2, 4]))
    assert torch.equal(network.seen[-1][0], seen[:, :, 0, 0])


def test_logits_are_read_as_channels_of_levels():
    """Kills: logits of channel 1 given to channel 0."""
    q = absorbing(ENDS, 4)
    network = Wavy(8, 6, torch.float32)
    chain, x_t, t = chain_of(q, 3, "target", network), data(4, 2, 2, 4, 5), torch.tensor([2, 3])
    log_pi = chain.p.log_pi(x_t, t)
    logits = network(*network.seen[-1])
    assert log_pi.shape == (2, 2, 4, 5, 4)
    assert bool((log_pi[..., 3] == -INF).all())
    for c in range(2):
        want = logits[:, 3 * c : 3 * c + 3].log_softmax(1).movedim(1, -1)
        assert_close(log_pi[:, c, ..., :3], want, 1e-6)


def test_the_network_receives_the_time_of_the_whole_chain():
    """H14 and H15. Kills: index off by one, a fraction of the sub-chain."""
    q = uniform([0.1] * 10, 3).subchain([2, 5, 9])
    t = torch.tensor([1, 2, 3])
    assert TIME_INPUTS["index"](q, t).tolist() == [1, 4, 8]
    assert TIME_INPUTS["t"](q, t).tolist() == [2, 5, 9]
    assert_close(TIME_INPUTS["fraction"](q, t), torch.tensor([-5.4, 0.0, 7.2]), 1e-6)
    again = q.subchain([1, 3])
    assert_close(TIME_INPUTS["fraction"](again, t[:2]), torch.tensor([-5.4, 7.2]), 1e-6)
    network = Wavy(3, 3, torch.float32)
    chain = chain_of(q, 3, "uniform", network)
    exhaustive(chain, data(3, 1, 1), keyed(1))
    assert [int(time) for _, time in network.seen] == [2, 5, 9]


def test_a_residual_net_on_images_runs_and_starts_at_the_uniform_pi():
    """In float32, T = 100; zero output at the start, so p(x_0 | x_t) is the likelihood alone."""
    q = absorbing([1 / (100 - t) for t in range(100)], 18)
    forward, prior = CategoricalForward(q), PRIORS["target"](q)
    p = CategoricalReverse(
        ResNet(18, 17, width=8, blocks=1),
        forward,
        time_input=TIME_INPUTS["fraction"],
        prior=prior,
        levels=17,
    )
    x_0 = data(17, 4, 1, 8, 8)
    L = trajectory(Chain(forward, p), x_0, keyed(4))
    assert_close(L, torch.full((4,), 64 * math.log(17), dtype=FLOAT), 1e-5)


@pytest.mark.parametrize(("outputs", "levels"), [(4, None), (5, 4), (10, 4)])
def test_a_network_with_other_channels_is_refused(outputs: int, levels: int | None):
    q = uniform(BETAS, 5, FLOAT)
    forward = CategoricalForward(q)
    p = CategoricalReverse(
        Wavy(5, outputs),
        forward,
        time_input=TIME_INPUTS["index"],
        prior=PRIORS["uniform"](q),
        levels=levels,
    )
    with pytest.raises(BadInput, match=f"must give {levels or 5} channels.*got \\(3, {outputs}\\)"):
        p.step(data(4, 3, 1), torch.tensor([2, 3, 4]))


# p(x_T).


def test_a_prior_without_mass_where_q_ends_is_refused():
    """L_T would be infinite. Kills: the check left out, the check of the mask alone."""
    with pytest.raises(BadInput, match=r"no mass to state 0, .*Let beta_T be 1"):
        chain_of(absorbing(BETAS, 4, FLOAT), 3, "target")
    bare = torch.tensor([0.5, 0.5, 0.0, 0.0], dtype=FLOAT).log()
    with pytest.raises(BadInput, match="no mass to state 2"):
        chain_of(uniform(BETAS, 4, FLOAT), 4, bare)
    each = torch.stack([PRIORS["uniform"](uniform(BETAS, 4)), bare])
    with pytest.raises(BadInput, match="no mass to state 2"):
        chain_of(uniform(BETAS, 4, FLOAT), 4, each)


def test_a_prior_with_mass_where_q_never_ends_is_refused():
    """A sample that starts there has no next step: its probabilities are NaN."""
    with pytest.raises(BadInput, match=r"mass to state 0, which .* never reaches"):
        chain_of(absorbing(ENDS, 4, FLOAT), 3, "uniform")


def test_a_prior_is_one_law_or_one_for_each_dimension():
    """Kills: the dimensions' laws in another order."""
    q = uniform(BETAS, 3, FLOAT)
    each = torch.tensor([[0.2, 0.3, 0.5], [0.6, 0.3, 0.1]], dtype=FLOAT).log()
    x_0 = data(3)
    prior = chain_of(q, 3, each).p.prior(x_0)
    want = each[0][x_0[:, 0]] + each[1][x_0[:, 1]]
    assert_close(prior.log_prob(x_0), want, 1e-15)
    shared = chain_of(q, 3, each[0]).p.prior(x_0)
    assert_close(shared.log_prob(x_0), each[0][x_0].sum(1), 1e-15)


def test_the_target_as_prior_makes_l_t_zero_where_the_chain_forgets():
    for name in ("uniform-forgets", "absorbing"):
        q, levels, prior = EVERY[name]
        assert bool((prior_term(chain_of(q, levels, prior), data(levels)).abs() <= 1e-14).all())


def test_a_prior_that_is_no_distribution_or_of_other_states_is_refused():
    q = uniform(BETAS, 3, FLOAT)
    for wrong in (torch.zeros(3), torch.full((4,), 0.25).log(), torch.tensor([INF, 0.0, 0.0])):
        with pytest.raises(BadInput, match=r"p\(x_T\) must be log probabilities of 3 states"):
            chain_of(q, 3, wrong.to(FLOAT))
    with pytest.raises(BadInput, match="only a resampling transition has a target"):
        PRIORS["target"](generic(2, 3))


@pytest.mark.parametrize("levels", [0, 5])
def test_levels_are_states_of_the_chain(levels: int):
    with pytest.raises(BadInput, match=rf"levels must lie in 1\.\.4.*got {levels}"):
        chain_of(uniform(BETAS, 4, FLOAT), levels, "uniform")


# D3PM's auxiliary loss.


@every_chain
def test_the_hybrid_loss_without_its_weight_is_the_bound(name: str):
    """Mixed times. Kills: the term of another t, x_t drawn twice."""
    q, levels, prior = EVERY[name]
    chain, x_0 = chain_of(q, levels, prior), data(levels, 8)
    for t in (torch.tensor([3, 1, 2, 4, 1, 2, 3, 1]), torch.ones(8).long(), torch.full((8,), 3)):
        got = hybrid_loss(chain.p, x_0, t, keyed(8), 0.0)
        want = one_time(chain, x_0, t, keyed(8))
        assert_close(got, want)  # two computations, which other processors round otherwise
        grads = [torch.autograd.grad(value.sum(), chain.p.network.out)[0] for value in (got, want)]
        assert_close(*grads)


@pytest.mark.parametrize("dims", [(2,), (2, 3, 5)])
def test_the_bound_of_a_masked_chain_needs_no_distribution_over_its_states(dims: tuple[int, ...]):
    """Draw for draw, through the model too.

    Kills: the rate over abar_t, no T, positions that are seen counted, another position's level.
    """
    q, levels, prior = EVERY["absorbing"]
    chain, x_0 = chain_of(q, levels, prior), data(levels, 8, *dims)
    t = torch.tensor([3, 1, 2, 4, 1, 2, 3, 1])
    model = categorical_model(
        chain.p.network,
        q,
        prior=PRIORS[prior],
        time_input=chain.p.time_input,
        grid=Grid(levels, -1.0, 1.0),
        shape=dims,
        name="masked",
        settings=Settings(),
    )
    want = one_time(chain, x_0, t, keyed(8))
    for got in (
        masked_bound(chain.p, x_0, t, keyed(8)),
        model.one_time(model.chain, x_0, t, keyed(8)),
    ):
        assert_close(got, want)
        grads = [
            torch.autograd.grad(value.sum(), chain.p.network.out, retain_graph=True)[0]
            for value in (got, want)
        ]
        assert_close(*grads)


@every_chain
def test_the_hybrid_loss_adds_the_surprise_of_x_0_at_one_call_of_the_network(name: str):
    """Kills: weight on the bound, -log pi for -log p(x_0 | x_t), T times the weight."""
    q, levels, prior = EVERY[name]
    chain, x_0, t = chain_of(q, levels, prior), data(levels, 8), torch.arange(8) % 4 + 1
    base = hybrid_loss(chain.p, x_0, t, keyed(8), 0.0)
    chain.p.network.seen.clear()
    got = hybrid_loss(chain.p, x_0, t, keyed(8), 0.3)
    assert len(chain.p.network.seen) == 1
    x_t = chain.q.marginal(x_0, t).sample(keyed(8).at(t))
    surprise = -chain.p.x_0(chain.p.log_pi(x_t, t), x_t, t).log_prob(x_0)
    assert_close(got - base, 0.3 * surprise)
    assert bool((surprise >= 0).all())


def test_the_auxiliary_loss_at_the_first_step_is_l_0():
    chain, x_0, t = chain_of(*EVERY["uniform"]), data(4), torch.ones(3).long()
    added = hybrid_loss(chain.p, x_0, t, keyed(3), 1.0) - hybrid_loss(
        chain.p, x_0, t, keyed(3), 0.0
    )
    assert_close(added, reconstruction_term(chain, x_0, keyed(3)))


# Gradients and precision.


@every_chain
@pytest.mark.parametrize("dtype", [FLOAT, torch.float32])
def test_gradients_are_finite_at_every_time(name: str, dtype: torch.dtype):
    """H26. Kills: logaddexp of two -inf, a NaN from a state without mass."""
    q, levels, prior = EVERY[name]
    q = type(q)(**{field: getattr(q, field) for field in q.__dataclass_fields__} | {"dtype": dtype})
    chain = chain_of(q, levels, prior, Wavy(2 * q.K, 2 * levels, dtype))
    x_0 = data(levels, 16)
    for number in range(1, q.T + 1):
        t = constant_time(number, x_0)
        loss = hybrid_loss(chain.p, x_0, t, keyed(16), 0.1)
        grads = torch.autograd.grad(loss.sum(), tuple(chain.p.network.parameters()))
        assert loss.dtype == dtype
        assert all(bool(grad.isfinite().all()) for grad in grads)
        assert any(bool((grad != 0).any()) for grad in grads)


def test_a_confident_network_has_finite_values_and_gradients():
    """Logits of +-200. Kills: a softmax and then a logarithm."""
    for name in ("uniform", "absorbing", "discretized-gaussian"):
        q, levels, prior = EVERY[name]
        logits = torch.linspace(-200, 200, levels)
        chain = chain_of(q, levels, prior, Says(logits, q.K))
        loss = exhaustive(chain, data(levels), keyed(3)).sum()
        loss.backward()
        assert bool(loss.isfinite())
        assert bool(chain.p.network.logits.grad.isfinite().all())


@pytest.mark.parametrize("make", [uniform, absorbing, discretized_gaussian])
def test_float32_agrees_with_float64_over_a_thousand_steps(make: Callable):
    """Figure C2: 1e-5 of the bound. Kills: float32 tables, a KL by ratios of probabilities."""
    betas = [1 / (1000 - t) for t in range(1000)]
    x_0, t, values = data(8, 1, 4).repeat(1000, 1), torch.arange(1, 1001), []
    prior = "target" if make is absorbing else "uniform"
    for dtype in (FLOAT, torch.float32):
        chain = chain_of(make(betas, 9, dtype), 8, prior, Wavy(36, 32, dtype))
        with torch.no_grad():
            terms = term(chain, x_0, t, keyed(1000)).double()
            values.append(terms.sum() + prior_term(chain, x_0[:1])[0].double())
    assert_close(values[1], values[0], 1e-5)


@pytest.mark.parametrize("name", ["uniform", "absorbing", "discretized-gaussian"])
def test_a_chain_follows_its_states_to_another_device(name: str):
    """Shapes on the meta device, times on the CPU. Kills: a table that stays where it was made."""
    q, levels, prior = EVERY[name]
    chain = chain_of(q, levels, prior, Wavy(2 * q.K, 2 * levels).to("meta"))
    x_0, t = torch.empty(4, 2, dtype=torch.int64, device="meta"), torch.tensor([1, 3, 2, 4])
    for loss in (hybrid_loss(chain.p, x_0, t, keyed(4), 0.1), trajectory(chain, x_0, keyed(4))):
        assert loss.device.type == "meta"
        assert loss.shape == (4,)


@pytest.mark.parametrize("low", [torch.bfloat16, torch.float16])
def test_a_low_precision_network_changes_nothing_but_its_own_output(low: torch.dtype):
    """H23 and H27. Kills: tables or terms in the network's dtype."""
    q, levels, prior = EVERY["uniform"]
    q = uniform(BETAS, 4)
    chain, x_0 = chain_of(q, levels, prior, Wavy(8, 8, low)), data(4)
    terms = exhaustive(chain, x_0, keyed(3))
    assert bool(terms.isfinite().all())
    assert chain.p.step(x_0, torch.tensor([2, 3, 4])).log_probs.dtype == torch.float32
    chain.p.to(low)
    assert chain.p.log_prior.dtype == q.target.dtype == FLOAT
    assert torch.equal(terms, exhaustive(chain, x_0, keyed(3)))
