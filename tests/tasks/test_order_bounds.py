"""-log p of any order from both sides, on models whose every order can be enumerated."""

import json
import math
from itertools import permutations, product

import pytest
import torch
from torch import nn

import nelbo
from nelbo.categorical.orders import read_order
from nelbo.data import as_images, as_tokens
from nelbo.errors import BadInput
from nelbo.estimation import Evaluator, measuring
from nelbo.estimation.orders import nats_of_orders, two_sides
from nelbo.model import in_any_order, in_order

torch.set_num_threads(1)

LEVELS = 4
FLOAT = torch.float64


class Mixing(nn.Module):
    """Logits of each position by all states of (x_t, t); nothing factorises."""

    def __init__(self, D, knows_t, size):
        super().__init__()
        draw = torch.Generator().manual_seed(D)
        self.into = nn.Parameter(torch.randn(6, D, generator=draw, dtype=FLOAT))
        self.out = nn.Parameter(size * torch.randn(LEVELS * D, 6, generator=draw, dtype=FLOAT))
        self.knows_t = knows_t

    def forward(self, x_t, t):
        time = t.to(FLOAT)[:, None] if self.knows_t else 0.0
        hidden = torch.sin(x_t.flatten(1).to(FLOAT) @ self.into.T + time)
        return (hidden @ self.out.T).reshape(len(x_t), LEVELS, 1, -1)


def model_of(D, knows_t=True, size=1.5):
    return nelbo.wrap_categorical(
        Mixing(D, knows_t, size),
        transition="absorbing",
        schedule=[1 / (D - t) for t in range(D)],
        time_input="fraction",
        levels=LEVELS,
        shape=(1, 1, D),
        sees="states",
    )


@torch.no_grad()
def every_order(model, x, group=1):
    """-log p of each x by each order of equal groups: (orders, N), by calls of the network."""
    D, rows = x.shape[1], []
    for order in permutations(range(D)):
        total = torch.zeros(len(x), dtype=FLOAT)
        for first in range(0, D, group):
            states = x.clone()
            states[:, list(order[first:])] = LEVELS
            t = torch.full((len(x),), (D - first) / D)
            logits = model.network(states.reshape(len(x), 1, 1, D), t)
            log_p = logits.log_softmax(1).gather(1, x.reshape(len(x), 1, 1, D))[:, 0, 0]
            total -= log_p[:, list(order[first : first + group])].sum(1)
        rows.append(total)
    return torch.stack(rows)


def marginal(nats):
    """-log of the mean over orders."""
    return math.log(len(nats)) - torch.logsumexp(-nats, 0)


def expected(nats, K):
    """(E of the weighted, E of the tangent bound) of one image, over all pairs of K orders each."""
    halves = torch.stack([nats[list(some)] for some in product(range(len(nats)), repeat=K)])
    above = below = 0.0
    for a, b in product(halves, halves):
        sides = two_sides(torch.stack([a, b])[..., None])
        above += float(sides.weighted.mean())
        below += float(sides.weighted.mean() - sides.gap)
    return above / len(halves) ** 2, below / len(halves) ** 2


@pytest.mark.parametrize(("D", "K", "knows_t"), [(4, 1, True), (4, 1, False), (3, 2, True)])
def test_both_sides_enclose_the_enumerated_likelihood(D, K, knows_t):
    """Limit >= weighted >= -log p >= tangent, each by every order, to 1e-12; p adds up to 1.

    Kills: a bound without log K; c that is the mean of its own orders; the gap added.
    """
    model = model_of(D, knows_t)
    x = torch.tensor(list(product(range(LEVELS), repeat=D)))
    nats = every_order(model, x)
    exact = marginal(nats)
    assert float(torch.logsumexp(-exact, 0)) == pytest.approx(0, abs=1e-12)
    limit = float(nats[:, 13].mean())
    above, below = expected(nats[:, 13], K)
    assert below <= float(exact[13]) + 1e-12
    assert float(exact[13]) <= above + 1e-12
    assert above <= limit + 1e-12
    assert above == pytest.approx(limit, abs=1e-12) if K == 1 else above < limit - 1e-4
    alike = two_sides(torch.full((2, K, 5), 3.25, dtype=FLOAT))
    torch.testing.assert_close(alike.weighted, torch.full((2, 5), 3.25, dtype=FLOAT))
    assert float(alike.gap.abs().max()) < 1e-12
    assert alike.effective == pytest.approx(10 * K)


