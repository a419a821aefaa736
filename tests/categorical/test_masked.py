"""Masked chains by enumeration: any order, its limit, absorbing chains by counts, one order."""

import math
from itertools import combinations, pairwise, permutations, product

import pytest
import torch
from torch import Tensor, nn

from nelbo import testing
from nelbo.bound.chain import Chain, constant_time
from nelbo.bound.estimators import importance_weighted, trajectory
from nelbo.bound.noise import KeyedNoise
from nelbo.categorical import controls
from nelbo.categorical.forward import CategoricalForward
from nelbo.categorical.masked import (
    AnyOrder,
    InOrder,
    MaskedForward,
    MaskedReverse,
    count_weights,
    mask_of,
    nearest_times,
    survival,
)
from nelbo.categorical.orders import Order, groups, read_order
from nelbo.categorical.resampling import absorbing, uniform
from nelbo.categorical.reverse import PRIORS, CategoricalReverse
from nelbo.errors import BadInput

torch.set_num_threads(1)

FLOAT = torch.float64
D, LEVELS = 4, 3
MASK = LEVELS
SURVIVALS = {  # abar_1..abar_T
    "even": [0.75, 0.5, 0.25, 0.0],
    "uneven": [0.9, 0.3, 0.0],
    "one-step": [0.0],
    "many": [1 - t / 12 for t in range(1, 13)],
}
every_survival = pytest.mark.parametrize("name", SURVIVALS)
DATA = torch.tensor(list(product(range(LEVELS), repeat=D)))


class Mixing(nn.Module):
    """Logits of each position from all positions of (x_t, t): nothing factorises."""

    def __init__(self, levels: int, knows_t: bool, D: int = D) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(levels)
        self.into = nn.Parameter(torch.randn(5, D * (levels + 1), generator=draw).to(FLOAT))
        self.out = nn.Parameter(torch.randn(D * levels, 5, generator=draw).to(FLOAT))
        self.knows_t = knows_t

    def forward(self, x, t):
        states = x.unflatten(1, (D, -1)).flatten(1)  # one-hot, a position's together
        hidden = torch.tanh(states @ self.into.T + (0.3 * t.to(FLOAT)[:, None] * self.knows_t))
        return hidden @ self.out.T


def betas_of(abar):
    """beta_1..beta_T of a chain with this survival."""
    before = [1.0, *abar[:-1]]
    return [1 - b / a for a, b in zip(before, abar, strict=True)]


def reverse_of(abar, knows_t=True, levels=LEVELS) -> CategoricalReverse:
    q = absorbing(betas_of(abar), levels + 1, FLOAT)
    return CategoricalReverse(
        Mixing(levels, knows_t),
        CategoricalForward(q),
        time_input=lambda transition, t: transition.kept[t - 1],
        prior=PRIORS["target"](q),
        levels=levels,
    )


def chain_of(plan, abar=SURVIVALS["even"], **kwargs):
    p = reverse_of(abar, **kwargs)
    times = nearest_times(survival(p), plan.counts.tolist(), D)
    return Chain(MaskedForward(plan, MASK), MaskedReverse(p, plan, times))


def hidden(x: Tensor, S) -> Tensor:
    """x with the positions of S masked."""
    x = x.clone()
    x[:, list(S)] = MASK
    return x


@torch.no_grad()
def cost(p: CategoricalReverse, x: Tensor, S, t: int, of=None) -> Tensor:
    """The sum over i in `of`, or S, of -log p(x_i | x outside S), by the network told t."""
    of = S if of is None else of
    log_pi = p.log_pi(hidden(x, S), torch.full((len(x),), t))
    return -log_pi.gather(-1, x[..., None])[..., 0][:, list(of)].sum(1)


