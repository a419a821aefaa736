"""What a program gives is taken where a person would expect it, else refused in one line."""

import inspect as reflection
import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DDPMPipeline, DDPMScheduler, EulerDiscreteScheduler
from torch import nn

import nelbo
from conftest import changed, small_recipe
from formats.diffusers_folders import dit, pipeline, unet
from nelbo.data import Images, Points, as_images, as_points
from nelbo.errors import BadInput, NonFinite
from nelbo.metrics import BitsPerDim
from nelbo.model.settings import Setting
from nelbo.recipe import build, read

SCHEDULE = {"name": "linear", "T": 4, "beta_1": 0.1, "beta_T": 0.5}
CHOICES = {
    "schedule": SCHEDULE,
    "predicts": "eps",
    "variance": "small",
    "time_input": "index",
    "shape": (1, 4, 4),
    "levels": 17,
}
LEVELS = torch.randint(0, 17, (8, 1, 4, 4), generator=torch.Generator().manual_seed(1))
NOTHINGS = [None, "x", b"x", Path("x"), object(), {}, {"a": 1}, set(), lambda: None]
NUMBERS = [3, -1, 2.5, True, math.nan, math.inf, 1j, np.float64(0.5), np.int64(3), np.bool_(1)]
ARRAYS = [[1], ["x"], (1, 2), np.zeros(2), np.array("x"), torch.zeros(2), torch.tensor(3)]
WRONG = [*NOTHINGS[1:], True, math.nan, math.inf, 1j, *ARRAYS[:-1]]
ANYTHING = [*NOTHINGS, *NUMBERS, *ARRAYS, torch.tensor(0.5), torch.zeros(1, 2, 3), nn.Identity()]


class Net(nn.Module):
    """0.5 x_t + w."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.tensor(0.25))

    def forward(self, x_t, t):
        return 0.5 * x_t + self.w


def wrapped(**changes):
    return nelbo.wrap(Net().eval(), **(CHOICES | changes))


def density():
    return wrapped(levels=None, decoder="density")


def exact(model, data=LEVELS):
    return nelbo.evaluate(model, data, exhaustive=True).total.mean


def raw(call, values=ANYTHING):
    """The values that end in another error than BadInput, or in more than a line of it."""
    results = []
    for value in values:
        try:
            call(value)
        except (BadInput, NonFinite) as error:
            if "\n" in str(error):
                results.append(f"{value!r:.40}: {error}")
        except Exception as error:
            results.append(f"{value!r:.40}: {type(error).__name__}: {error}")
    return results


def budgeted(task, *models):
    return lambda name: lambda x: task(*models, LEVELS, **{"budget": 32, name: x})


def of_the_package(name, values):
    """Without functions that fail by themselves when they are called with a progress."""
    return [x for x in values if name != "progress" or not callable(x)]


SETTINGS = ("precision", "budget", "seed", "batch_size", "check", "processes", "progress")


@pytest.mark.parametrize("name", [*SETTINGS, "exhaustive", "distortion"])
def test_evaluate_takes_or_refuses_every_value(name):
    """Kills: a TypeError of torch's after the work has begun."""
    values = ANYTHING if name not in ("precision", "budget") else WRONG  # the others are long
    assert not raw(budgeted(nelbo.evaluate, wrapped())(name), of_the_package(name, values))


@pytest.mark.parametrize("name", SETTINGS)
def test_compare_takes_or_refuses_every_value(name):
    model = wrapped()
    assert not raw(budgeted(nelbo.compare, model, model)(name), of_the_package(name, WRONG))


@pytest.mark.parametrize(
    "task",
    [
        lambda x: nelbo.evaluate(x, LEVELS, budget=32),
        lambda x: nelbo.compare(x, wrapped(), LEVELS, budget=32),
        lambda x: nelbo.compare(wrapped(), x, LEVELS, budget=32),
        lambda x: nelbo.sample(x, 1),
        lambda x: nelbo.improve(x, LEVELS),
        lambda x: nelbo.derive(x, LEVELS, paths=2),
        lambda x: nelbo.loss(x, LEVELS),
        nelbo.inspect,
        nelbo.load,
    ],
    ids=["evaluate", "a", "b", "sample", "improve", "derive", "loss", "inspect", "load"],
)
def test_what_is_no_model_is_refused(task):
    """Kills: 'str' object has no attribute 'support'."""
    assert not raw(task, [x for x in ANYTHING if x is not None])  # of which derive has a meaning
    with pytest.raises(BadInput, match="is a network, and no model yet"):
        nelbo.evaluate(nn.Identity(), LEVELS)


