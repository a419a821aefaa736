"""The examination: which words fit a network, found from its errors alone."""

import json
import math

import pytest
import torch

import nelbo
from kinds_of_network import EPS, KINDS
from nelbo.errors import BadInput
from nelbo.tasks.check.search import Draws, Remembered
from nelbo.tasks.check.words import least_apart

torch.set_num_threads(1)

SHAPE, LEVELS, COUNT = (1, 3, 3), 17, 12
LEVEL = torch.randint(0, LEVELS, (COUNT, *SHAPE), generator=torch.Generator().manual_seed(3))
PICTURES = 2 * LEVEL.double().flatten(1) / (LEVELS - 1) - 1  # on [-1, 1]


def data(count=80):
    """Each of a few pictures, many times: far from what an affine function knows."""
    return nelbo.data.Images("pictures", None, LEVEL[torch.arange(count) % COUNT], LEVELS)


def expected(z, root):
    """E[x_0 | z = root x_0 + eps], x_0 on [-1, 1]."""
    distance = (z[:, None] - root[:, None, None] * PICTURES).square().sum(2)
    return torch.softmax(-0.5 * distance, 1) @ PICTURES


def exact(kind):
    """The denoiser of a kind for these pictures."""
    low, high = kind.range
    middle, half = (low + high) / 2, (high - low) / 2

    def network(x, time):
        a, s, factor = (value[:, None] for value in kind.at(time.double()))
        z = x.double().flatten(1) / factor
        x_0 = middle + half * expected((z - a * middle) / s, (half * a / s)[:, 0])
        eps = (z - a * x_0) / s
        result = kind.output(x_0, eps, a, s).reshape(x.shape).to(x.dtype)
        return torch.cat([result] + [torch.zeros_like(result)] * (kind.channels - 1), 1)

    return network