def by_time(p: CategoricalReverse, x: Tensor) -> Tensor:
    """L of the absorbing chain by its definition: the sum over t and every x_t of q times KL."""
    q = p.q
    total = torch.zeros(len(x), dtype=FLOAT)
    for t in range(1, q.T + 1):
        time = constant_time(t, x)
        for k in range(1, D + 1):
            for S in combinations(range(D), k):
                x_t = hidden(x, S)
                chance = q.marginal(x, time).log_prob(x_t).exp()
                if t == 1:
                    value = -p.decoder(x_t).log_prob(x)
                else:
                    value = q.posterior(x_t, x, time).kl(p.step(x_t, time))
                total += torch.where(chance > 0, chance * value, 0)
    return total


@torch.no_grad()
@pytest.mark.parametrize("knows_t", [True, False])
@every_survival
def test_an_absorbing_chain_by_counts_is_the_chain_by_time(name, knows_t):
    """w_k E over k-subsets, t given k, to 1e-12. Kills: Bernoulli weights on exact-k masks, k off
    by one, the change of survival over what is left in place of over what is masked."""
    abar = SURVIVALS[name]
    p, x = reverse_of(abar, knows_t), DATA[::7]
    weights = count_weights(survival(p), D)
    total = torch.zeros(len(x), dtype=FLOAT)
    for k in range(1, D + 1):
        for S in combinations(range(D), k):
            for t in range(1, p.q.T + 1):
                total += weights[k - 1, t - 1] / math.comb(D, k) * cost(p, x, S, t)
    torch.testing.assert_close(total, by_time(p, x), rtol=1e-12, atol=1e-12)


@every_survival
def test_the_weights_of_counts_add_up_to_all_positions(name):
    """w_k k adds up to D (1 - abar_T), and w_k is 1 / k in the limit. Kills: k off by one."""
    abar = torch.tensor(SURVIVALS[name], dtype=FLOAT)
    k = torch.arange(1, D + 1, dtype=FLOAT)
    total = (count_weights(abar, D).sum(1) * k).sum()
    torch.testing.assert_close(total, D * (1 - abar[-1]), rtol=1e-13, atol=0)
    part = torch.tensor([0.8, 0.3], dtype=FLOAT)
    total = (count_weights(part, D).sum(1) * k).sum()
    torch.testing.assert_close(total, torch.tensor(D * 0.7, dtype=FLOAT), rtol=1e-13, atol=0)
    for power in (1, 3):  # whatever the survival
        fine = 1 - (torch.arange(1, 20001, dtype=FLOAT) / 20000) ** power
        assert ((count_weights(fine, D).sum(1) * k - 1).abs() < 3e-3).all()


@torch.no_grad()
def order_cost(p, times, x, parts) -> Tensor:
    """-log p of x where the groups are revealed one after another."""
    total, left = torch.zeros(len(x), dtype=FLOAT), [i for part in parts for i in part]
    for part in parts:
        t = int(times[len(left)])
        total += cost(p, x, left, t, part)
        left = left[len(part) :]
    return total


@torch.no_grad()
def test_the_limit_is_the_mean_over_orders_and_encloses_the_likelihood():
    """L = E over orders of -log p_order = sum over k of 1/k E over subsets, above the importance-
    weighted bounds and -log mean of p_order. Kills: 1 / (k + 1), a sum over all positions."""
    chain, x = chain_of(AnyOrder(torch.arange(1, D + 1))), DATA[::7]
    p, times = chain.p.p, [0, *chain.p.times.tolist()]
    orders = torch.stack(
        [order_cost(p, times, x, [[i] for i in pi]) for pi in permutations(range(D))]
    )
    by_subsets = torch.zeros(len(x), dtype=FLOAT)
    for k in range(1, D + 1):
        for S in combinations(range(D), k):
            by_subsets += cost(p, x, S, times[k]) / (k * math.comb(D, k))
    torch.testing.assert_close(orders.mean(0), by_subsets, rtol=1e-12, atol=1e-12)
    bounds = exhaustively(chain, x)
    torch.testing.assert_close(bounds, by_subsets, rtol=1e-12, atol=1e-12)
    exact = math.log(len(orders)) - (-orders).logsumexp(0)
    assert (exact <= bounds + 1e-12).all()
    chance = torch.zeros(len(DATA), dtype=FLOAT)  # the likelihood adds up to 1
    for pi in permutations(range(D)):
        chance += (-order_cost(p, times, DATA, [[i] for i in pi])).exp() / math.factorial(D)
    torch.testing.assert_close(chance.sum(), torch.tensor(1.0, dtype=FLOAT), rtol=1e-12, atol=0)