@pytest.mark.parametrize(
    "task",
    [
        lambda x: nelbo.evaluate(wrapped(), x, budget=32),
        lambda x: nelbo.evaluate(density(), x, budget=32),
        lambda x: nelbo.improve(wrapped(), x),
        lambda x: nelbo.improve(density(), x),
        lambda x: nelbo.derive(wrapped(), x, paths=2),
        lambda x: nelbo.loss(wrapped(), x),
        lambda x: nelbo.loss(density(), x),
        lambda x: nelbo.wrap(Net(), **(CHOICES | {"shape": None, "levels": None, "data": x})),
        as_images,
        as_points,
        nelbo.data.load,
        nelbo.data.has_splits,
        lambda x: nelbo.data.load_for(nelbo.Grid(17), x),
        lambda x: nelbo.data.load_for(x, "digits"),
        lambda x: Images("a", None, x, 17),
        lambda x: Points("a", None, x),
    ],
)
def test_what_is_no_data_is_refused(task):
    assert not raw(task)


def test_parts_of_data_are_taken_or_refused():
    images = as_images(LEVELS, n=17)
    for part in ("n", "labels", "kept", "conditions"):
        given = {"n": 17}
        assert not raw(
            lambda x, given=given, part=part: Images("a", None, LEVELS, **given | {part: x})
        )
    for part in ("n", "grid", "name", "labels", "conditions"):
        assert not raw(lambda x, part=part: as_images(LEVELS, **{"n": 17, part: x}))
    for part in ("name", "labels", "conditions"):
        assert not raw(lambda x, part=part: as_points(torch.zeros(8, 2), **{part: x}))
    for part in ("split", "levels", "grid", "labels"):
        assert not raw(lambda x, part=part: nelbo.data.load("digits", **{part: x}))
    assert not raw(images.first)
    assert not raw(images.subset)


@pytest.mark.parametrize(
    "name", sorted(set(reflection.signature(nelbo.wrap).parameters) - {"data"})
)
def test_wrap_takes_or_refuses_every_value(name):
    arguments = {"network": Net(), **CHOICES}
    values = [x for x in ANYTHING if name != "variance" or x is not NOTHINGS[-1]]  # fails by itself
    assert not raw(lambda x: nelbo.wrap(**(arguments | {name: x})), values)


@pytest.mark.parametrize(
    "name", sorted(set(reflection.signature(nelbo.load).parameters) - {"path"})
)
def test_load_takes_or_refuses_every_value(name, folder):
    assert not raw(lambda x: nelbo.load(folder, **({"levels": 17} | {name: x})))


def test_the_other_functions_take_or_refuse_every_value(tmp_path):
    model, few = wrapped(), [x for x in ANYTHING if not isinstance(x, nn.Module)]
    for name in ("count", "seed", "label", "conditions", "check"):
        assert not raw(lambda x, name=name: nelbo.sample(model, **({"count": 1} | {name: x})), few)
    for name in ("steps", "per", "candidates", "seed", "check"):
        assert not raw(lambda x, name=name: nelbo.improve(model, LEVELS, **{name: x}), few)
    for name in ("images", "paths", "seed", "dtype"):
        assert not raw(
            lambda x, name=name: nelbo.derive(
                model, LEVELS, **({"paths": 2, "images": 1, name: x})
            ),
            few,
        )
    for name in ("generator", "labels", "conditions"):
        assert not raw(lambda x, name=name: nelbo.loss(model, LEVELS, **{name: x}), few)
    assert not raw(model.every, few)
    assert not raw(lambda x: model.every(2, x), few)
    assert not raw(model.keeping, few)
    assert not raw(read)
    assert not raw(lambda x: read("digits", x))
    recipe = small_recipe()
    assert not raw(lambda x: nelbo.train(x, tmp_path / "a"))
    for name in ("device", "resume", "processes"):
        assert not raw(
            lambda x, name=name: nelbo.train(recipe, tmp_path, **{name: x}),
            [x for x in few if x is not None],
        )
    assert not raw(BitsPerDim)
    metric = BitsPerDim(16)
    assert not raw(metric.update)
    terms = {"L_T": [1.0], "L_mid": [1.0], "L_0": [1.0]}
    for name in terms:
        assert not raw(lambda x, name=name: metric.update([3.0], **(terms | {name: x})))


