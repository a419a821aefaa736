"""Warnings: a network read by conventions that are not its own is warnings_of, and no other.

The network is the best denoiser of Gaussian data, known in closed form; its wrong readings are
those that people make.
"""

import json
import math

import numpy as np
import pytest
import torch
from scipy.stats import norm
from scipy.stats import t as student
from torch import nn

import nelbo as package
from nelbo import recipe
from nelbo.bound.estimators import Rows
from nelbo.data import as_images, load
from nelbo.errors import BadInput
from nelbo.estimation.excess import Excess
from nelbo.gaussian.along import Steps
from nelbo.gaussian.schedule import cosine, log_snr_linear
from nelbo.gaussian.yardstick import Yardstick
from nelbo.report.page.checks import State, checks
from nelbo.results.evaluation import Evaluation
from nelbo.results.unit import BITS
from nelbo.results.warnings import of_figure
from nelbo.types import Grid, Reals

T = 100
GRID = Grid(65)
CHOICES = {
    "schedule": {"name": "log-snr-linear", "T": T},
    "predicts": "x_0",
    "variance": "small",
    "time_input": "t",
    "shape": (1, 4, 4),
    "levels": 65,
}
AFFINE = "worse than an affine function"


def covariance():
    """Of 16 numbers: near ones are alike."""
    place = torch.arange(16, dtype=torch.float64)
    return 0.15**2 * torch.exp(-(place[:, None] - place).abs() / 3)


