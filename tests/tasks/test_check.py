"""The examination: which words fit a network, found from its errors alone."""

import json
import math
import re

import pytest
import torch

import nelbo
from kinds_of_network import EPS, KINDS
from nelbo.errors import BadInput, NonFinite
from nelbo.tasks.check.examination import EACH, KEPT, _draws
from nelbo.tasks.check.rounds import BLOCK, FIRST, LAST, LIMIT, ROUNDS, USUAL, blocks
from nelbo.tasks.check.search import Draws, Remembered
from nelbo.tasks.check.words import conventions, least_apart

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


def test_the_words_of_a_network_on_a_path_are_searched_with_the_network_itself():
    """Kills: readings of what the stated path makes of (x_t, log SNR), none of which is right."""
    words = dict(KINDS["flow, data at 1"].words)
    of_data = {"shape": SHAPE, "levels": LEVELS}
    stated = nelbo.wrap(
        exact(KINDS["flow, data at 1"]), **{**words, "time_input": "1 - t"}, **of_data
    )
    report = nelbo.check(stated, data())
    assert "stated: time_input 1 - t; with time_input t" in report.verdict()
    assert {key: report.best[0].words[key] for key in words} == words


def test_index_and_t_differ_at_the_first_steps():
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


def seen(network):
    """The network, and the rows that it is called with so far."""
    rows = [0]

    def counting(x, time):
        rows[0] += len(x)
        return network(x, time)

    return counting, rows


ALIKE = {  # networks of which no reading is far behind, or all fail at an end
    "nothing": lambda x, t: torch.zeros_like(x),
    "noise": lambda x, t: 3 * torch.sin(1e4 * x),
    "exact": exact(EPS),
}


@pytest.mark.parametrize("name", ALIKE)
@pytest.mark.parametrize("stated", [True, False])
def test_no_examination_takes_more_than_10_000_evaluations(name, stated):
    """And the number that it gives is that of the rows which the network saw.

    Kills: a last round of as many images as ever; evaluations of the stated words left out.
    """
    network, rows = seen(ALIKE[name])
    if stated:
        report = nelbo.check(wrapped(network), data(600))
    else:
        report = nelbo.check(network, data(600), shape=SHAPE, levels=LEVELS)
    assert rows[0] <= LIMIT == 10_000
    assert report.network_evaluations == rows[0]
    if name == "nothing" and stated:
        assert rows[0] > LIMIT - 5 * 16 * 14  # less than another block is left


def test_the_rounds_before_the_last_leave_evaluations_for_it():
    """By construction: as many as there are inputs that differ, if nothing at all is shared."""
    inputs = {
        repr({key: value for key, value in words.items() if key != "predicts"})
        for words in conventions(1000, True, "small")
    }
    (images, snrs, kept), (more, at, last) = ROUNDS
    first = len(inputs) * (images * snrs + 2)
    second = kept * (more * at + 2)
    stated = EACH * USUAL + KEPT + images * snrs + 2
    block = (last + 1) * BLOCK * (LAST + FIRST)
    assert first + second + stated + block + KEPT + 2 <= LIMIT


def test_a_call_that_failed_is_not_made_again():
    """Kills: three calls for three predictions of a network that refuses its time."""
    calls = []

    def network(x, t):
        calls.append(len(x))
        raise IndexError("a table of 0..999")

    remembered = Remembered(network)
    for _ in range(3):
        with pytest.raises(IndexError, match="a table"):
            remembered(torch.ones(3, 1, 2, 2), torch.arange(3))
    assert remembered.evaluations == sum(calls) == 3


def test_a_reading_that_is_far_behind_takes_no_more_images():
    """Those that are left have intervals below .05; the others are behind by five half-widths and
    more, and their part stands beside that of the best on all images.

    Kills: a part of 16 images beside one of 64.
    """
    network = exact(KINDS["flow, noise at 1, 1000 t"])
    report = nelbo.check(network, data(200), shape=SHAPE, levels=LEVELS)
    best, *rivals = report.best
    assert best.images == report.images >= 64
    assert any(row.images < report.images for row in rivals)
    for row in rivals:
        assert row.half < 0.05 if row.images == report.images else row.above > 5 * row.half
        assert row.part == pytest.approx(best.part + row.above, rel=1e-6)
    assert f", on {min(row.images for row in rivals)} images" in str(report)


def test_each_block_of_images_has_its_own_noise():
    """Kills: one noise for all blocks, whose intervals would be too narrow."""
    model = wrapped(exact(EPS))
    first, second = (_draws(data(64), model, 0, each, 4) for each in blocks(32))
    assert first.eps.shape == second.eps.shape == (4, 16, 9)
    assert not torch.isclose(first.eps, second.eps).any()


def refusing(x, time):
    if (time > 999).any():
        raise IndexError("a table of 0..999")
    return exact(EPS)(x, time)


def empty_at(is_empty):
    """The exact network, but for NaN at these times."""
    return lambda x, time: torch.where(
        is_empty(time)[:, None, None, None], torch.nan, exact(EPS)(x, time)
    )


@pytest.mark.parametrize(
    ("network", "time_input", "why", "measured"),
    [
        (refusing, "t", "no number by what is stated: a table of 0..999", False),
        (empty_at(lambda t: t != t.round()), "fraction", "x0-hat is NaN or infinite", False),
        (empty_at(lambda t: t > 999), "t", "not finite at t = 1000 .* gave NaN or infinity", True),
    ],
)
def test_stated_words_that_give_no_number_are_a_finding(network, time_input, why, measured):
    """In the search, at an end of the chain, or in the evaluation alone.

    Kills: NonFinite before the search, which says what the words should be.
    """
    stated = wrapped(network, time_input=time_input)
    report = nelbo.check(stated, data())
    assert not report.passes
    assert not report.agrees
    assert report.best[0].words["time_input"] == "index"
    assert re.search(why, report.warnings[0])
    with_index = f"stated: time_input {time_input}.*with time_input index"
    assert re.search(with_index, report.verdict())
    assert (report.stated.part is not None) == measured
    assert ("which gives no number" in report.verdict()) != measured
    tree = json.loads(report.to_json())
    assert tree["passes"] is False
    assert ("stated none" in str(report)) != measured
    with pytest.raises((nelbo.BadInput, NonFinite)):  # nothing else was tried
        nelbo.check(stated, data(), search=False)


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