@pytest.mark.parametrize("name", KINDS)
def test_the_words_of_a_network_are_identified(name):
    """Kills: a prediction taken for another, time in another unit, a range not looked at."""
    network = exact(KINDS[name])
    report = nelbo.check(network, data(), shape=SHAPE, levels=LEVELS)
    assert report.is_denoiser
    assert report.network_evaluations <= 10_000
    model = eval(report.call, {"nelbo": nelbo, "network": network})
    levels = LEVEL[:4]
    x_0 = model.x_0(levels).double()
    half = (model.grid.hi - model.grid.lo) / 2
    middle = (model.grid.hi + model.grid.lo) / 2
    eps = torch.randn(x_0.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for wanted in (4.0, 0.0, -3.0):
        t = int(1 + (model.log_snr[1:] - wanted).abs().argmin())
        root = (model.log_snr[t] / 2).exp()
        x_t = model.log_snr[t].sigmoid().sqrt() * x_0 + (-model.log_snr[t]).sigmoid().sqrt() * eps
        guess = model.x_0_hat(model.chain.p, x_t.float(), torch.full((4,), t)).double()
        known = (root * (x_0 - middle) + eps).flatten(1)
        truth = middle + half * expected(known, (half * root).expand(4))
        error = (guess.flatten(1) - truth).square().mean().sqrt()
        assert error < 1e-3 * half


def wrapped(network, **changes):
    words = {
        "schedule": "linear",
        "predicts": "eps",
        "variance": "small",
        "time_input": "index",
        "shape": SHAPE,
        "levels": LEVELS,
    }
    return nelbo.wrap(network, **{**words, **changes})


def test_true_words_pass_and_wrong_ones_are_named():
    """Kills: a verdict that does not look at the search; a pairing of other images."""
    network = exact(EPS)
    right = nelbo.check(wrapped(network), data())
    assert right.agrees
    assert right.passes, right.warnings
    wrong = nelbo.check(wrapped(network, predicts="v"), data())
    assert not wrong.passes
    assert "stated: predicts v; with predicts eps" in wrong.verdict()
    assert wrong.stated.above > 4 * wrong.stated.half
    tree = json.loads(wrong.to_json())
    assert tree["schema"] == "nelbo.check/1"
    assert tree["passes"] is False
    assert math.isclose(tree["best"][0]["part"], wrong.best[0].part)


def test_index_and_t_are_told_apart_by_the_first_steps():
    """Which are not between the log SNRs of the search: of a network of no eps they are known.

    Kills: a difference of what lies between alone; another chain's first steps, another range's.
    """
    wrong = nelbo.check(wrapped(exact(EPS), time_input="t"), data())
    assert wrong.best[0].words["time_input"] == "index"
    assert not wrong.agrees
    assert wrong.stated.above > wrong.stated.part - wrong.best[0].part + 0.01

    for range_ in ((-1.0, 1.0), (0.0, 1.0)):
        draws = Draws.of(LEVEL, (), 3, 0)
        model = wrapped(lambda x, t: torch.zeros_like(x), range=range_, clip=None)
        shift = 2 * math.log((range_[1] - range_[0]) / 2)
        rise = float(model.log_snr[1]) + shift - 6
        want = 0.5 * rise / 2 * draws.eps[:2].square().sum((0, 2))  # SNR |x_0 - x0-hat|^2 = |eps|^2
        torch.testing.assert_close(draws.first_steps(model), want, rtol=1e-3, atol=0)


def test_a_network_that_knows_nothing_is_reported_to_know_nothing():
    """Kills: a best reading that is called right because it is best."""
    report = nelbo.check(lambda x, t: torch.zeros_like(x), data(), shape=SHAPE, levels=LEVELS)
    assert not report.is_denoiser
    assert not report.passes
    assert "untrained, of other data" in report.verdict()


def test_equal_inputs_are_evaluated_once():
    """Kills: an evaluation for each prediction of one output, one output for all times."""
    calls = []

    def network(x, t):
        calls.append(len(x))
        return x

    remembered = Remembered(network)
    x, t = torch.ones(3, 1, 2, 2), torch.arange(3)
    first = remembered(x, t)
    assert remembered(x.clone(), t.clone()) is first
    for other in (t.float(), t + 1):
        remembered(x, other)
    remembered(x + 1, t)
    assert remembered.evaluations == sum(calls) == 12


def test_what_cannot_be_checked_is_refused():
    network = exact(EPS)
    with pytest.raises(BadInput, match="needs shape="):
        nelbo.check(network, data())
    with pytest.raises(BadInput, match="search must be True"):
        nelbo.check(network, data(), shape=SHAPE, levels=LEVELS, search=False)
    with pytest.raises(BadInput, match="at least 16 images"):
        nelbo.check(wrapped(network), data(9))
    with pytest.raises(BadInput, match="leave them out"):
        nelbo.check(wrapped(network), data(), levels=LEVELS)
    with pytest.raises(BadInput, match="a model or a network"):
        nelbo.check(3, data())


def failing(x, time):
    raise AssertionError("this network takes a third input\nand says so in two lines")


def out_of_memory(x, time):
    raise torch.OutOfMemoryError("out of memory")


@pytest.mark.parametrize(
    ("network", "error", "why"),
    [
        (failing, BadInput, "takes a third input$"),
        (lambda x, time: x / 0 * 0, BadInput, "NaN or infinite"),
        (out_of_memory, torch.OutOfMemoryError, "out of memory"),
    ],
)
def test_a_network_that_fails_in_every_reading_is_refused_with_its_own_words(network, error, why):
    """Kills: the best of no readings; a memory that is full taken for a wrong reading."""
    with pytest.raises(error, match=why):
        nelbo.check(network, data(20), shape=SHAPE, levels=LEVELS)


def test_a_network_of_one_time_for_a_whole_batch_is_refused():
    """Kills: a search that does not notice, since it calls with many times at once."""
    network = exact(EPS)
    with pytest.raises(BadInput, match="one t for all"):
        nelbo.check(
            lambda x, t: network(x, t[:1].expand(len(t))), data(), shape=SHAPE, levels=LEVELS
        )


def test_a_reading_that_fails_at_an_end_of_its_chain_is_none():
    """Kills: the best between the ends, which a table of 1,000 times cannot be evaluated by."""

    def network(x, time):
        if (time > 999).any():
            raise IndexError("a table of 0..999")
        return exact(KINDS["t from 1"])(x, time)

    report = nelbo.check(network, data(), shape=SHAPE, levels=LEVELS)
    assert all(row.words["time_input"] != "t" for row in report.best)


def test_the_call_names_the_arguments_that_the_network_needs():
    """Kills: a call without them, which fails."""
    network = exact(EPS)
    arguments = {"factor": 1.0}

    def scaled(x, time, factor):
        return factor * network(x, time)

    report = nelbo.check(scaled, data(), shape=SHAPE, levels=LEVELS, arguments=arguments)
    names = {"nelbo": nelbo, "network": scaled, "arguments": arguments}
    model = eval(report.call, names)
    x_t = torch.zeros(1, *SHAPE)
    model.x_0_hat(model.chain.p, x_t, torch.ones(1, dtype=torch.long))


def test_only_two_forms_of_one_law_may_be_further_apart():
    """A model states its schedule by name, and a reading with its T: both are the same law.

    Kills: one difference for all pairs, under which t passes for index where vp-sde is as near.
    """
    linear, cosine = ({"schedule": {"name": name, "T": 1000}} for name in ("linear", "cosine"))
    sde, flows = {"path": "vp-sde"}, [{"path": {"name": "flow", "data_at": end}} for end in (0, 1)]
    assert least_apart(linear, {"schedule": "linear"}) == least_apart(sde, sde) == 1e-3
    assert least_apart(linear, sde) == least_apart(sde, linear) == 5e-3
    for one, other in ((linear, cosine), (cosine, sde), flows, ({}, linear)):
        assert least_apart(one, other) == 2e-3
