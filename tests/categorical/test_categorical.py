"""Categorical against torch.distributions, which it replaces, and at the edges of the simplex."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import Categorical as Oracle
from torch.distributions import Independent, kl_divergence

from nelbo.bound.noise import KeyedNoise, Noise
from nelbo.categorical.distribution import Categorical
from nelbo.testing import check_distribution, check_sampling

torch.set_num_threads(1)

SHAPES = [(4, 1, 2), (3, 2, 5), (2, 3, 4, 4, 17)]
INF = math.inf
LOG_2 = torch.tensor([2.0], dtype=torch.float64).log()


def categorical(shape: tuple[int, ...], seed: int) -> Categorical:
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(shape, generator=generator, dtype=torch.float64)
    return Categorical(logits.log_softmax(-1))


def oracle(p: Categorical) -> Independent:
    return Independent(Oracle(logits=p.log_probs), p.log_probs.ndim - 2)


def row(*probabilities: float) -> Categorical:
    """One dimension of one example."""
    return Categorical(torch.tensor(probabilities, dtype=torch.float64).log()[None, None])


def many(count: int, *probabilities: float) -> Categorical:
    return Categorical(row(*probabilities).log_probs.expand(count, 1, -1))


def keyed(count: int, seed: int = 0) -> KeyedNoise:
    return KeyedNoise.of(seed, torch.arange(count))


def assert_close(got: Tensor, want: Tensor, rel: float) -> None:
    torch.testing.assert_close(got, want, rtol=rel, atol=rel)


@pytest.mark.parametrize("shape", SHAPES)
def test_log_prob_is_that_of_torch(shape: tuple[int, ...]):
    """Kills: a mean over dimensions (H09), the state looked up along another axis."""
    p = categorical(shape, 0)
    x = torch.randint(shape[-1], shape[:-1], generator=torch.Generator().manual_seed(1))
    got = p.log_prob(x)
    assert got.shape == shape[:1]
    assert_close(got, oracle(p).log_prob(x), 1e-13)


@pytest.mark.parametrize("shape", SHAPES)
def test_kl_is_that_of_torch(shape: tuple[int, ...]):
    """Kills: the two sides swapped."""
    p, q = categorical(shape, 2), categorical(shape, 3)
    got = p.kl(q)
    assert got.shape == shape[:1]
    assert_close(got, kl_divergence(oracle(p), oracle(q)), 1e-12)
    assert float((got - q.kl(p)).abs().max()) > 1e-3


def test_a_state_without_mass_costs_nothing_and_one_that_q_lacks_everything():
    """0 log 0 = 0. Kills: NaN from 0 * inf, a mass clamped away from 0 (H01)."""
    half, sure, other = row(0.5, 0.5, 0), row(1, 0, 0), row(0.25, 0.25, 0.5)
    assert_close(half.kl(other), LOG_2, 1e-14)
    assert_close(sure.kl(half), LOG_2, 1e-14)
    assert float(half.kl(half)) == 0
    assert float(sure.kl(sure)) == 0
    assert float(half.kl(sure)) == INF
    assert float(other.kl(half)) == INF
    assert float(half.log_prob(torch.tensor([[2]]))) == -INF


def test_mass_below_the_smallest_float_is_still_mass():
    """Kills: exp(log p) = 0 taken for p = 0."""
    tiny = Categorical(torch.tensor([[[0.0, -800.0]]], dtype=torch.float64))
    assert float(tiny.kl(row(1, 0))) == INF
    assert float(tiny.kl(tiny)) == 0
    assert float(row(1, 0).kl(tiny)) == 0


@settings(max_examples=50, deadline=None, derandomize=True, database=None)
@given(st.lists(st.floats(-30, 30), min_size=2, max_size=9))
def test_kl_from_itself_is_exactly_0(logits: list[float]):
    """Kills: a ratio of probabilities in place of a difference of logarithms."""
    for dtype in (torch.float64, torch.float32):
        p = Categorical(torch.tensor([[logits]], dtype=dtype).log_softmax(-1))
        assert float(p.kl(p)) == 0


def test_gradients_are_finite_where_states_have_no_mass():
    """H26. Kills: a NaN gradient from the branch not taken."""
    hole, full = torch.tensor([0.0, 0.0, -INF]).double(), torch.zeros(3).double()
    for left, right in [(hole, hole), (hole, full), (full, hole)]:
        logits = torch.tensor([[[0.3, -1.0, 0.2]], [[1.0, 0.1, -0.2]]]).double().requires_grad_()
        p, q = (
            Categorical((x + hole).log_softmax(-1))
            for x, hole in zip(logits[:, None], (left, right), strict=True)
        )
        (p.kl(q) + p.log_prob(torch.tensor([[0]]))).sum().backward()
        assert bool(logits.grad.isfinite().all())


def test_the_gradient_of_kl_is_that_of_autograd_on_the_definition():
    """Kills: a probability detached from its logarithm."""
    logits, others = categorical((2, 3, 5), 4).log_probs, categorical((2, 3, 5), 5).log_probs
    a, b = logits.clone().requires_grad_(), others.clone().requires_grad_()
    Categorical(a.log_softmax(-1)).kl(Categorical(b.log_softmax(-1))).sum().backward()
    c, d = logits.clone().requires_grad_(), others.clone().requires_grad_()
    kl_divergence(Oracle(logits=c), Oracle(logits=d)).sum().backward()
    assert_close(a.grad, c.grad, 1e-13)
    assert_close(b.grad, d.grad, 1e-13)


def test_samples_have_the_probabilities():
    """Each state's z-score. Kills: states drawn from the logits, an off-by-one in the inverse."""
    count, masses = 100_000, [0.5, 0.0, 0.3, 0.15, 0.05, 0.0]
    x = many(count, *masses).sample(keyed(count))
    assert x.shape == (count, 1)
    assert x.dtype == torch.int64
    for state, mass in enumerate(masses):
        seen = float((x == state).double().mean())
        deviation = math.sqrt(mass * (1 - mass) / count)
        assert seen == mass == 0 or abs(seen - mass) < 4 * deviation


