"""BitsPerDim: the mean over images, whatever batches, processes and casts they went through."""

import importlib
import pickle
import sys
from itertools import pairwise

import matplotlib.pyplot as plt
import pytest
import torch
from torchmetrics import MeanMetric, MetricCollection

import nelbo
from nelbo.errors import BadInput, NonFinite
from nelbo.metrics import BitsPerDim

NATS = torch.linspace(50, 150, 97, dtype=torch.float64).sin().exp() * 90
TERMS = {"L_T": 0.25 * NATS, "L_mid": 0.5 * NATS.flip(0), "L_0": NATS - 10}


@pytest.fixture(scope="module")
def evaluation():
    model = nelbo.wrap(
        lambda x_t, t: 0.5 * x_t,
        schedule={"name": "linear", "T": 50},
        predicts="eps",
        variance="large",
        time_input="index",
        data="digits:test",
    )
    return nelbo.evaluate(model, nelbo.data.load("digits:test").first(30), budget=300)


def part(first, last):
    """What the metric is given of images first..last-1."""
    return NATS[first:last], {name: term[first:last] for name, term in TERMS.items()}


def measured(*bounds, **settings):
    """A metric that saw the images between each two bounds as a batch."""
    metric = BitsPerDim(64, **settings)
    for first, last in pairwise(bounds):
        nats, terms = part(first, last)
        metric.update(nats, **terms)
    return metric


def floats(result):
    return {name: value.item() for name, value in result.items()}


WHOLE = floats(measured(0, 97).compute())


def test_it_is_the_figure_of_an_evaluation(evaluation):
    """Mean, standard error and terms. Kills: nats for bits, dims forgotten, se of n, not n - 1."""
    for given in (evaluation, evaluation.per_image):
        metric = BitsPerDim(dims=64)
        metric.update(given)
        tree = evaluation.to_dict()
        expected = {name: term["bits_per_dim"] for name, term in tree["terms"].items()}
        expected |= {
            "bits_per_dim": evaluation.bits_per_dim,
            "se": nelbo.results.bits_per_dim(evaluation.total.se, 64),
        }
        assert floats(metric.compute()) == pytest.approx(expected, rel=1e-12)


def test_nats_of_a_training_loss_are_taken_without_terms():
    """Kills: terms of 0 where none were given, a loss that keeps its graph."""
    nats = NATS[:8].clone().requires_grad_()
    result = BitsPerDim(64)(nats)
    assert set(result) == {"bits_per_dim", "se"}
    assert not result["bits_per_dim"].requires_grad
    bits = NATS[:8] / (64 * torch.tensor(2.0, dtype=torch.float64).log())
    expected = {"bits_per_dim": bits.mean().item(), "se": bits.std().item() / 8**0.5}
    assert floats(result) == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("bounds", [(0, 1, 97), (0, 32, 64, 96, 97), tuple(range(98))], ids=len)
def test_batches_of_any_size_give_the_same_figure(bounds):
    """Kills: H31, a mean of batch means."""
    assert floats(measured(*bounds).compute()) == pytest.approx(WHOLE, rel=1e-13)


@pytest.mark.parametrize("bounds", [(0, 48, 97), (0, 1, 97), (0, 10, 10, 97)], ids=str)
def test_processes_merge_to_the_figure_of_one(bounds):
    """Unequal shares, and one without an image. Kills: a mean of the processes' means (H31)."""
    shares = [
        measured(first, last) if first < last else BitsPerDim(64)
        for first, last in pairwise(bounds)
    ]
    states = [share.moments for share in shares]
    together = BitsPerDim(
        64, dist_sync_fn=lambda state, group: states, distributed_available_fn=lambda: True
    )
    nats, terms = part(*bounds[:2])
    together.update(nats, **terms)
    assert floats(together.compute()) == pytest.approx(WHOLE, rel=1e-13)
    assert torch.equal(together.moments, states[0])  # its own again, not everybody's twice

    first, *others = shares
    for other in others:
        first.merge_state(other)
    assert floats(first.compute()) == pytest.approx(WHOLE, rel=1e-13)


CASTS = {
    "to float32": lambda metric: metric.to(torch.float32),
    "to bfloat16": lambda metric: metric.to(torch.bfloat16),
    "half": lambda metric: metric.half(),
    "set_dtype": lambda metric: metric.set_dtype(torch.float16),
    "in a module": lambda metric: torch.nn.ModuleList([metric]).to(torch.float16),
}


@pytest.mark.parametrize("cast", CASTS.values(), ids=CASTS)
def test_no_cast_rounds_the_state(cast):
    """To the last bit, cached results and a state after a reset too. Kills: float32 sums."""
    metric = BitsPerDim(64)
    for start in (0, 30):
        cast(metric)
        metric.reset()
        for first, last in ((start, 50), (50, 97)):
            nats, terms = part(first, last)
            metric.update(nats, **terms)
            metric.compute()
            cast(metric)
        computed = metric.compute()
        assert all(value.dtype == torch.float64 for value in computed.values())
        assert floats(computed) == floats(measured(start, 50, 97).compute())


