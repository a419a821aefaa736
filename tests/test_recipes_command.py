"""nelbo recipes: those of the package, and one for data of one's own with what it will cost."""

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nelbo import recipe as recipes
from nelbo.data import Images
from nelbo.tasks.cost import Cost, Seconds, _seconds, cost, duration


def images(shape, n=256, count=40):
    levels = torch.arange(n).to(torch.int64 if n > 256 else torch.uint8).repeat(1)
    values = levels[torch.arange(count * int(np.prod(shape))) % n].reshape(count, *shape)
    return Images("mine", None, values, n)


def fitted(shape, n=256, count=40, **changes):
    return recipes.parse(recipes.fitted("mine", "a", "b", images(shape, n, count), **changes), "x")


@pytest.mark.parametrize(
    ("shape", "n"),
    [
        *(((3, 32, 32), 256), ((3, 64, 64), 256), ((1, 16, 16), 256), ((1, 128, 128), 2)),
        *(((3, 18, 18), 256), ((1, 24, 32), 256), ((1, 17, 17), 64), ((2, 5, 3), 300)),
    ],
)
def test_a_recipe_fits_whatever_the_shape_and_the_levels(shape, n):
    """Kills: a U-Net that the sides cannot be halved for, a batch of more images than there are."""
    choices = fitted(shape, n, 20)
    model = recipes.build(choices, shape, n)
    assert model.shape == shape
    assert choices.training.batch_size + choices.training.held_out <= 20
    batch = images(shape, n, 2).levels
    with torch.no_grad():
        output = model.network.eval()(model.x_0(batch), torch.zeros(2))
    assert output.shape[2:] == shape[1:]
    assert output.isfinite().all()


@pytest.mark.parametrize(
    ("name", "shape", "n"), [("digits", (1, 8, 8), 17), ("mnist", (1, 28, 28), 256)]
)
def test_data_like_those_of_a_recipe_get_that_recipe(name, shape, n):
    """The sizes that were measured are the oracle. Kills: another log SNR, network or rate."""
    known, choices = recipes.read(name), fitted(shape, n, 4000)
    assert choices.chain == known.chain
    same = choices.network.model_copy(update={"dropout": known.network.dropout})
    assert same == known.network
    for key in ("steps", "batch_size", "learning_rate", "objective", "ema"):
        assert getattr(choices.training, key) == getattr(known.training, key)


def test_few_images_are_held_out_and_fewer_are_not():
    """Kills: weights that have learned the data by heart kept as the best."""
    assert [fitted((1, 8, 8), count=n).training.held_out for n in (40, 80, 9000)] == [0, 8, 500]
    assert fitted((1, 8, 8), count=5000).network.dropout == 0.1  # the ResNet's own default
    assert fitted((1, 16, 16), count=4999).network.dropout == 0.1
    assert fitted((1, 16, 16), count=5000).network.dropout == 0.0