@torch.no_grad()
def exhaustively(chain, x) -> Tensor:
    """L of a masked chain: the sum over t of the mean over every x_t."""
    total, plan = torch.zeros(len(x), dtype=FLOAT), chain.q.plan
    for t, count in enumerate(plan.counts.tolist(), start=1):
        time, values = constant_time(t, x), []
        for S in combinations(range(D), count):
            x_t = hidden(x, S)
            chance = chain.q.marginal(x, time).log_prob(x_t).exp()
            if not (chance > 0).any():
                continue
            step = chain.p.decoder(x_t) if t == 1 else chain.p.step(x_t, time)
            value = -step.log_prob(x) if t == 1 else chain.q.posterior(x_t, x, time).kl(step)
            values.append(chance * value)
        total += torch.stack(values).sum(0)
    return total


@torch.no_grad()
@pytest.mark.parametrize("counts", [[1, 2, 3, 4], [2, 4], [1, 4], [4]])
def test_groups_in_any_order_are_the_mean_over_orders(counts):
    """The chain of G calls, above its own -log p. Kills: a group that sees itself, m_t - m_(t-1)
    over m_(t-1)."""
    chain, x = chain_of(AnyOrder(torch.tensor(counts))), DATA[::7]
    p = chain.p.p
    times = dict(zip(counts, chain.p.times.tolist(), strict=True))
    every = []
    for pi in permutations(range(D)):
        bounds = [0, *(D - m for m in reversed(counts[:-1])), D]
        parts = [pi[a:b] for a, b in pairwise(bounds)]
        every.append(order_cost(p, times, x, parts))
    costs, bounds = torch.stack(every), exhaustively(chain, x)
    torch.testing.assert_close(bounds, costs.mean(0), rtol=1e-12, atol=1e-12)
    exact = math.log(len(costs)) - (-costs).logsumexp(0)
    assert (exact <= bounds + 1e-12).all()
    assert counts == [4] or (exact < bounds - 1e-6).any()


@torch.no_grad()
@pytest.mark.parametrize("calls", [1, 2, 3, 4])
@pytest.mark.parametrize("name", ["left-to-right", "dispersed", "random:3"])
def test_an_order_is_its_own_enumeration_and_adds_up_to_1(name, calls):
    """Every estimator gives -log p_order, which is normalised. Kills: masked positions that see
    themselves, a group that sees itself, groups in the reversed order."""
    order = read_order(name, (D,))
    chain, keyed = chain_of(InOrder(order, calls)), KeyedNoise.of(0, torch.arange(len(DATA)))
    times = dict(zip(chain.q.plan.counts.tolist(), chain.p.times.tolist(), strict=True))
    parts = [part.tolist() for part in groups(order, calls)]
    want = order_cost(chain.p.p, times, DATA, parts)
    torch.testing.assert_close(want.neg().exp().sum(), torch.tensor(1.0, dtype=FLOAT))
    for bounds in (
        exhaustively(chain, DATA),
        trajectory(chain, DATA, keyed),
        importance_weighted(chain, DATA, keyed, 3),
    ):
        torch.testing.assert_close(bounds, want, rtol=1e-12, atol=1e-12)