@pytest.fixture(scope="module")
def images():
    """80 draws, rounded to 65 levels on (-1, 1)."""
    normal = torch.randn(80, 16, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    values = 0.1 + normal @ torch.linalg.cholesky(covariance()).T
    return as_images(GRID.levels(values).reshape(-1, 1, 4, 4), n=65)


class Denoiser(nn.Module):
    """E[x_0 | x_t] of these data, told t = 1..T."""

    def __init__(self, schedule=None):
        super().__init__()
        self.mean = torch.full((16,), 0.1, dtype=torch.float64)
        self.schedule = schedule or log_snr_linear(T)
        self.variance, self.axes = torch.linalg.eigh(covariance())
        self.scale, self.spoilt_at = 1.0, ()

    def forward(self, x_t, t):
        x, t = x_t.double().flatten(1), t.clamp(1, self.schedule.T)
        alpha_bar = self.schedule.alpha_bar[t][:, None]
        root = alpha_bar.sqrt()
        gain = root * self.variance / (1 - alpha_bar + alpha_bar * self.variance)
        result = self.mean + (gain * ((x - root * self.mean) @ self.axes)) @ self.axes.T
        for bad in self.spoilt_at:
            result = torch.where(t[:, None] == bad, self.scale * self.mean, result)
        return result.reshape(x_t.shape).to(x_t)


def warned(result, word):
    return [warning for warning in getattr(result, "warnings", ()) if word in warning]


MODES = ({"budget": 80 * 24}, {"exhaustive": True})


@pytest.mark.parametrize("mode", MODES)
def test_a_network_that_is_read_rightly_is_not_doubted(images, mode):
    """Kills: a denoiser that knows the very images that are measured."""
    result = package.evaluate(package.wrap(Denoiser(), **CHOICES), images, **mode)
    assert list(result.warnings) == []
    assert result.to_dict()["warnings"] == []


WRONG = {
    "time": {"time_input": lambda schedule, t: schedule.T + 1 - t},
    "half of the time": {"time_input": lambda schedule, t: (t + 1) // 2},
    "prediction": {"predicts": "v"},
    "schedule": {"schedule": {"name": "cosine", "T": T}},
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", WRONG)
def test_a_network_that_is_read_wrongly_is_doubted(images, name, mode):
    """Kills: an excess that no row adds to, a z of the wrong sign."""
    result = package.evaluate(package.wrap(Denoiser(), **CHOICES | WRONG[name]), images, **mode)
    assert warned(result, AFFINE) or warned(result, "is more than log2(65)")
    assert f"warning: {result.warnings[0]}" in str(result)


def test_a_subtle_error_is_seen_below_log2_of_the_levels(images):
    """Half of the time: a bit and a half too much, and nothing else says so."""
    model = package.wrap(Denoiser(), **CHOICES | WRONG["half of the time"])
    result = package.evaluate(model, images, budget=80 * 24)
    assert result.bits_per_dim < math.log2(65)
    assert warned(result, AFFINE)


def test_at_t_1_alone_no_network_is_doubted(images):
    """L_0 is no part of the comparison, nor is a t that holds less than a twentieth."""
    network = Denoiser()
    network.spoilt_at = (1,)
    clean = package.evaluate(package.wrap(Denoiser(), **CHOICES), images, exhaustive=True)
    result = package.evaluate(package.wrap(network, **CHOICES), images, exhaustive=True)
    assert result.terms["L_0"][0].mean > clean.terms["L_0"][0].mean
    assert not warned(result, AFFINE)


@pytest.mark.parametrize("size", [(2, 3), (4, 6)], ids=["as many rows", "wide"])
def test_the_yardstick_is_the_affine_denoiser_of_the_other_half(size):
    """By dense algebra of its own. Kills: an image in its own denoiser, another shrinkage."""
    generator = torch.Generator().manual_seed(1)
    levels = torch.randint(0, 9, (12, 1, *size), generator=generator)
    schedule, grid = cosine(20), Grid(9)
    yardstick = Yardstick.of(Steps(schedule), grid, levels)
    x_0 = grid.values(levels, torch.float64)
    t = torch.arange(2, 14)
    image = torch.arange(12)
    eps = torch.randn(x_0.shape, generator=generator, dtype=torch.float64)
    alpha_bar = schedule.alpha_bar[t].reshape(-1, 1, 1, 1)
    x_t = alpha_bar.sqrt() * x_0 + (1 - alpha_bar).sqrt() * eps
    result = yardstick.excess(x_0, x_t, t, image, torch.zeros(12, dtype=torch.float64))
    for i in range(12):
        others = x_0.flatten(1)[yardstick.half != yardstick.half[i]].numpy()
        n, D = others.shape
        S = np.cov(others.T)
        tr, sq = np.trace(S), np.trace(S @ S)
        r = min(1, ((1 - 2 / D) * sq + tr**2) / ((n + 1 - 2 / D) * (sq - tr**2 / D)))
        S = (1 - r) * S + r * tr / D * np.eye(D)
        a = float(schedule.alpha_bar[t[i]])
        gain = math.sqrt(a) * S @ np.linalg.inv(a * S + (1 - a) * np.eye(D))
        mean = others.mean(0)
        guess = mean + gain @ (x_t[i].flatten().numpy() - math.sqrt(a) * mean)
        error = ((x_0[i].flatten().numpy() - guess) ** 2).sum()
        before = float(schedule.alpha_bar[t[i] - 1])
        weight = 0.5 * (before / (1 - before) - a / (1 - a))
        assert float(result[i]) == pytest.approx(-weight * error, rel=1e-9)
    assert sorted(yardstick.half.tolist()) == [0] * 6 + [1] * 6
    assert Yardstick.of(Steps(schedule), grid, levels[:7]) is None


def test_a_yardstick_leaves_the_points_as_they_are():
    """Kills: data that are centred in place by what they are measured by."""
    points = torch.randn(12, 3, generator=torch.Generator().manual_seed(0)).double() + 5
    before = points.clone()
    assert Yardstick.of(Steps(log_snr_linear(9, 6.0, -6.0)), Reals(), points) is not None
    assert torch.equal(points, before)


def test_z_is_that_of_student_and_the_range_is_where_the_excess_is():
    """Kills: rows taken for images, a range of less than a twentieth."""
    generator = torch.Generator().manual_seed(0)
    count, steps = 10, 100
    excess = Excess(torch.ones(steps - 1, dtype=torch.float64), count)
    t = torch.arange(2, steps + 1).repeat_interleave(count)
    image = torch.cat([torch.randperm(count, generator=generator) for _ in range(steps - 1)])
    rows = Rows(image, t, torch.zeros_like(t), torch.ones(len(t), dtype=torch.float64))
    noise = torch.randn(count, generator=generator, dtype=torch.float64)
    over = torch.where((t > 40) & (t <= 60), 1.0 + 0.2 * noise[image], -1.0)
    excess.update(rows, torch.ones(len(t), dtype=torch.float64), over)
    result = excess.worst(0.5)
    assert result["part"] >= 0.05
    assert 40 <= result["first"] < result["last"] <= 62
    inside = (t >= result["first"]) & (t <= result["last"])
    sums = torch.zeros(count, dtype=torch.float64).index_add_(0, image[inside], over[inside])
    sums -= 0.1 * torch.zeros_like(sums).index_add_(0, image[inside], 0.0 * over[inside] + 1)
    ratio = float(sums.mean() / sums.std() * count**0.5)
    assert result["z"] == pytest.approx(norm.isf(student.sf(ratio, count - 1)), rel=1e-9)
    assert excess.worst(0.04) is None  # no range holds a twentieth of the bound


def test_a_chain_that_ends_early_is_doubted_and_the_shipped_ones_are_not(images):
    schedule = log_snr_linear(T, last=1.0)
    model = package.wrap(Denoiser(schedule), **CHOICES | {"schedule": schedule})
    result = package.evaluate(model, images, budget=1000)
    assert len(warned(result, "L_T is")) == len(warned(result, "")) == 1
    for name in ("digits", "digits-ddpm", "digits-iddpm", "digits-d3pm", "digits-classes"):
        small = recipe.smoke(recipe.read(name))
        model = recipe.build(small, (1, 8, 8), 17)
        some = load("digits:test", labels=True).first(2)
        result = package.evaluate(model, some, budget=8)
        assert not warned(result, "L_T is")
        assert not warned(result, "default ends")
        assert not warned(result, "rounded by")


def test_the_three_thresholds():
    """At each, just below and above. Kills: one of two conditions alone."""
    facts = {"schedule": {"name": "cosine", "T": 10}}
    assert of_figure(8.001, 0.0, BITS, 256, facts)
    assert not of_figure(7.999, 0.0, BITS, 256, facts)
    assert not of_figure(9.0, 0.0, BITS, None, facts)
    assert not of_figure(2.0, 0.019, BITS, 256, facts)  # less than a hundredth of the bound
    assert not of_figure(0.5, 0.009, BITS, 256, facts)  # less than 0.01 bits/dim
    assert of_figure(2.0, 0.021, BITS, 256, facts)
    for error in (1.09, 1.11):
        at_1 = {"rms": 0.1, "in_deviations": error}
        assert bool(of_figure(2.0, 0.0, BITS, 256, facts, None, at_1)) == (error > 1.1)
    for z in (3.9, 4.1):
        worst = {"first": 2, "last": 9, "part": 0.1, "z": z}
        assert bool(of_figure(2.0, 0.0, BITS, 256, facts, worst)) == (z > 4)


@pytest.mark.parametrize(
    ("clip", "levels", "named"), [(False, 17, True), (True, 17, False), (False, None, False)]
)
def test_where_nothing_is_clipped_it_is_named(clip, levels, named):
    """Kills: other conventions blamed for a choice; a clip of data that have no range."""
    worst = {"first": 900, "last": 1000, "part": 0.08, "z": 5.0}
    (line,) = of_figure(2.0, 0.0, BITS, levels, {"clip": clip}, worst)
    assert line.endswith("schedule, range, clip)" if named else "schedule, range)")


@pytest.mark.parametrize(
    ("schedule", "doubtful"),
    [
        ({"name": "linear", "T": 250}, True),
        ({"name": "linear", "T": 250, "beta_1": 1e-4}, True),
        ({"name": "sigmoid", "T": 250}, True),
        ({"name": "scaled-linear", "T": 250}, True),
        ({"name": "linear", "T": 250, "beta_1": 1e-4, "beta_T": 0.02}, False),
        ({"name": "linear-by-T", "T": 250}, False),
        ({"name": "cosine", "T": 250}, False),
        ({"name": "linear"}, False),
        ("linear", False),
    ],
)
def test_the_usual_ends_for_another_number_of_steps_are_doubted(images, schedule, doubtful):
    """Kills: linear's ends for T = 1000 taken for every T without a word."""
    model = package.wrap(Denoiser(), **CHOICES | {"schedule": schedule})
    result = package.evaluate(model, images.first(2), budget=8)
    assert bool(warned(result, "made for T = 1000")) == doubtful
    both = package.compare(model, model, images.first(2), budget=16)
    assert len(warned(both, "made for T = 1000")) == 2 * doubtful
    assert bool(warned(package.inspect(model), "made for T = 1000")) == doubtful


def test_warnings_are_in_the_text_the_json_the_page_and_on_stderr(nelbo, zero_run, tmp_path):
    """An untrained network knows nothing. Kills: a warning that one of them leaves out."""
    arguments = ("evaluate", zero_run, "--max-images", 3, "--budget", 12)
    code, out, err = nelbo(*arguments, "--json", "-", "-q")
    tree = json.loads(out)
    assert code == 0
    assert tree.get("warnings")
    for warning in tree["warnings"]:
        assert f"warning: {warning}" in err
    assert f"warning: {tree['warnings'][0]}" in nelbo(*arguments)[1]
    (check,) = [check for check in checks(Evaluation.from_dict(tree)) if check.name == "Warnings"]
    assert check.state is State.warning
    assert tree["warnings"][0][1:] in check.why
    for changed, state in (([], State.passed), (None, State.unknown)):
        other = {key: value for key, value in tree.items() if key != "warnings"}
        other |= {} if changed is None else {"warnings": changed}
        (check,) = [
            check for check in checks(Evaluation.from_dict(other)) if check.name == "Warnings"
        ]
        assert check.state is state
    for wrong in ([3], "text", 3, {"a": 1}):
        with pytest.raises(BadInput, match="warnings"):
            Evaluation.from_dict(tree | {"warnings": wrong})


def test_a_comparison_names_the_model_that_is_doubted(images):
    backwards = package.wrap(Denoiser(), **CHOICES | WRONG["time"])
    result = package.compare(backwards, backwards, images.first(9), budget=200)
    assert {warning[:3] for warning in result.warnings} == {"A: ", "B: "}
    assert f"warning: {result.warnings[0]}" in str(result)
    assert result.to_dict()["warnings"] == list(result.warnings)


def made(**changes):
    return package.wrap(Denoiser(changes.get("schedule")), **CHOICES | changes)


def faults_of(images, mode, **changes):
    """The warnings of each of the two, where B has the changes."""
    result = package.compare(made(), made(**changes), images, **mode)
    given = warned(result, "")
    assert all(warning[:3] in ("A: ", "B: ") for warning in given)
    return [[warning[3:] for warning in given if warning.startswith(name)] for name in "AB"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"schedule": log_snr_linear(T, first=5.0), "V_1": 1e-4},
            "V_1 is too small: x0-hat is off by",
        ),
        ({"time_input": lambda schedule, t: (t + 1) // 2}, AFFINE),
        ({"schedule": log_snr_linear(T, last=1.0)}, "L_T is"),
        ({"schedule": log_snr_linear(T // 2, last=1.0)}, "L_T is"),
    ],
)
def test_a_comparison_doubts_what_an_evaluation_doubts(images, changes, words):
    """Of the model that it is of, on shared times or on others. Kills: of the other model."""
    of_A, of_B = faults_of(images, {"budget": 80 * 48}, **changes)
    assert of_A == []
    assert any(words in warning for warning in of_B)
    alone = package.evaluate(made(**changes), images, budget=80 * 24)
    assert len(of_B) == len(alone.warnings)