def test_the_tangent_bound_is_its_formula():
    """1 - log c - p / c, c each half in turn, and c times the mean of the others for some images.

    Of two images with orders of heavy tails no side is crossed in expectation, to 1e-12. Kills: a
    scale that has seen the image's own weights, which crosses it; weights of a half by its own c.
    """
    draw = torch.Generator().manual_seed(1)
    nats = 2 * torch.randn(2, 3, 1, generator=draw, dtype=FLOAT) + 70
    p, one = (-nats[..., 0]).exp().mean(1), two_sides(nats)
    tangent = (1 - p.log() - p.flip(0) / p).mean()
    assert float((one.weighted.mean(0) - one.gap)[0]) == pytest.approx(float(tangent), rel=1e-12)
    weights = (-nats[..., 0]).exp() / p.flip(0)[:, None]
    effective = float(weights.sum() ** 2 / weights.square().sum())
    assert one.effective == pytest.approx(effective, rel=1e-9)
    heavy = torch.tensor([[0.0, 0.5], [9.0, 0.0], [9.0, 6.0], [9.0, 7.0]], dtype=FLOAT)
    exact, total = marginal(heavy), torch.zeros(2, dtype=FLOAT)
    pairs = list(product(range(4), repeat=4))
    for a, b, c, d in pairs:
        drawn = torch.stack([torch.stack([heavy[a, 0], heavy[b, 1]]),
                             torch.stack([heavy[c, 0], heavy[d, 1]])])  # fmt: skip
        sides = two_sides(drawn[:, None])
        total += (sides.weighted.mean(0) - sides.gap) / len(pairs)
    assert bool((total <= exact + 1e-12).all())


@pytest.mark.parametrize("calls", [4, 2])
def test_every_path_is_an_order_of_the_model(calls):
    """Each -log p is that of one of 24 orders in its groups, to float32's rounding of log pi.

    The figures hold what is enumerated, |z| < 4. Kills: a call that sees its own group; one order
    for both halves."""
    model = in_any_order(model_of(4, size=0.5)).every(calls)
    draw = torch.Generator().manual_seed(0)
    x = torch.randint(0, LEVELS, (40, 4), generator=draw)
    images = as_images(x.reshape(-1, 1, 1, 4), n=LEVELS)
    evaluator = Evaluator([model], images)
    with measuring([model]):
        drawn = nats_of_orders(evaluator, 8)
    listed = every_order(model, x, 4 // calls)
    away = (drawn.flatten(0, 1)[:, None] - listed).abs().min(1).values
    assert float(away.max()) < 1e-5
    assert not bool((drawn[0] == drawn[1]).all(0).any())
    result, exact = nelbo.order_bounds(model, images, orders=8), marginal(listed)
    assert result.network_evaluations == 2 * 8 * calls * 40
    data, noise = result.bound
    assert abs(data.mean - float(listed.mean())) < 4 * noise.se
    assert result.below is not None
    low, noise = result.below
    assert low.mean - 4 * noise.se < float(exact.mean())
    assert float(exact.mean()) < result.total.mean + 4 * result.monte_carlo.se
    assert low.mean < result.total.mean < data.mean
    again = nelbo.order_bounds(model, images, orders=8, batch_size=7)
    assert again.total.mean == pytest.approx(result.total.mean, rel=1e-12)


def test_a_tail_that_is_too_heavy_is_refused():
    """Below 50 effective weights nothing stands from below, to people and programs. Kills: a figure
    that one order decides; a sample size of images in place of weights."""
    images = as_images(torch.tensor([[[[0, 1, 2, 3]]]]), n=LEVELS)
    few = nelbo.order_bounds(model_of(4), images, orders=2)
    assert few.effective <= 4
    assert few.below is None
    assert "refused: effective sample size" in str(few)
    assert "nothing is known from below" in few.headline
    tree = json.loads(few.to_json())
    assert tree["from_below"] is None
    assert tree["schema"] == "nelbo.order_bounds/1"
    many = nelbo.order_bounds(model_of(4, size=0.3), images, orders=64)
    assert many.effective > 50
    assert many.below is not None
    assert many.below[1].se is None  # of one image no spread is known
    assert "is between" in many.headline
    with pytest.raises(BadInput, match="is of one order, whose -log p is exact"):
        nelbo.order_bounds(in_order(model_of(4), read_order("raster", (1, 1, 4)), 2), images)
    with pytest.raises(BadInput, match="orders must be a whole number, at least 1; got 0"):
        nelbo.order_bounds(model_of(4), images, orders=0)


class Flat(nn.Module):
    """All symbols alike."""

    def forward(self, ids):
        return torch.zeros(*ids.shape, 6)


def test_text_is_measured_in_its_own_unit_and_shown_symbols_are_free():
    """A flat network has log 5 for each symbol that counts, from both sides. Kills: a gap where all
    orders are alike; symbols that are shown and counted."""
    model = nelbo.wrap_categorical(Flat(), vocabulary=6, mask=5, time_input=None, shape=(3,))
    ids = torch.tensor([[0, 1, 2], [-1, 3, 4]]).repeat(30, 1)
    result = nelbo.order_bounds(model, as_tokens(ids, n=6), orders=2)
    nats = torch.tensor([3.0, 2.0]).mean().item() * math.log(5)
    assert result.below is not None
    for figure in (result.total, result.bound[0], result.below[0]):
        assert figure.mean == pytest.approx(nats, rel=1e-6)
    assert result.unit.name == "nats/token"
    assert "sampling of windows" in str(result)