def test_the_callback_refuses_before_the_training():
    """Kills: a wrong precision that ends the training after its first epoch."""
    from nelbo.lightning import NELBOCallback

    for name in ("every_n_epochs", "precision", "budget", "seed", "batch_size", "check", "prefix"):
        values = [x for x in ANYTHING if not (x is None and name in ("budget", "batch_size"))]
        assert not raw(lambda x, name=name: NELBOCallback(len, LEVELS, **{name: x}), values)
        with pytest.raises(BadInput):
            NELBOCallback(len, LEVELS, **{name: object()})
    with pytest.raises(BadInput, match="model_of must be a function"):
        NELBOCallback(None, LEVELS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return pipeline(tmp_path_factory.mktemp("pipelines") / "own", num_train_timesteps=4)


def test_a_pipeline_in_memory_is_its_folder(folder):
    """Its bound, settings and network. Kills: a scheduler's config that is not read."""
    pipe, stored = DDPMPipeline.from_pretrained(folder), nelbo.load(folder, levels=17)
    model = nelbo.load(pipe, levels=17)
    assert exact(model) == pytest.approx(exact(stored), rel=1e-12)
    assert model.sha256() == stored.sha256()
    expected, in_memory = (dict(m.facts["sources"]) for m in (stored, model))
    assert expected.pop("weights_file")
    expected.pop("weights"), in_memory.pop("weights")
    assert {k: x["value"] for k, x in expected.items()} == {
        k: x["value"] for k, x in in_memory.items()
    }
    assert next(pipe.unet.parameters()) is next(model.network.parameters())
    assert nelbo.inspect(pipe).settings["prediction_type"].value == "epsilon"
    pipe.scheduler = DDPMScheduler(num_train_timesteps=4, prediction_type="sample")
    other = nelbo.load(pipe, levels=17)
    assert other.facts["parametrization"] == "x_0"
    again = nelbo.load(pipe, levels=17, scheduler=DDPMScheduler(num_train_timesteps=4))
    assert exact(again) == pytest.approx(exact(stored), rel=1e-12)


def test_a_path_is_a_model_and_a_spec_is_data(folder, tmp_path):
    np.save(tmp_path / "x.npy", LEVELS.numpy().astype(np.uint8))
    pipe = nelbo.load(folder)
    data = as_images(LEVELS, n=256)
    expected = exact(pipe, data)
    for model, images in itertools.product((folder, str(folder), pipe), (tmp_path / "x.npy", data)):
        assert exact(model, images) == pytest.approx(expected, rel=1e-12)
    assert nelbo.compare(folder, pipe, tmp_path / "x.npy", budget=96).total.mean == 0
    assert nelbo.sample(folder, 1).shape == (1, 1, 4, 4)
    assert nelbo.inspect(folder).about["T"] == 4
    assert nelbo.data.load(tmp_path / "x.npy").sha256 == data.sha256
    improved = nelbo.improve(folder, tmp_path / "x.npy", steps=2)
    assert improved.model.T == 2
    for device in ("gpu", "cuda:99", 3.5):
        with pytest.raises(BadInput, match=f"no device {device}"):
            nelbo.load(folder, device=device)
    assert nelbo.load(folder, device=torch.device("cpu")).device.type == "cpu"


@pytest.mark.parametrize("kind", [DDPMScheduler, EulerDiscreteScheduler])
def test_a_scheduler_object_is_a_schedule(kind):
    """Its betas, clipping and shorter chains are those of its folder's reader.

    Kills: a scheduler whose clipping is dropped, its prediction contradicted without a word.
    """
    scheduler = kind(num_train_timesteps=40, beta_end=0.3)
    pipe = DDPMPipeline(unet(), scheduler)
    expected = nelbo.load(pipe, levels=17)
    choices = {k: x for k, x in CHOICES.items() if k != "schedule"}
    model = nelbo.wrap(pipe.unet, schedule=scheduler, **choices)
    assert model.facts["clip"] == expected.facts["clip"] == (kind is DDPMScheduler)
    for steps in (40, 5):
        from_object, from_betas = model.every(steps), expected.every(steps)
        assert (
            from_object.chain.q.schedule.kept.tolist() == from_betas.chain.q.schedule.kept.tolist()
        )
        assert exact(from_object) == pytest.approx(exact(from_betas), rel=1e-12)
    unclipped = nelbo.wrap(pipe.unet, schedule=scheduler, clip=False, **choices)
    assert unclipped.facts["clip"] is False
    with pytest.raises(BadInput, match=r"predicts is v and the prediction_type of .* is eps"):
        nelbo.wrap(pipe.unet, schedule=scheduler, **(choices | {"predicts": "v"}))
    flat = nelbo.wrap(
        pipe.unet, schedule=scheduler, **(choices | {"levels": None, "decoder": "density"})
    )
    assert flat.facts["clip"] is False


def test_numbers_of_any_library_are_numbers(folder):
    """Kills: np.int64(3), or 1e4 evaluations, refused as no integer."""
    model, one = wrapped(), {"budget": 48, "seed": 3}
    expected = nelbo.evaluate(model, LEVELS, **one).total.mean
    for number in (np.int64, torch.tensor, float, np.float32):
        given = {name: number(x) for name, x in one.items()}
        assert nelbo.evaluate(model, LEVELS, **given).total.mean == expected
    betas = [0.1, 0.2, 0.3, 0.5]
    bounds = [
        exact(wrapped(schedule=x, levels=n, range=r, steps=s))
        for x, n, r, s in (
            (betas, 17, (-1, 1), [1, 2, 4]),
            (np.array(betas), np.int64(17), [-1.0, 1.0], np.array([1, 2, 4])),
            (
                torch.tensor(betas, dtype=torch.float64),
                torch.tensor(17),
                np.array([-1, 1]),
                (1, 2, 4),
            ),
        )
    ]
    assert bounds[1:] == bounds[:1] * 2
    assert nelbo.load(folder, levels=np.int64(17), range=[0, 1]).grid == nelbo.Grid(17, 0.0, 1.0)


def test_the_metric_takes_lists_and_arrays():
    """Kills: 'list' object has no attribute 'ndim'."""
    results = []
    for kind in (list, tuple, np.array, torch.tensor):
        metric = BitsPerDim(dims=64)
        metric.update(kind([88.0, 89.0]), L_T=kind([1.0, 2.0]), L_mid=[3.0, 3.0], L_0=[84.0, 84.0])
        results.append({name: float(x) for name, x in metric.compute().items()})
    assert results[0]["bits_per_dim"] == pytest.approx(88.5 / 64 / math.log(2))
    assert results[1:] == results[:1] * 3


def test_a_batch_of_another_kind_of_number_trains_nothing():
    """Kills: images as floats on -1..1, read as levels."""
    for model, batch, word in (
        (wrapped(), torch.zeros(2, 1, 4, 4), "is of levels, integers"),
        (density(), LEVELS, "is of real numbers, floats"),
    ):
        with pytest.raises(BadInput, match=word):
            nelbo.loss(model, batch)
    generator = torch.Generator()
    of_images = nelbo.loss(wrapped(), as_images(LEVELS, n=17), generator.manual_seed(1))
    assert of_images.tolist() == nelbo.loss(wrapped(), LEVELS, generator.manual_seed(1)).tolist()


def test_a_density_is_improved_to_the_best_of_its_errors():
    """V_1 is the mean square of x_0 - x0-hat, and the cost there is (log(2 pi e V_1)) / 2.

    With exact errors: T = 1 and x0-hat a constant. Kills: nats told as bits, a V_1 of levels.
    """
    points = as_points(torch.linspace(-1, 1, 40, dtype=torch.float64).reshape(20, 2))

    def x_0_hat(x_t, t):
        return torch.full_like(x_t, 0.25)

    one = {"name": "betas", "betas": [0.5]}
    choices = {"schedule": one, "predicts": "x_0", "variance": "small", "time_input": "t"}
    model = nelbo.wrap(x_0_hat, shape=(2,), decoder="density", V_1=0.1, **choices)
    improved = nelbo.improve(model, points)
    V_1 = float((points.numbers - 0.25).square().mean())
    assert improved.model.facts["V_1"] == pytest.approx(V_1, rel=1e-12)
    L_T = nelbo.evaluate(model, points, exhaustive=True).terms["L_T"][0].mean / 2
    best = 0.5 * math.log(2 * math.pi * math.e * V_1)
    assert improved.predicted == pytest.approx(best + L_T, rel=1e-9)
    measured = nelbo.evaluate(improved.model, points, exhaustive=True)
    assert measured.per_dim == pytest.approx(improved.predicted, rel=1e-9)


def test_inspect_knows_wrapped_models_and_densities():
    for model in (wrapped(), density()):
        inspection = nelbo.inspect(model)
        assert inspection.settings["predicts"] == Setting("eps", "option")
        assert (inspection.L_T is None) == (model.facts["decoder"] == "density")


def test_a_pipeline_of_latents_is_named_for_what_it_is():
    from diffusers import AutoencoderKL, DiTPipeline

    pipe = DiTPipeline(dit(channels=4, outputs=8), AutoencoderKL(), DDPMScheduler())
    with pytest.raises(BadInput, match=r"DiTPipeline has an autoencoder.*save_pretrained"):
        nelbo.load(pipe)


def test_a_model_is_itself():
    model = build(changed("digits", {"network.width": 8}), (1, 4, 4), 17)
    assert nelbo.load(model) is model
    with pytest.raises(BadInput, match="stores its own settings: leave levels out"):
        nelbo.load(model, levels=4)