def test_a_spread_small_beside_the_mean_is_not_lost():
    """Kills: the sum of squares less the square of the sum, which has no digit left here."""
    metric = BitsPerDim(1)
    for _ in range(10):
        metric.update(1e9 + torch.tensor([0.0, 1.0], dtype=torch.float64))
    expected = nelbo.results.bits_per_dim((5 / 19 / 20) ** 0.5, 1)
    assert metric.compute()["se"].item() == pytest.approx(expected, rel=1e-12)
    metric.reset()
    metric.update(torch.full((3,), 0.1))
    assert metric.compute()["se"] == 0


def test_it_lives_in_a_collection_with_other_metrics():
    metrics = MetricCollection({"bound": BitsPerDim(64), "mean": MeanMetric()}, prefix="val/")
    metrics["bound"].update(*part(0, 97)[:1], **part(0, 97)[1])
    metrics["mean"].update(NATS)
    computed = metrics.compute()
    assert computed["val/bits_per_dim"].item() == WHOLE["bits_per_dim"]
    pair = MetricCollection({"of_64": BitsPerDim(64), "of_32": BitsPerDim(32)})
    for first, last in ((0, 5), (5, 97)):  # the two come to share their state
        pair.update(NATS[first:last])
    computed = pair.compute()
    assert computed["of_32_bits_per_dim"].item() == 2 * computed["of_64_bits_per_dim"].item()


def test_it_is_reset_copied_and_called_like_any_metric():
    """Kills: a batch's own value that is the running one, a state shared by copies."""
    metric = measured(0, 97)
    copies = [metric.clone(), pickle.loads(pickle.dumps(metric))]
    nats, terms = part(0, 10)
    assert floats(metric(nats, **terms)) == pytest.approx(floats(measured(0, 10).compute()))
    assert metric.moments[0].tolist() == [107] * 4
    for copy in copies:
        assert floats(copy.compute()) == WHOLE
    metric.reset()
    metric.update(nats, **terms)
    assert floats(metric.compute()) == pytest.approx(floats(measured(0, 10).compute()))
    assert metric.higher_is_better is metric.full_state_update is metric.is_differentiable is False
    one = BitsPerDim(64)(NATS[:1])
    assert one["se"].isnan()


def test_it_is_plotted():
    metric = measured(0, 97)
    for values in (None, metric.compute(), [metric.compute(), metric.compute()]):
        figure, axes = metric.plot(values)
        assert {text.get_text() for text in axes.get_legend().get_texts()} == set(WHOLE)
        plt.close(figure)


def test_what_is_no_bound_of_these_images_is_refused(evaluation):
    """One line each. Kills: H39, a NaN averaged; terms of half of the images as those of all."""
    metric = BitsPerDim(64)
    with pytest.raises(BadInput, match="seen no image"), pytest.warns(UserWarning, match="before"):
        metric.compute()
    for nats, terms, message in (
        (NATS[:2, None], {}, r"one per image; got \[\(2, 1\)\]"),
        (NATS[:0], {}, r"one per image; got \[\(0,\)\]"),
        (NATS[:2], {name: NATS[:3] for name in TERMS}, r"got \[\(2,\), \(3,\)\]"),
        (NATS[:2], {"L_0": NATS[:2]}, "all of L_T, L_mid, L_0 or none; got 1"),
    ):
        with pytest.raises(BadInput, match=message):
            metric.update(nats, **terms)
    with pytest.raises(NonFinite, match="NaN or infinity among 2 images"):
        metric.update(torch.tensor([1.0, torch.inf]))
    with pytest.raises(BadInput, match="images of 64 dimensions for a metric of 48"):
        BitsPerDim(48).update(evaluation)
    with pytest.raises(BadInput, match="at least 1 dimension; got dims = 0"):
        BitsPerDim(0)
    metric.reset()
    metric.update(NATS[:4])
    metric.update(NATS[4:6], **part(4, 6)[1])
    with pytest.raises(BadInput, match="terms of 2 of 6 images"):
        metric.compute()


@pytest.mark.parametrize(
    ("module", "missing", "command"),
    [
        ("nelbo.metrics", "torchmetrics", r"pip install 'nelbo\[metrics\]'"),
        ("nelbo.lightning", "lightning.pytorch", r"pip install 'nelbo\[lightning\]'"),
    ],
)
def test_without_the_extra_one_line_says_what_to_install(module, missing, command, monkeypatch):
    monkeypatch.setitem(sys.modules, missing, None)
    monkeypatch.delitem(sys.modules, module, raising=False)
    with pytest.raises(BadInput, match=command) as error:
        importlib.import_module(module)
    assert "\n" not in str(error.value)