class Constant(Noise):
    """Gives one uniform number, always."""

    def __init__(self, number: float) -> None:
        self.number = number

    def uniform(self, like):
        return torch.full(like.shape, self.number, dtype=torch.float64)

    def normal(self, like):
        pytest.fail("a categorical chain draws uniform numbers alone")

    at = draws = rows = normal


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_ends_of_the_unit_interval_never_reach_a_state_without_mass(dtype):
    """Kills: sums that rounding keeps below 1."""
    p = Categorical(torch.tensor([0.0, 0.1, 0.7, 0.2, 0.0, 0.0], dtype=dtype).log()[None, None])
    q = Categorical(torch.full((1, 1, 49), 1 / 49, dtype=dtype).log())
    low, high = Constant(2.0**-54), Constant(1 - 2.0**-53)
    assert [int(p.sample(noise)) for noise in (low, high)] == [1, 3]
    assert [int(q.sample(noise)) for noise in (low, high)] == [0, 48]


def test_a_draw_has_53_bits():
    """H29. Kills: a float32 sum, where a tail of 1e-9 is never drawn, or too often."""
    p = row(1 - 1e-9, 1e-9)
    p = Categorical(p.log_probs.float())
    assert int(p.sample(Constant(1 - 1.2e-9))) == 0
    assert int(p.sample(Constant(1 - 0.8e-9))) == 1


def test_the_public_laws_of_a_distribution_hold():
    """Kills: sample and log_prob of two laws."""
    count = 4096
    p, q = many(count, 0.5, 0.3, 0.2, 0.0), many(count, 0.1, 0.2, 0.3, 0.4)
    check_distribution(p, q, keyed(count))
    check_sampling(q, p, keyed(count, 1))


def test_the_same_noise_gives_the_same_states_in_any_dtype():
    p = categorical((50, 7, 5), 6)
    x = p.sample(keyed(50))
    assert torch.equal(x, p.sample(keyed(50)))
    assert torch.equal(x, Categorical(p.log_probs.float()).sample(keyed(50)))
    assert not torch.equal(x, p.sample(keyed(50, 1)))
