"""iDDPM's hybrid loss: L_simple for the mean, the bound for the variance, from one call.

In the gradient laws the network's output is itself the parameter, so that every channel of it can
be looked at.
"""

import pytest
import torch
from torch import nn
from truth import assert_close, column

from nelbo.bound.chain import Chain
from nelbo.bound.estimators import exhaustive, term
from nelbo.bound.noise import KeyedNoise
from nelbo.errors import BadInput
from nelbo.gaussian.decoder import Density, Discretized
from nelbo.gaussian.forward import GaussianForward
from nelbo.gaussian.objective import hybrid_loss, simple_loss
from nelbo.gaussian.parametrization import EPS, PARAMETRIZATIONS, Levels
from nelbo.gaussian.reverse import TIME_INPUTS, GaussianReverse
from nelbo.gaussian.schedule import from_betas
from nelbo.gaussian.variance import LearnedRange, small
from nelbo.types import Grid

torch.set_num_threads(1)

GRID = Grid(17)
SCHEDULE = from_betas([0.05, 0.1, 0.3, 0.2, 0.4])
TIMES = torch.tensor([3, 1, 5, 1, 2, 4, 2])
DIMS = 3
every_parametrization = pytest.mark.parametrize("name", sorted(PARAMETRIZATIONS))


class Given(nn.Module):
    """An output that does not look at the input: (B, 2 D), the mean's channels first.

    `rows` says which examples it is being asked for.
    """

    def __init__(self, rows: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.mean, self.variance = (
            nn.Parameter(0.5 * torch.randn(rows, DIMS, generator=generator, dtype=torch.float64))
            for _ in range(2)
        )
        self.rows = torch.arange(rows)
        self.calls = 0

    def forward(self, x, t):
        self.calls += 1
        return torch.cat([self.mean[self.rows], self.variance[self.rows]], dim=1)


class Curved(nn.Module):
    """A network of every x_t and t, the same for each dimension, with two outputs for each."""

    def forward(self, x, t):
        shift = 0.1 * t.to(x.dtype).reshape(-1, *(1,) * (x.ndim - 1))
        return torch.cat([torch.tanh(x + shift), torch.sin(2 * x - shift)], dim=1)


def reverse(network, name="eps", *, schedule=SCHEDULE, clip=None, decoder=None, variance=None):
    return GaussianReverse(
        network,
        GaussianForward(schedule),
        parametrization=PARAMETRIZATIONS[name],
        variance=variance or LearnedRange(schedule, 0.02),
        decoder=decoder or Discretized(GRID),
        time_input=TIME_INPUTS["t"],
        clip=clip,
    )


def batch(rows, shape=(DIMS,)):
    levels = torch.randint(17, (rows, *shape), generator=torch.Generator().manual_seed(rows))
    return GRID.values(levels, torch.float64), KeyedNoise.of(5, torch.arange(rows))


@every_parametrization
@pytest.mark.parametrize("clip", [None, (-0.5, 0.5)])
@pytest.mark.parametrize("decoder", [Density(), Discretized(GRID)], ids=["density", "bins"])
@pytest.mark.parametrize("shape", [(DIMS,), (2, 3, 2)], ids=["vectors", "images"])
def test_the_value_is_l_simple_plus_weight_times_t_times_the_term(name, clip, decoder, shape):
    """Kills: no factor T; L_0 taken for a KL; rows in another order; the clip forgotten."""
    p = reverse(Curved(), name, clip=clip, decoder=decoder)
    x_0, noise = batch(len(TIMES), shape)
    simple, bound = simple_loss(p, x_0, TIMES, noise), term(Chain(p.q, p), x_0, TIMES, noise)
    got = hybrid_loss(p, x_0, TIMES, noise, weight=0.3)
    assert_close(got, simple + 0.3 * SCHEDULE.T * bound, rel=1e-12)
    assert_close(hybrid_loss(p, x_0, TIMES, noise), simple + 0.001 * SCHEDULE.T * bound, rel=1e-12)


def test_the_mean_over_t_is_l_simple_plus_weight_times_the_bound_less_its_prior_term():
    """Kills: a scale by (T - 1), or by 1000 / T."""
    p, T = reverse(Curved()), SCHEDULE.T
    x_0, noise = batch(4)
    times = [torch.full((4,), t) for t in range(1, T + 1)]
    mean = torch.stack([hybrid_loss(p, x_0, t, noise, weight=0.7) for t in times]).mean(0)
    simple = torch.stack([simple_loss(p, x_0, t, noise) for t in times]).mean(0)
    bound = exhaustive(Chain(p.q, p), x_0, noise)[:, :-1].sum(1)
    assert_close(mean, simple + 0.7 * bound, rel=1e-12)


@every_parametrization
def test_the_mean_learns_from_l_simple_and_the_variance_from_the_bound(name):
    """Kills: no stop of the gradient at x0-hat; one that stops the variance's too."""
    network = Given(len(TIMES))
    p = reverse(network, name)
    x_0, noise = batch(len(TIMES))
    weights = torch.linspace(0.5, 2, len(TIMES), dtype=torch.float64)

    def gradients(losses):
        parameters = (network.mean, network.variance)
        return torch.autograd.grad((weights * losses).sum(), parameters)

    mean, variance = gradients(hybrid_loss(p, x_0, TIMES, noise, weight=0.3))
    simple, untouched = gradients(simple_loss(p, x_0, TIMES, noise))
    bound = torch.zeros_like(weights)
    for network.rows in ((TIMES == 1).nonzero()[:, 0], (TIMES > 1).nonzero()[:, 0]):
        rows = network.rows
        value = term(Chain(p.q, p), x_0[rows], TIMES[rows], noise.rows(rows))
        bound = bound.index_add(0, rows, value)
    from_bound, of_bound = gradients(bound)
    assert not untouched.any()
    assert torch.equal(mean, simple)
    assert float(from_bound.abs().max()) > 0.01
    assert_close(variance, 0.3 * SCHEDULE.T * of_bound, rel=1e-10)


def test_the_gradients_are_finite_differences():
    """Of the loss for the variance's channels and of L_simple for the mean's.

    Kills: a gradient that both ways of making it share.
    """
    network = Given(len(TIMES))
    p = reverse(network)
    x_0, noise = batch(len(TIMES))
    hybrid_loss(p, x_0, TIMES, noise, weight=0.3).sum().backward()

    def difference(loss, parameter, place, h=1e-5):
        values = []
        for side in (h, -h):
            with torch.no_grad():
                parameter[place] += side
                values.append(float(loss().sum()))
                parameter[place] -= side
        return (values[0] - values[1]) / (2 * h)

    for row in range(len(TIMES)):
        place = (row, row % DIMS)
        whole = difference(
            lambda: hybrid_loss(p, x_0, TIMES, noise, weight=0.3), network.variance, place
        )
        assert whole == pytest.approx(float(network.variance.grad[place]), rel=1e-6, abs=1e-9)
        simple = difference(lambda: simple_loss(p, x_0, TIMES, noise), network.mean, place)
        assert simple == pytest.approx(float(network.mean.grad[place]), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("times", [[1, 1, 1], [2, 5, 3], [4, 1, 2]])
def test_one_call_of_the_network_gives_both_parts(times):
    """Also where only one kind of term is asked for. Kills: a second call for the bound."""
    network = Given(3)
    p = reverse(network)
    x_0, noise = batch(3)
    t = torch.tensor(times)
    value = hybrid_loss(p, x_0, t, noise).detach()
    assert network.calls == 1
    order = torch.tensor([2, 0, 1])
    for weights in (network.mean, network.variance):
        weights.data = weights.data[order]
    assert_close(hybrid_loss(p, x_0[order], t[order], noise.rows(order)), value[order], rel=1e-12)


def test_a_chain_of_one_step_has_only_a_decoder():
    """Kills: a KL asked for at t = 1."""
    schedule = from_betas([0.3])
    p = reverse(Curved(), schedule=schedule)
    x_0, noise = batch(4)
    t = torch.ones(4, dtype=torch.int64)
    want = simple_loss(p, x_0, t, noise) + 0.001 * term(Chain(p.q, p), x_0, t, noise)
    assert_close(hybrid_loss(p, x_0, t, noise), want, rel=1e-12)


def test_what_has_no_hybrid_loss_is_refused():
    """Kills: a fixed variance trained by nothing; levels, which have no target, let through."""
    x_0, t, noise = column(0.5), torch.tensor([2]), KeyedNoise.of(0, torch.arange(1))
    fixed = reverse(Curved(), variance=small(SCHEDULE, 0.02))
    with pytest.raises(BadInput, match="learned variance; this one is small"):
        hybrid_loss(fixed, x_0, t, noise)
    levels = GaussianReverse(
        Curved(),
        GaussianForward(SCHEDULE),
        parametrization=Levels(GRID),
        variance=LearnedRange(SCHEDULE, 0.02),
        decoder=Discretized(GRID),
        time_input=TIME_INPUTS["t"],
    )
    with pytest.raises(BadInput, match="no target for levels"):
        hybrid_loss(levels, x_0, t, noise)


def test_l_simple_asks_the_same_of_the_network_as_before():
    """Kills: a target at another noise than the one in x_t."""
    p = reverse(Curved())
    x_0, noise = batch(len(TIMES))
    eps = noise.at(TIMES).normal(x_0)
    x_t = p.q.marginal(x_0, TIMES).sample(noise.at(TIMES))
    output, _ = p.output(x_t, TIMES)
    error = (EPS.target(x_0, eps, eps, eps) - output).square().sum(1)
    assert_close(simple_loss(p, x_0, TIMES, noise), error, rel=1e-12)