@torch.no_grad()
@pytest.mark.parametrize("counts", [[1, 2, 3, 4], [1, 4], [2, 3, 4]])
@pytest.mark.parametrize("largest", [2**24, 1])
def test_the_mean_of_a_control_is_that_over_every_mask(counts, largest, monkeypatch):
    """Kills: a control of what is revealed, (m_t - m_(t-1)) / m_t in its mean, L_0's part in it."""
    monkeypatch.setattr(controls, "LARGEST", largest)
    plan = AnyOrder(torch.tensor(counts))
    control = controls.HistogramControl.of(plan, MASK, DATA[::5].to(torch.uint8))
    assert len(control.cost) == (D if largest > 1 else 1)
    x, T = DATA[::7], len(counts)
    want = torch.zeros(len(x), T - 1, dtype=FLOAT)
    for t, count in enumerate(counts[1:], start=2):
        masks = list(combinations(range(D), count))
        for S in masks:
            value = control.value(x, hidden(x, S), constant_time(t, x), torch.arange(len(x)))
            want[:, t - 2] += value / len(masks)
    each = control.totals(x, torch.arange(T - 1), T - 1)
    torch.testing.assert_close(each, want.expand(2, -1, -1), rtol=1e-12, atol=1e-12)
    whole = control.totals(x, torch.zeros(T - 1, dtype=torch.int64), 1)
    torch.testing.assert_close(whole[0, :, 0], want.sum(1), rtol=1e-12, atol=1e-12)


PLANS = {
    "one by one": AnyOrder(torch.arange(1, D + 1)),
    "groups": AnyOrder(torch.tensor([1, 3, 4])),
    "in order": InOrder(read_order("random:1", (D,)), 3),
}


@pytest.mark.parametrize("name", PLANS)
def test_the_public_laws_of_a_chain_hold(name):
    """Kills: a step that hides what is hidden, subsets that are not counted."""
    testing.check_chain(chain_of(PLANS[name]), torch.tensor([[0, 1, 2, 0], [2, 2, 1, 0]]))


def test_times_are_those_of_the_nearest_expected_count():
    """Kills: counts taken for t, the survival in place of what is masked."""
    abar = torch.tensor([0.9, 0.5, 0.2, 0.0], dtype=FLOAT)
    assert nearest_times(abar, [1, 5, 7, 10], 10).tolist() == [1, 2, 3, 4]
    assert nearest_times(abar, [3], 10).tolist() == [1]  # as near to 1 as to 5: the earlier
    draw = torch.Generator().manual_seed(0)
    for T, power in ((1, 1), (7, 1), (64, 1), (200, 3)):  # by every distance
        falling = torch.rand(T, generator=draw, dtype=FLOAT).sort(descending=True).values ** power
        falling[-1] = 0
        away = (1 - falling - torch.arange(1, 65)[:, None] / 64).abs()
        wanted = (away <= away.min(1, keepdim=True).values + 1e-9).int().argmax(1) + 1
        assert nearest_times(falling, range(1, 65), 64).tolist() == wanted.tolist()


@pytest.mark.parametrize(
    ("p", "why"),
    [
        (lambda: _wrong(uniform([0.5, 1.0], 4, FLOAT), 4, "target"), "only an absorbing chain"),
        (lambda: _wrong(absorbing([0.5, 1.0], 4, FLOAT), 4, "target"), "only an absorbing chain"),
        (lambda: _wrong(absorbing([0.5, 0.5], 4, FLOAT), 3, "uniform"), "L_T is infinite"),
        (lambda: _wrong(absorbing([0.5, 1.0], 4, FLOAT), 3, "target", True), "anew"),
    ],
)
def test_chains_without_a_strict_masked_form_are_refused(p, why):
    """Kills: a survival at the end that is passed over, a mask inside the data."""
    with pytest.raises(BadInput, match=why):
        mask_of(p())


def _wrong(q, levels, prior, by_logits=False):
    return CategoricalReverse(
        nn.Identity(),
        CategoricalForward(q),
        time_input=lambda transition, t: t,
        prior=PRIORS[prior](q),
        levels=levels,
        by_logits=by_logits,
    )


def test_counts_that_do_not_increase_are_refused():
    with pytest.raises(BadInput, match="must increase from 1 on"):
        AnyOrder(torch.tensor([1, 1, 4]))
    with pytest.raises(BadInput, match="5 calls are more"):
        InOrder(Order("x", (D,), torch.arange(D)), 5)
