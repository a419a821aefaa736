"""Anybody's masked language model, measured by its ids, logits, and mask."""

import itertools
import math

import pytest
import torch
from torch import nn

import nelbo
from nelbo.categorical.orders import Order, read_order
from nelbo.data import Tokens, as_tokens, windows
from nelbo.errors import BadInput
from nelbo.model import in_order

torch.set_num_threads(1)

V, MASK, L = 5, 2, 3  # ids 0..4, of which 2 is the mask: four that are data
IDS = [v for v in range(V) if v != MASK]
EVERY = torch.tensor(list(itertools.product(IDS, repeat=L)))


class Net(nn.Module):
    """Logits (B, L, V) of all ids; an object with `.logits`, as transformers has it."""

    def __init__(self, as_object: bool = False) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(3)
        self.table = nn.Parameter(torch.randn(L, V, 7, generator=draw, dtype=torch.float64))
        self.out = nn.Parameter(torch.randn(7, L * V, generator=draw, dtype=torch.float64))
        self.as_object, self.seen = as_object, set()

    def forward(self, ids):
        self.seen |= set(ids.flatten().tolist())
        hidden = torch.tanh(self.table[torch.arange(L), ids].sum(1))
        logits = (hidden @ self.out).reshape(len(ids), L, V)
        return type("Output", (), {"logits": logits})() if self.as_object else logits


def wrapped(net=None, **options):
    choices = {"vocabulary": V, "mask": MASK, "time_input": None, "shape": (L,)} | options
    return nelbo.wrap_categorical(Net() if net is None else net, **choices)


@torch.no_grad()
def by_hand(x, order):
    """-log p in this order, one token a call, the mask's logit left out."""
    net, total, known = Net(), torch.zeros(len(x), dtype=torch.float64), torch.full_like(x, MASK)
    for place in order:
        logits = net(known)[:, place].clone()
        logits[:, MASK] = -math.inf
        total -= torch.log_softmax(logits, -1).gather(1, x[:, place, None])[:, 0]
        known[:, place] = x[:, place]
    return total


def nats(model, x) -> torch.Tensor:
    result = nelbo.evaluate(model, as_tokens(x, n=V), exhaustive=True)
    return result.per_image.total


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_an_order_of_tokens_is_that_of_calls_by_hand(order):
    """To 1e-6, float32's, and it adds up to 1 over all texts. Kills: the mask's own logit in the
    sum, our id of the mask for the network's."""
    net = Net(as_object=True)
    model = wrapped(net)
    one = in_order(model, Order("o", (L,), torch.tensor(order)), L)
    result = nats(one, EVERY)
    torch.testing.assert_close(result, by_hand(EVERY, order), rtol=1e-5, atol=1e-5)
    assert float((-result).exp().sum()) == pytest.approx(1, abs=1e-5)
    assert net.seen == set(range(V))


def test_the_bound_of_any_order_is_the_mean_over_orders():
    """Within 4 standard errors of the enumeration, with the units of the same sum. Kills: one order
    for all, a bound per position."""
    model, x = wrapped(), EVERY[::5]
    orders = torch.stack([by_hand(x, order) for order in itertools.permutations(range(L))])
    result = nelbo.evaluate(model, as_tokens(x, n=V), budget=200 * len(x))
    away = result.monte_carlo.mean - float(orders.mean())
    assert abs(away) < 4 * result.monte_carlo.se
    tree = result.to_dict()
    assert tree["unit"] == "nats/token"
    assert tree["nats_per_token"] == pytest.approx(result.total.mean / L, rel=1e-12)
    assert "bits_per_byte" not in tree
    assert tree["text_units"]["bits_per_byte"] is None
    assert tree["text_units"]["perplexity"] == pytest.approx(math.exp(result.total.mean / L))


