"""Two models on the same images, times and noise, against closed forms and against each apart."""

import functools
import json
import math

import numpy as np
import pytest
import torch
from torch import nn

import nelbo as package
from linear_bound import Betas, closed_form, reading
from nelbo import formats
from nelbo.data import Images, load
from nelbo.errors import BadInput, NonFinite
from nelbo.tasks.compare import compare
from nelbo.tasks.evaluate import evaluate

BETAS = np.linspace(1e-3, 0.1, 200)


class Scaled(nn.Module):
    """eps-hat = u x_t + w."""

    def __init__(self, u, w=0.0):
        super().__init__()
        self.u, self.w = nn.Parameter(torch.tensor(u)), w

    def forward(self, x_t, t):
        return self.u * x_t + self.w


def scaled(u, w=0.0, **changes):
    choices = {"predicts": "eps", "variance": "small", "time_input": "index"}
    choices |= {"schedule": BETAS.tolist(), "shape": (1, 8, 8), "levels": 17}
    return package.wrap(Scaled(u, w), **(choices | changes))


@functools.cache
def digits(count=30):
    return load("digits:test").first(count)


def truth(u, w=0.0, steps=None):
    """The bound of each image in nats."""
    chain = Betas.kept(BETAS, steps)
    V, (A, B) = chain.variance("small"), reading("eps", chain, u, w)
    return np.array([sum(closed_form(chain, V, A, B, x.numpy(), 17)) for x in digits().levels])


