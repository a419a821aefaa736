"""Positions that are shown: the bound and the likelihood of the others given them, enumerated."""

import math
from itertools import combinations, pairwise, permutations, product

import pytest
import torch
from torch import nn

from nelbo.bound.chain import Chain, constant_time
from nelbo.bound.control import Control
from nelbo.bound.noise import KeyedNoise
from nelbo.categorical.controls import HistogramControl
from nelbo.categorical.forward import CategoricalForward
from nelbo.categorical.masked import AnyOrder, InOrder, MaskedForward, MaskedReverse, seen, shown
from nelbo.categorical.orders import Order, read_order
from nelbo.categorical.resampling import absorbing
from nelbo.categorical.reverse import PRIORS, TIME_INPUTS, CategoricalReverse

FLOAT = torch.float64
D, LEVELS = 4, 3
MASK = LEVELS
SHOWN = (0, 2)  # the positions that are given; 1 and 3 are free
FREE = (1, 3)
DATA = torch.tensor(list(product(range(LEVELS), repeat=D)))


class Mixing(nn.Module):
    """Logits of each position from all positions of x_t: nothing factorises."""

    def __init__(self) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(5)
        self.into = nn.Parameter(torch.randn(D, LEVELS + 1, 6, generator=draw).to(FLOAT))
        self.out = nn.Parameter(torch.randn(6, D * LEVELS, generator=draw).to(FLOAT))

    def forward(self, x, t):
        assert int(x.min()) >= 0
        return torch.tanh(self.into[torch.arange(D), x].sum(1)) @ self.out


def reverse() -> CategoricalReverse:
    q = absorbing([1 / (D - t) for t in range(D)], LEVELS + 1, FLOAT)
    forward = CategoricalForward(q)
    options = {"prior": PRIORS["target"](q), "levels": LEVELS, "ids": True}
    return CategoricalReverse(Mixing(), forward, time_input=TIME_INPUTS["t"], **options)


def chain_of(plan) -> Chain:
    times = torch.arange(1, D + 1)[plan.counts - 1]
    return Chain(MaskedForward(plan, MASK), MaskedReverse(reverse(), plan, times))


def given(x, positions=SHOWN):
    x = x.clone()
    x[:, list(positions)] = shown(x[:, list(positions)])
    return x


@torch.no_grad()
def cost(x, S, of=None):
    """The sum over i in `of`, or S, of -log p(x_i | x outside S)."""
    masked = x.clone()
    masked[:, list(S)] = MASK
    log_pi = reverse().log_pi(masked, torch.ones(len(x), dtype=torch.int64))
    return -log_pi.gather(-1, x[..., None])[..., 0][:, list(S if of is None else of)].sum(1)


@torch.no_grad()
def bound(chain, x):
    """L of a masked chain: the sum over t of the mean over every x_t."""
    total = torch.zeros(len(x), dtype=FLOAT)
    for t in range(1, chain.q.T + 1):
        time, mean, mass = constant_time(t, x), 0.0, 0.0
        for k in range(D + 1):
            for S in combinations(range(D), k):
                x_t = x.clone()
                x_t[:, list(S)] = MASK
                chance = chain.q.marginal(x, time).log_prob(x_t).exp()
                if not (chance > 0).any():
                    continue
                step = chain.p.decoder(x_t) if t == 1 else chain.p.step(x_t, time)
                value = -step.log_prob(x) if t == 1 else chain.q.posterior(x_t, x, time).kl(step)
                mean, mass = mean + chance * value, mass + chance
        torch.testing.assert_close(mass, torch.ones(len(x), dtype=FLOAT), rtol=0, atol=1e-12)
        total += mean
    return total


@pytest.mark.parametrize("counts", [[1, 2, 3, 4], [2, 4], [1, 3, 4]], ids=str)
def test_the_bound_of_what_is_not_shown_is_its_own_sum_over_subsets(counts):
    """Of n free positions the bound is the chain's whose counts end at n, by the subsets of the
    free ones. Kills: shown positions masked or counted, m_t for min(m_t, n), negative ids for the
    network."""
    x, n = DATA[::7], len(FREE)
    bounds = bound(chain_of(AnyOrder(torch.tensor(counts))), given(x))
    ends, wanted = [0, *(min(m, n) for m in counts)], torch.zeros(len(x), dtype=FLOAT)
    for before, m in pairwise(ends):
        if m > before:
            subsets = list(combinations(FREE, m))
            mean = sum(cost(x, S) for S in subsets) / len(subsets)
            wanted += (m - before) / m * mean
    torch.testing.assert_close(bounds, wanted, rtol=1e-12, atol=1e-12)