@pytest.mark.parametrize("batch", [1, 7, 64])
def test_other_batches_give_the_same_number(batch):
    """Kills: noise by the row in a batch."""
    model, x = wrapped(), as_tokens(EVERY[::3], n=V)
    first = nelbo.evaluate(model, x, budget=12 * len(x))
    other = nelbo.evaluate(model, x, budget=12 * len(x), batch_size=batch)
    assert other.total.mean == pytest.approx(first.total.mean, rel=1e-6)


def test_a_continuation_is_measured_given_its_prompt():
    """-log p(x) = -log p(prompt) - log p(continuation | prompt), the prompt first. Kills: a prompt
    that is counted."""
    model = in_order(wrapped(), read_order("left-to-right", (L,)), L)
    x = EVERY[::9]
    given = x.clone()
    given[:, 0] = -1 - given[:, 0]
    whole, conditional = nats(model, x), nats(model, given)
    prompts = by_hand(EVERY, (0, 1, 2))
    each = [-(-prompts[EVERY[:, 0] == v]).logsumexp(0) for v in x[:, 0].tolist()]
    torch.testing.assert_close(whole, torch.stack(each) + conditional, rtol=1e-5, atol=1e-5)


def test_two_models_of_text_are_compared_window_by_window():
    """A model against itself is 0 exactly, in bits/byte. Kills: another unit for a difference."""
    text = windows(["abcabcaab", "cab"], context=3)
    net = lambda ids: torch.zeros(*ids.shape, 257)  # noqa: E731
    options = {"vocabulary": 257, "mask": 257, "time_input": None, "shape": (3,)}
    model = nelbo.wrap_categorical(net, **options)
    comparison = nelbo.compare(model, model, text, budget=400)
    tree = comparison.to_dict()
    assert (tree["bits_per_byte"], tree["unit"]) == (0.0, "bits/byte")
    assert "windows" in str(comparison)
    alone = nelbo.evaluate(model, text, exhaustive=True)
    assert alone.per_dim == pytest.approx(math.log2(257) * 14 / 12, rel=1e-6)  # two ends more


def test_a_model_of_tokens_draws_tokens_and_never_its_mask():
    samples = nelbo.sample(wrapped(), 40, seed=1)
    assert samples.shape == (40, L)
    assert set(samples.unique().tolist()) <= set(IDS)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"mask": None}, "needs mask="),
        ({"mask": 6}, r"mask is an id of 0..4, or 5"),
        ({"shape": None}, r"needs shape=\(length,\)"),
        ({"shape": (1, 2, 2)}, r"the shape of a window of tokens is \(length,\)"),
        ({"transition": "uniform"}, "whose chain is absorbing"),
        ({"levels": 5}, "leave schedule, levels"),
        ({"vocabulary": 4}, "the network must give 4 logits"),
    ],
)
def test_choices_that_make_no_model_of_tokens_are_refused(options, words):
    data = as_tokens(torch.zeros(4, L, dtype=torch.int64), n=options.get("vocabulary", V))
    with pytest.raises(BadInput, match=words):
        nelbo.evaluate(wrapped(**options), data)


def test_a_mask_inside_the_data_is_refused():
    """Kills: a text that holds the mask, measured as if it could be drawn."""
    x = torch.tensor([[0, 1, 3], [0, MASK, 1]])
    with pytest.raises(BadInput, match=r"window 1.*holds the symbol 2, which Net has for its"):
        nelbo.evaluate(wrapped(), as_tokens(x, n=V))


def test_an_order_that_is_no_permutation_is_refused():
    with pytest.raises(BadInput, match="1 stands in it more than once"):
        in_order(wrapped(), Order("o", (L,), torch.tensor([0, 1, 1])), L)


def test_text_passes_through_and_says_what_it_is():
    text = as_tokens(EVERY, n=V)
    assert as_tokens(text, n=V) is text
    assert isinstance(text.first(2), Tokens)
    with pytest.raises(BadInput, match="has 5 symbols; 4 were declared"):
        as_tokens(text, n=4)


