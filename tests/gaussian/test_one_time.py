"""`OneTime` is `one_time`, `Ancestral` is `step`: the same numbers in fewer operations."""

import pytest
import torch
from torch import nn
from truth import assert_close

from nelbo.bound.chain import Chain, constant_time
from nelbo.bound.estimators import one_time
from nelbo.bound.noise import KeyedNoise
from nelbo.errors import BadInput
from nelbo.gaussian.ancestral import Ancestral
from nelbo.gaussian.decoder import Density, Discretized, LevelPosterior
from nelbo.gaussian.forward import GaussianForward
from nelbo.gaussian.objective import OneTime
from nelbo.gaussian.parametrization import PARAMETRIZATIONS, Levels
from nelbo.gaussian.reverse import TIME_INPUTS, GaussianReverse
from nelbo.gaussian.schedule import from_betas
from nelbo.gaussian.variance import LearnedRange, Tabulated, large, small
from nelbo.types import Grid

torch.set_num_threads(1)

GRID = Grid(5)
SCHEDULE = from_betas([0.05, 0.1, 0.3, 0.2, 0.4])
MIXED = torch.tensor([3, 1, 5, 1, 2, 4, 2])


class Curved(nn.Module):
    """A network of every x_t and t, with one weight and so many outputs for each channel."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(0.2, 0.9, outputs, dtype=torch.float64))
        self.calls = 0

    def forward(self, x, t):
        self.calls += 1
        shift = 0.1 * t.to(x.dtype).reshape(-1, *(1,) * (x.ndim - 1))
        return torch.cat([torch.tanh(w * x + shift) for w in self.weight], dim=1)


def reverse(name, variance, decoder, clip):
    parametrization = Levels(GRID) if name == "levels" else PARAMETRIZATIONS[name]
    return GaussianReverse(
        Curved(parametrization.outputs),
        GaussianForward(SCHEDULE),
        parametrization=parametrization,
        variance=variance,
        decoder=decoder,
        time_input=TIME_INPUTS["t"],
        clip=clip,
    )


def batch(rows):
    levels = torch.randint(5, (rows, 1, 2, 3), generator=torch.Generator().manual_seed(0))
    return GRID.values(levels, torch.float64), KeyedNoise.of(5, torch.arange(rows))


@pytest.mark.parametrize("t", [MIXED, MIXED.clamp(min=2), torch.ones(7, dtype=torch.int64)])
@pytest.mark.parametrize("variance", [small, large])
@pytest.mark.parametrize(
    ("name", "decoder", "clip"),
    [
        ("eps", Discretized(GRID), (-0.5, 0.5)),
        ("v", Density(), None),
        ("x_0", Discretized(GRID), None),
        ("levels", LevelPosterior(GRID), (-0.5, 0.5)),
        ("levels", Discretized(GRID), None),
    ],
)
def test_value_and_gradient_are_those_of_the_chain(name, decoder, clip, variance, t):
    """Kills: a weight or a rest of another t; L_0 taken for a KL, or in another row; no T; no L_T;
    the clip forgotten, or put on a mean of levels; a second call of the network.
    """
    p = reverse(name, variance(SCHEDULE, 0.02), decoder, clip)
    x_0, noise = batch(len(t))
    weights = torch.linspace(1, 2, len(t), dtype=torch.float64)
    want = one_time(Chain(p.q, p), x_0, t, noise)
    gradient = torch.autograd.grad((weights * want).sum(), p.network.weight)[0]
    p.network.calls = 0
    got = OneTime(p)(p, x_0, t, noise)
    assert p.network.calls == 1
    assert_close(got.detach(), want.detach(), rel=1e-12)
    assert_close(torch.autograd.grad((weights * got).sum(), p.network.weight)[0], gradient, 1e-11)


def test_only_a_number_for_each_t_has_this_form():
    """Kills: a variance that the network or the dimension decides, read as a table over t."""
    per_dimension = Tabulated("optimal", torch.full((6, 1, 2, 3), 0.1, dtype=torch.float64))
    for variance in (LearnedRange(SCHEDULE, 0.02), per_dimension):
        with pytest.raises(BadInput, match="is not a number for each t"):
            OneTime(reverse("eps", variance, Density(), None))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("time_input", ["t", "index", "log-snr"])
@pytest.mark.parametrize("clip", [(-0.5, 0.5), None])
@pytest.mark.parametrize("name", sorted(PARAMETRIZATIONS))
def test_a_step_by_numbers_is_the_step_to_the_bit(name, clip, time_input, dtype):
    """Kills: a coefficient of another t, the variance for the deviation, the clip forgotten, an
    index that is told as t.
    """
    p = reverse(name, large(SCHEDULE, 0.02), Density(), clip)
    p.time_input = TIME_INPUTS[time_input]
    p.network.to(dtype)
    x, noise = batch(4)
    x = x.to(dtype)
    step = Ancestral(p, x)
    with torch.inference_mode():
        for t in range(2, SCHEDULE.T + 1):
            time = constant_time(t, x)
            want = p.step(x, time).sample(noise.at(time))
            assert torch.equal(step(x, t, noise.at(time)), want)


def test_a_step_that_is_not_linear_has_no_numbers():
    """Kills: levels read as x_0; a learned variance read as a table."""
    for name, variance in (("levels", small(SCHEDULE, 0.02)), ("eps", LearnedRange(SCHEDULE, 0.1))):
        with pytest.raises(BadInput, match="is not linear"):
            Ancestral(reverse(name, variance, Density(), None), batch(2)[0])