def test_one_position_a_step_is_the_mean_over_orders_of_the_free_ones():
    """Kills: the shown positions among those that an order is of."""
    x = DATA[::11]
    bounds = bound(chain_of(AnyOrder(torch.arange(1, D + 1))), given(x))
    orders = []
    for order in permutations(FREE):
        left, total = list(order), 0.0
        while left:
            total = total + cost(x, left, left[:1])
            left = left[1:]
        orders.append(total)
    torch.testing.assert_close(bounds, torch.stack(orders).mean(0), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["left-to-right", "random:3", "dispersed"])
def test_a_continuation_given_its_prompt_adds_up_to_the_whole(name):
    """-log p(x) = -log p(prompt) - log p(continuation | prompt) to 1e-10 where the order reveals
    the prompt first, p(prompt) being a sum over continuations; p(. | prompt) adds up to 1. Kills:
    a prompt that is counted, one that is not seen, a group that is lost."""
    order = read_order(name, (D,))
    prompt = order.positions[:2].tolist()
    chain = chain_of(InOrder(order, D))
    whole, conditional = bound(chain, DATA), bound(chain, given(DATA, prompt))
    keys = DATA[:, prompt] @ torch.tensor([LEVELS, 1])
    each = torch.zeros(LEVELS**2, dtype=FLOAT).index_add_(0, keys, (-whole).exp())
    torch.testing.assert_close(whole, -each.log()[keys] + conditional, rtol=1e-10, atol=1e-10)
    ones = torch.zeros(LEVELS**2, dtype=FLOAT).index_add_(0, keys, (-conditional).exp())
    torch.testing.assert_close(ones, torch.ones_like(ones), rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    "plan", [AnyOrder(torch.tensor([1, 3, 4])), InOrder(Order("o", (D,), torch.arange(D)), 2)]
)
def test_what_is_drawn_keeps_what_is_shown(plan):
    """Draws of q and p leave shown positions and mask as many as are due; a step follows from the
    one before it. Kills: a sample that overwrites the prompt."""
    x = given(DATA)
    chain, noise = chain_of(plan), KeyedNoise.of(0, torch.arange(len(x)))
    for t in range(1, chain.q.T + 1):
        time = constant_time(t, x)
        marginal = chain.q.marginal(x, time)
        x_t = marginal.sample(noise.at(time))
        assert (x_t[:, list(SHOWN)] == x[:, list(SHOWN)]).all()
        assert (marginal.log_prob(x_t) > -math.inf).all()
        down = chain.p.decoder(x_t) if t == 1 else chain.p.step(x_t, time)
        before = down.sample(noise.at(time))
        assert (before[:, list(SHOWN)] == x[:, list(SHOWN)]).all()
        assert (down.log_prob(before) > -math.inf).all()
        if t > 1:
            up = chain.q.step(before, time)
            assert (up.log_prob(x_t) > -math.inf).all()
    prior = chain.p.prior(x).sample(noise.at(constant_time(9, x)))
    assert (prior[:, list(FREE)] == MASK).all()
    assert (seen(prior)[:, list(SHOWN)] == DATA[:, list(SHOWN)]).all()


def test_the_mean_of_a_control_is_that_over_the_masks_of_free_positions():
    """By enumeration, of examples with other shown positions each. Kills: D for the number of free
    positions, histograms that count what is shown."""
    plan = AnyOrder(torch.arange(1, D + 1))
    x = torch.stack([DATA[50], given(DATA[50:51])[0], given(DATA[31:32], (1,))[0]])
    control: Control = HistogramControl.of(plan, MASK, x)
    free = [[i for i in range(D) if int(row[i]) >= 0] for row in x]
    totals = control.totals(x, torch.arange(D - 1), D - 1)[0]
    for t in range(2, D + 1):
        for row, places in enumerate(free):
            n = min(t, len(places))
            subsets, total = list(combinations(places, n)), 0.0
            for S in subsets:
                x_t = x[row : row + 1].clone()
                x_t[:, list(S)] = MASK
                args = (x[row : row + 1], x_t, torch.tensor([t]), torch.tensor([row]))
                total += float(control.value(*args)) / len(subsets)
            assert float(totals[row, t - 2]) == pytest.approx(total, rel=1e-12, abs=1e-15)
