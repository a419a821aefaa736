"""The examination: which words fit a network, found from its errors alone."""

import json
import math

import numpy as np
import pytest
import torch

import nelbo
from nelbo.errors import BadInput
from nelbo.tasks.check.search import Remembered

torch.set_num_threads(1)

SHAPE, LEVELS, KINDS = (1, 3, 3), 17, 12
LEVEL = torch.randint(0, LEVELS, (KINDS, *SHAPE), generator=torch.Generator().manual_seed(3))
PICTURES = 2 * LEVEL.double().flatten(1) / (LEVELS - 1) - 1  # on [-1, 1]


def data(count=80):
    """Each of a few pictures, many times: far from what an affine function knows."""
    return nelbo.data.Images("pictures", None, LEVEL[torch.arange(count) % KINDS], LEVELS)


def expected(z, root):
    """E[x_0 | z = root x_0 + eps], x_0 on [-1, 1]."""
    distance = (z[:, None] - root[:, None, None] * PICTURES).square().sum(2)
    return torch.softmax(-0.5 * distance, 1) @ PICTURES


def dressed(level_of, output, range_=(-1.0, 1.0)):
    """A network of somebody: (its input, its time) -> output, by formulas of the test's own.

    level_of: time -> (a, s, factor of z on entry); output: (x_0, eps, a, s, time) -> what it gives.
    """
    middle, half = sum(range_) / 2, (range_[1] - range_[0]) / 2

    def network(x, time):
        a, s, factor = (torch.as_tensor(v).double() for v in level_of(time.double()))
        z = x.double().flatten(1) / factor[:, None]
        known = (z - (a * middle)[:, None]) / s[:, None]
        x_0 = middle + half * expected(known, half * a / s)
        eps = (z - a[:, None] * x_0) / s[:, None]
        result = output(x_0, eps, a[:, None], s[:, None])
        return result.reshape(x.shape).to(x.dtype)

    return network


def betas(table):
    bar = torch.from_numpy(np.cumprod(1 - table))
    return lambda t: (bar[t.long() - 1].sqrt(), (1 - bar[t.long() - 1]).sqrt(), torch.ones(len(t)))


LINEAR = betas(np.linspace(1e-4, 0.02, 1000))
SCALED = betas(np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2)
EPS = lambda x_0, eps, a, s: eps  # noqa: E731
X_0 = lambda x_0, eps, a, s: x_0  # noqa: E731
V = lambda x_0, eps, a, s: a * eps - s * x_0  # noqa: E731


def edm(time):
    sigma = (4 * time).exp()
    return torch.ones(len(sigma)), sigma, (sigma**2 + 0.25) ** -0.5


DRESSES = {
    "eps, index": dressed(lambda t: LINEAR(t + 1), EPS),
    "v, t from 1, Stable Diffusion's betas": dressed(SCALED, V),
    "x_0, t/T, on [0, 1]": dressed(lambda t: LINEAR((t * 1000).round()), X_0, (0.0, 1.0)),
    "flow, noise at 1, 1000 t": dressed(
        lambda t: (1 - t / 1000, t / 1000, torch.ones(len(t))), lambda x_0, eps, a, s: eps - x_0
    ),
    "flow, data at 1": dressed(
        lambda t: (t, 1 - t, torch.ones(len(t))), lambda x_0, eps, a, s: x_0 - eps
    ),
    "EDM's F": dressed(
        edm,
        lambda x_0, eps, a, s: (
            (x_0 - 0.25 * (x_0 + s * eps) / (s**2 + 0.25)) * (s**2 + 0.25).sqrt() / (0.5 * s)
        ),
    ),
    "score, VE, on [0, 1]": dressed(
        lambda t: (torch.ones(len(t)), t, torch.ones(len(t))),
        lambda x_0, eps, a, s: -eps / s,
        (0.0, 1.0),
    ),
}


@pytest.mark.parametrize("dress", DRESSES)
def test_the_words_of_a_network_are_identified(dress):
    """Kills: a prediction taken for another, time in another unit, a range not looked at."""
    network = DRESSES[dress]
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
        assert error < 5e-3 * half


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
    network = DRESSES["eps, index"]
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


def test_a_network_that_knows_nothing_is_reported_to_know_nothing():
    """Kills: a best reading that is called right because it is best."""
    report = nelbo.check(lambda x, t: torch.zeros_like(x), data(), shape=SHAPE, levels=LEVELS)
    assert not report.is_denoiser
    assert not report.passes
    assert "untrained, of other data" in report.verdict()


def test_equal_inputs_are_evaluated_once():
    """Kills: an evaluation for each prediction of one output."""
    calls = []

    def network(x, t):
        calls.append(len(x))
        return x

    remembered = Remembered(network)
    x, t = torch.ones(3, 1, 2, 2), torch.arange(3)
    first = remembered(x, t)
    assert remembered(x.clone(), t.clone()) is first
    remembered(x, t.float())
    assert remembered.evaluations == sum(calls) == 6


def test_what_cannot_be_checked_is_refused():
    network = DRESSES["eps, index"]
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


def test_the_call_names_the_arguments_that_the_network_needs():
    """Kills: a call without them, which fails."""
    network = DRESSES["eps, index"]
    arguments = {"factor": 1.0}

    def scaled(x, time, factor):
        return factor * network(x, time)

    report = nelbo.check(scaled, data(), shape=SHAPE, levels=LEVELS, arguments=arguments)
    names = {"nelbo": nelbo, "network": scaled, "arguments": arguments}
    model = eval(report.call, names)
    x_t = torch.zeros(1, *SHAPE)
    model.x_0_hat(model.chain.p, x_t, torch.ones(1, dtype=torch.long))
