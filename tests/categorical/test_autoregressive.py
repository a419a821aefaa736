"""A network that reads from left to right: likelihood by enumeration, samples, what it sees."""

import itertools
import math

import pytest
import torch
from torch import nn

import nelbo
from nelbo.data import as_tokens
from nelbo.errors import BadInput
from nelbo.model import Settings, autoregressive_model, has_positions
from nelbo.networks.transformer import Transformer

torch.set_num_threads(1)

V, L = 3, 4
EVERY = torch.tensor(list(itertools.product(range(V), repeat=L)))


class Net(nn.Module):
    """Logits of a place by a table of how often each symbol stands before it."""

    def __init__(self) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(0)
        self.table = nn.Parameter(torch.randn(L, V + 1, V, generator=draw))

    def forward(self, x, time):
        before = nn.functional.one_hot(x, V + 1).float().cumsum(1).roll(1, 1)
        before[:, 0] = 0
        seen = (before[..., None] * self.table).sum(2) + self.table[:, V]
        return seen.flatten(1)


def model():
    return autoregressive_model(
        Net(), levels=V, shape=(L,), name="toy", settings=Settings(network={"name": "toy"})
    )


@torch.no_grad()
def by_hand(x, first=0):
    """-log p(x_first.. | what stands before), a place at a time, by calls with the rest hidden."""
    total = torch.zeros(len(x), dtype=torch.float64)
    for place in range(first, L):
        known = torch.where(torch.arange(L) < place, x, V)
        logits = Net()(known, None).reshape(len(x), L, V)[:, place].double()
        total -= torch.log_softmax(logits, -1).gather(1, x[:, place, None])[:, 0]
    return total


def test_the_likelihood_is_exact_by_one_call_and_adds_up_to_one():
    """Kills: a place that sees itself, a bound in the place of the likelihood, L calls for one."""
    result = nelbo.evaluate(model(), as_tokens(EVERY, n=V))
    nats = result.per_image.total
    torch.testing.assert_close(nats, by_hand(EVERY), rtol=1e-5, atol=1e-6)
    assert float((-nats).exp().sum()) == pytest.approx(1, abs=1e-5)
    assert result.network_evaluations == len(EVERY)
    assert "exact -log p in the order left-to-right" in str(result)
    assert not has_positions(model())


def test_a_continuation_is_measured_given_its_prompt():
    """Kills: a prompt that is counted, and one that is not seen."""
    x = EVERY[::5].clone()
    x[:, :2] = -1 - x[:, :2]
    result = nelbo.evaluate(model(), as_tokens(x, n=V))
    torch.testing.assert_close(result.per_image.total, by_hand(EVERY[::5], 2), rtol=1e-5, atol=1e-6)
    x = EVERY[:1].clone()
    x[:, 1] = -1 - x[:, 1]
    with pytest.raises(BadInput, match="shows symbols between those that are counted"):
        nelbo.evaluate(model(), as_tokens(x, n=V))


def test_samples_are_of_that_likelihood_and_keep_a_prompt():
    """The frequencies of all texts, chi-squared within 4 deviations. Kills: one uniform number for
    all places, a place that is drawn before those it depends on."""
    count = 4000
    drawn = nelbo.sample(model(), count, seed=3)
    number = (drawn * V ** torch.arange(L - 1, -1, -1)).sum(1)
    seen = torch.bincount(number, minlength=V**L).double()
    expected = count * (-by_hand(EVERY)).exp()
    chi = float(((seen - expected) ** 2 / expected).sum())
    freedom = V**L - 1
    assert abs(chi - freedom) < 4 * math.sqrt(2 * freedom + float((1 / expected).sum()))
    given = torch.tensor([-2, -3, 0, 0])
    kept = nelbo.sample(model(), 5, given=given)
    assert kept[:, :2].tolist() == [[1, 2]] * 5
    with pytest.raises(BadInput, match="does not see what follows a gap"):
        nelbo.sample(model(), 1, given=torch.tensor([0, -2, 0, 0]))


def test_a_causal_transformer_sees_what_stands_before_alone_with_as_many_weights():
    """Kills: a convolution, a pair or an attention that looks ahead, a place that sees itself."""
    sizes = {"K": 6, "n": 5, "length": 12, "width": 16, "layers": 2, "heads": 2, "dropout": 0.0}
    with torch.random.fork_rng():
        torch.manual_seed(1)
        nets = [Transformer(**sizes, pairs=3, causal=causal).eval() for causal in (True, False)]
    causal, other = nets
    assert sum(x.numel() for x in causal.parameters()) == sum(x.numel() for x in other.parameters())
    nn.init.normal_(causal.out.weight)
    x, time = torch.randint(5, (1, 12), generator=torch.Generator().manual_seed(2)), torch.ones(1)
    with torch.no_grad():
        first = causal(x, time).reshape(12, 5)
        for place in range(12):
            changed = x.clone()
            changed[0, place] = (x[0, place] + 1) % 5
            moved = (causal(changed, time).reshape(12, 5) - first).abs().amax(1)
            assert float(moved[: place + 1].max()) < 1e-5
            assert place == 11 or float(moved[place + 1]) > 1e-3


def test_the_recipe_trains_by_the_likelihood_itself():
    """Kills: a loss of masked places, a weight D/k."""
    changes = ["network.width=8", "network.layers=1", "network.heads=2", "network.pairs=1"]
    recipe = nelbo.recipe.read("text-ar", changes)
    made = nelbo.recipe.build(recipe, (6,), 257)
    text = nelbo.data.windows(["Hello, text."], context=6, stride=4)
    made.network.eval()
    loss = nelbo.loss(made, text).detach().double()
    torch.testing.assert_close(
        loss, nelbo.evaluate(made, text).per_image.total, rtol=1e-5, atol=1e-5
    )
    assert made.facts["order"]["name"] == "left-to-right"