@pytest.mark.parametrize("steps", [None, 50], ids=["paired", "chains of different lengths"])
def test_the_difference_of_two_linear_networks_is_its_closed_form(steps):
    """Kills: a difference of the wrong sign, of other images, weighted twice."""
    a, b = scaled(0.6, 0.1), scaled(0.7)
    kept = None
    if steps is not None:
        kept = [-(-200 * i // steps) for i in range(1, steps + 1)]
        b = b.keeping(kept)
    of_a, of_b = truth(0.6, 0.1), truth(0.7, steps=kept)
    expected = (of_a - of_b).mean()
    zs = []
    for seed in range(6):
        result = compare(a, b, digits(), budget=2 * 30 * 16, seed=seed)
        assert result.total.mean == result.monte_carlo.mean
        zs.append((result.monte_carlo.mean - expected) / result.monte_carlo.se)
        assert result.a.total.mean == pytest.approx(of_a.mean(), rel=0.1)
        assert result.b.total.mean == pytest.approx(of_b.mean(), rel=0.1)
    assert max(map(abs, zs)) < 4
    assert abs(sum(zs)) < 4 * math.sqrt(len(zs))
    assert result.estimator["paired"] == (["images"] if steps else ["images", "times", "noise"])


def test_a_model_against_itself_is_exactly_0_with_no_interval(run):
    """Kills: noise of its own for each model, a difference of two rounded means."""
    first, second = formats.load(run), formats.load(run)
    for other in (first, second):
        for options in ({"budget": 2 * 20 * 12}, {"precision": 0.5}):
            result = compare(first, other, digits(20), **options)
            assert result.bits_per_dim == 0
            assert result.total.interval() == result.monte_carlo.interval() == (0, 0)
            assert result.to_dict()["ci95"] == result.to_dict()["ci95_monte_carlo"] == [0, 0]
            assert result.variance_saved == 1


def test_a_minus_b_is_the_opposite_of_b_minus_a(run):
    a, b = formats.load(run), formats.load(run, weights="raw")
    pairs = [(a, b), (scaled(0.6), scaled(0.7)), (scaled(0.6), scaled(0.7).every(50))]
    for first, second in pairs:
        one = compare(first, second, digits(20), budget=2 * 20 * 12)
        other = compare(second, first, digits(20), budget=2 * 20 * 12)
        assert other.bits_per_dim == pytest.approx(-one.bits_per_dim, rel=1e-9)
        assert other.total.se == pytest.approx(one.total.se, rel=1e-9)
        assert other.monte_carlo.se == pytest.approx(one.monte_carlo.se, rel=1e-9)
        for side, same in ((other.a, one.b), (other.b, one.a)):
            assert side.total.mean == pytest.approx(same.total.mean, rel=1e-9)
            assert side.monte_carlo.se == pytest.approx(same.monte_carlo.se, rel=1e-9)
        assert other.network_evaluations == one.network_evaluations


def test_it_agrees_with_two_exhaustive_evaluations(run):
    """Kills: a paired estimate that is biased where both apart are not."""
    a, b = (formats.load(run, weights=w).every(100) for w in ("ema", "raw"))
    result = compare(a, b, digits(20), budget=2 * 20 * 40)
    # at the same noise the two exhaustive errors are common but for the difference
    alone = [evaluate(m, digits(20), exhaustive=True, seed=5) for m in (a, b)]
    difference = alone[0].per_image.total - alone[1].per_image.total
    noise = math.hypot(result.monte_carlo.se, float(difference.std()) / math.sqrt(20))
    assert abs(result.monte_carlo.mean - float(difference.mean())) < 4 * noise
    for side, apart in zip((result.a, result.b), alone, strict=True):
        error = math.hypot(side.monte_carlo.se, apart.monte_carlo.se)
        assert abs(side.monte_carlo.mean - apart.monte_carlo.mean) < 4 * error


def test_pairing_makes_the_interval_of_similar_models_far_narrower(run):
    """Kills: noise of its own for each model, which leaves the sum of both variances."""
    a, b = formats.load(run), formats.load(run)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in b.network.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter += 0.01 * parameter.std(correction=0) * noise
    result = compare(a, b, digits(), budget=2 * 30 * 20)
    for paired, one, other in (
        (result.total, result.a.total, result.b.total),
        (result.monte_carlo, result.a.monte_carlo, result.b.monte_carlo),
    ):
        assert 0 < 3 * paired.se < math.hypot(one.se, other.se)
    unpaired = result.a.total.se**2 + result.b.total.se**2
    assert result.variance_saved == pytest.approx(1 - result.total.se**2 / unpaired, rel=1e-12)


def test_models_or_data_that_do_not_fit_are_refused(run):
    a = scaled(0.6)
    with pytest.raises(BadInput, match=r"of different data: .*\(1, 8, 8\) on .*\(1, 4, 4\) on"):
        compare(a, scaled(0.6, shape=(1, 4, 4)), digits())
    with pytest.raises(BadInput, match=r"of different data: .*n=17.*n=16"):
        compare(a, scaled(0.6, levels=16), digits())
    with pytest.raises(BadInput, match="the model is of 17 levels, grey has 256"):
        compare(a, a, Images("grey", None, torch.zeros(1, 1, 8, 8, dtype=torch.uint8), 256))
    with pytest.raises(BadInput, match=r"shape \(1, 8, 8\); got \(1, 8, 9\)"):
        compare(a, a, torch.zeros(1, 1, 8, 9, dtype=torch.uint8))
    for precision in (0.0, math.nan):
        with pytest.raises(BadInput, match=f"precision must be .*; got {precision}"):
            compare(a, a, digits(), precision=precision)
    with pytest.raises(BadInput, match="starts at 240 evaluations; got 239"):
        compare(a, a, digits(), budget=239)
    with pytest.raises(NonFinite, match="rank 0"):
        compare(a, scaled(math.nan), digits(), budget=300)


def test_a_record_answers_for_both_models(tmp_path):
    """Also where they are asked apart. Kills: two models that share one record's batches."""
    for number, other in enumerate((scaled(0.7), scaled(0.7).every(50))):
        one = scaled(0.6)
        options = {"budget": 2 * 30 * 6, "record": tmp_path / str(number), "check": False}
        first = compare(one, other, digits(), **options).to_dict()
        for model in (one, other):
            model.network.forward = None  # must not be asked again
        second = compare(one, other, digits(), **options).to_dict()
        for tree in (first, second):
            del tree["seconds"], tree["content_sha256"]
        assert first == second


def test_the_command_compares_two_weights_of_one_run(nelbo, run, tmp_path):
    """Kills: --weights-b for both models, or for neither."""
    common = ("compare", run, run, "--max-images", "10", "--budget", "200")
    sides = {}
    for chosen in (("ema", "raw"), ("raw", "ema"), ("raw",), ()):
        options = [
            x for pair in zip(("--weights", "--weights-b"), chosen, strict=False) for x in pair
        ]
        code, out, _ = nelbo(*common, *options, "--json", "-")
        assert code == 0
        tree = json.loads(out)
        sides[chosen] = [tree[side]["model"]["weights"] for side in ("a", "b")]
        assert (tree["bits_per_dim"] == 0) == (len(chosen) < 2)
        assert (tree["a"]["model"]["sha256"] == tree["b"]["model"]["sha256"]) == (len(chosen) < 2)
    assert sides == {
        ("ema", "raw"): ["ema", "raw"],
        ("raw", "ema"): ["raw", "ema"],
        ("raw",): ["raw", "raw"],
        (): ["ema", "ema"],
    }
    assert set(tree) == {
        "schema", "bits_per_dim", "ci95", "ci95_monte_carlo", "variance_saved", "a", "b", "images",
        "dims", "network_evaluations", "seconds", "estimator", "data", "environment", "command",
        "warnings", "verdict", "better", "content_sha256",
    }  # fmt: skip


def test_it_is_a_function_of_the_package(run):
    model = formats.load(run)
    assert package.compare(model, model, digits(9), budget=2 * 9 * 4).bits_per_dim == 0
    assert isinstance(package.compare(model, model, digits(9), budget=72), package.Comparison)