@pytest.mark.parametrize(
    ("steps", "measured"), [(7, 4), (5, 4), (400, 4), (3, 4), (100, 1), (797, 4), (21, 2)]
)
def test_held_out_images_are_measured_at_most_as_often_as_time_was_left_for(steps, measured):
    """Kills: 7 measurements where 4 were paid for, a last quarter that is not measured."""
    training = fitted((1, 8, 8), count=80, steps=steps, measured=measured).training
    times = steps // training.held_out_every
    assert 1 <= times <= measured
    assert steps - times * training.held_out_every <= max(1, steps // 100)
    none = fitted((1, 8, 8), count=80, steps=steps, measured=0).training
    assert (none.held_out, none.batch_size) == (0, 80)


def test_a_name_is_text_to_toml():
    hostile = 'a"b\\c\n\x7f\U0001f600'
    text = recipes.fitted(hostile, hostile, "b", images((1, 8, 8)))
    choices = recipes.parse(text, "x")
    assert (choices.name, choices.data.train) == (hostile, hostile)


# ---- what it costs


def test_a_cost_adds_up():
    """Kills: held-out evaluations that nobody counted, minutes taken for seconds.

    5 bits/dim to ± 0.01 take (1.96 x 0.2 x 500)^2 evaluations, to ± 0.05 a 25th of them.
    """
    clock, cpu = Seconds(0.5, 2.0, 0.01), Seconds(0.25, 1.0, 0.005)
    result = Cost(clock, cpu, steps=2000, times=4, held_out=200, images=100, bits=5.0)
    assert result.training(clock) == pytest.approx(1016.0, rel=1e-12)
    assert result.evaluating(cpu) == pytest.approx(1 + 0.005 * 38_416, rel=1e-12)
    assert result.evaluations(0.05) == 1537
    assert replace(result, images=10_000).evaluations(0.05) == 40_000  # 4 of each
    assert replace(result, images=2).evaluations(0.01) == 2000  # it gives up after 1,000 of each
    assert (result.within(116).steps, result.within(116).times) == (200, 4)
    assert (result.within(20).steps, result.within(20).times) == (32, 1)
    assert (result.within(0.1).steps, result.within(0.1).times) == (1, 0)
    assert result.within(20).training(cpu) == pytest.approx(10.0, rel=1e-12)
    assert replace(result, times=0).within(100).steps == 200
    assert str(result).splitlines() == [
        "training    2,000 steps x 0.5 s + 4 measurements of held-out images x 4 s = 17 min",
        "evaluation  ± 0.01 bits/dim: 2 s + 100 images x about 384 network evaluations x 0.01 s "
        "= 6 min",
        "            ± 0.05 bits/dim: 2 s + 100 images x about 15 network evaluations x 0.01 s "
        "= 17 s",
        "CPU time    training 8 min, evaluation 3 min or 9 s",
    ]
    assert len(str(replace(result, cpu=None)).splitlines()) == 3
    assert [duration(x) for x in (40, 89.4, 2160, 7560, 300_000)] == [
        *("40 s", "89 s", "36 min", "2.1 h", "3.5 days"),
    ]


def test_what_a_measurement_does_once_is_no_part_of_each_evaluation():
    """Steps of 2 s after one of 9; 10 s, then 96 evaluations in 48 s: by hand, in both times.

    Kills: what is done once counted with each evaluation, the first steps, the clock for CPU time.
    """
    ends = [(9.0, 90.0), (11.0, 92.0), (13.0, 93.0), (15.0, 94.0)]
    calls = [(0, (100.0, 0.0)), (32, (126.0, 7.0)), (64, (142.0, 11.0)), (128, (174.0, 19.0))]
    assert _seconds(ends, calls, 0) == Seconds(step=2.0, start=10.0, evaluation=0.5)
    assert _seconds(ends, calls, 1) == Seconds(step=1.0, start=3.0, evaluation=0.125)


def test_larger_images_are_trained_on_by_as_much_work():
    """Kills: a recipe for 64x64 RGB that takes a day, batches too small to learn from."""
    for shape, sizes in (((3, 32, 32), (8, 4000)), ((3, 64, 64), (8, 1020)), ((1, 28, 28), None)):
        training = fitted(shape, count=400).training
        assert (training.batch_size, training.steps) == (sizes or (32, 4000))
        assert training.steps * training.batch_size * np.prod(shape) <= 4000 * 32 * 784


def test_a_cost_is_measured_and_leaves_nothing(tmp_path, monkeypatch):
    """Kills: a run folder that stays, steps of the trial taken for those of the recipe."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    choices = recipes.read("digits", ["network.width=8", "training.held_out=20"])
    result = cost(choices)
    assert list(tmp_path.glob("tmp*")) == []
    for each in (result.clock, result.cpu):
        assert each.step > 0
        assert each.start >= 0
        assert each.evaluation > 0
    training = choices.training
    assert (result.steps, result.images) == (training.steps, 500)
    assert (result.times, result.held_out) == (2400 // 500, 20 * 16)


# ---- the command


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """my-images with train and test, and one without."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    for place, count in (("my-images/train", 12), ("my-images/test", 5), ("flat", 9), ("wide", 4)):
        Path(place).mkdir(parents=True)
        size = (4, 6, 3) if place == "wide" else (4, 4, 3)
        for number in range(count):
            pixels = random.integers(256, size=size).astype(np.uint8)
            Image.fromarray(pixels).save(f"{place}/{number}.png")
    return tmp_path


def test_recipes_are_listed_and_printed(nelbo):
    """Kills: a recipe that is printed without its comments, or another's."""
    code, out, _ = nelbo("recipes")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == recipes.names()
    assert "The demo: 8x8 digits, 17 levels" in out
    code, out, _ = nelbo("recipes", "show", "mnist")
    assert (code, out) == (0, recipes.text("mnist"))
    code, out, err = nelbo("recipes", "show", "mnits")
    assert (code, out) == (2, "")
    assert "did you mean mnist?" in err


def test_a_new_recipe_is_one_that_train_takes(nelbo, folder):
    """Kills: a recipe of other data, one whose cost nobody was told."""
    code, out, err = nelbo("recipes", "new", "--data", "my-images", "-o", "mine.toml")
    assert code == 0, err
    lines = out.splitlines()
    assert lines[0] == "12 training images, 3 x 4 x 4, 256 levels"
    assert lines[1].startswith("training    4,000 steps x ")
    assert " s + 5 images x about 1,000 network evaluations x " in lines[2]  # of tiny files
    assert lines[3].startswith("            ± 0.05 bits/dim: ")
    assert lines[4].startswith("CPU time    training ")
    assert lines[5] == "mine.toml"
    assert "next: nelbo train mine.toml" in err
    choices = recipes.read("mine.toml")
    assert (choices.name, choices.data.train, choices.data.test) == (
        *("mine", "my-images:train", "my-images:test"),
    )
    code, _, err = nelbo("train", "mine.toml", "-o", "run", "--smoke", "--set", "network.width=8")
    assert code == 0, err
    assert nelbo("recipes", "new", "--data", "my-images", "-o", "mine.toml")[0] == 2
    arguments = ("--minutes", "0.1", "--force", "-o", "mine.toml")
    code, out, _ = nelbo("recipes", "new", "--data", "my-images", *arguments)
    assert code == 0
    steps = recipes.read("mine.toml").training.steps
    assert f"training    {steps:,} steps x " in out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--data", "flat"), "no test split"),
        (("--data", "flat", "--test-data", "wide"), "of different data"),
        (("--data", "flat", "--test-data", "flat"), "the same images"),
        (("--data", "nothing", "--test-data", "flat"), "no such"),
        (("--data", "my-images", "-o", "x.json"), "written as .toml"),
        (("--data", "my-images", "--minutes", "3", "--no-estimate"), "--no-estimate"),
    ],
)
def test_data_that_make_no_recipe_are_refused(nelbo, folder, options, message):
    before = sorted(folder.iterdir())
    code, out, err = nelbo("recipes", "new", *options)
    assert (code, out, len(err.splitlines())) == (2, "", 1), err
    assert message in err
    assert sorted(folder.iterdir()) == before