def requests(*args):
    return [type("Instance", (), {"args": one})() for one in args]


class Bytewise(nn.Module):
    """Logits of 258 ids (257 the mask) by the sum of what is known, at any length."""

    def __init__(self) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(4)
        self.table = nn.Parameter(torch.randn(258, 258, generator=draw, dtype=torch.float64))

    def forward(self, ids):
        known = torch.where(ids[..., None] == 257, 0, self.table[ids]).sum(1, keepdim=True)
        return (known + torch.arange(ids.shape[1])[None, :, None] / 10 * self.table[0]).float()


@torch.no_grad()
def alone(ids, n):
    """log p of the last n ids, left to right, by calls of the network alone."""
    net, total = Bytewise(), 0.0
    for j in range(len(ids) - n, len(ids)):
        seen = torch.tensor([*ids[:j], *[257] * (len(ids) - j)])
        total += float(torch.log_softmax(net(seen[None])[0, j, :257], -1)[ids[j]])
    return total


def test_the_harness_gets_log_likelihoods_that_add_up():
    """loglikelihood is that of calls by hand, two parts add up to the whole where the network sees
    the same, and a rolling one is the sum of its pieces. Kills: a mask after the continuation, the
    context among what is counted, a remainder left out."""
    from nelbo.harness import Scorer

    scorer = Scorer(Bytewise(), vocabulary=258, mask=257, length=6, stride=4)
    ids = list(b"abcdef")
    result, greedy = scorer.loglikelihood(requests(("abc", "def")))[0]
    assert result == pytest.approx(alone(ids, 3), rel=1e-5)
    assert greedy is False
    rolling = scorer.loglikelihood_rolling(requests(("abcdefghij",)))[0]
    text = list(b"abcdefghij")
    parts = alone(text[:4], 4) + alone(text[2:8], 4) + alone(text[4:], 2)
    assert rolling == pytest.approx(parts, rel=1e-5)
    with pytest.raises(BadInput, match=r"a continuation has 1..6 tokens; got 0"):
        scorer.loglikelihood(requests(("a", "")))


def test_the_harness_adapter_is_one_of_its_models(monkeypatch):
    """With the harness's base class in its place. Kills: an adapter that the harness refuses."""
    import sys
    from types import ModuleType

    from nelbo.harness import harness_model

    monkeypatch.setitem(sys.modules, "lm_eval", None)
    with pytest.raises(BadInput, match="pip install lm-eval"):
        harness_model(Bytewise(), vocabulary=258, mask=257)
    base = type("LM", (), {})
    for name in ("lm_eval", "lm_eval.api", "lm_eval.api.model"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setattr(sys.modules["lm_eval.api.model"], "LM", base, raising=False)
    made = harness_model(Bytewise(), vocabulary=258, mask=257, length=6)
    assert isinstance(made, base)
    assert made.loglikelihood([("abc", "def")])[0][0] == pytest.approx(alone(list(b"abcdef"), 3))


def test_the_exact_side_of_a_comparison_at_every_t_has_no_noise(monkeypatch):
    """Law: a likelihood beside a bound is exact. Kills: noise that is read off neighbouring t."""
    monkeypatch.setitem(globals(), "L", 12)  # so many that neighbours say what noise there is
    net, draw = Net(), torch.Generator().manual_seed(0)
    texts = torch.tensor(IDS)[torch.randint(len(IDS), (20, L), generator=draw)]
    exact = in_order(wrapped(net), read_order("left-to-right", (L,)), L)
    bound = wrapped(net).every(L)
    assert (exact.T, exact.exact, bound.exact) == (bound.T, True, False)
    result = nelbo.compare(exact, bound, as_tokens(texts, n=V), exhaustive=True)
    assert result.a.monte_carlo.se == 0
    assert result.b.monte_carlo.se > 0
    assert result.monte_carlo.se > 0
    assert result.a.total.mean == pytest.approx(float(nats(exact, texts).mean()), rel=1e-12)
