"""As many images as a precision takes: which they are, how many, and what is said of them."""

import json
import math

import pytest
import torch

from conftest import PLAIN, small_recipe
from nelbo import recipe
from nelbo.data import Images, load
from nelbo.errors import BadInput
from nelbo.estimation import Settings
from nelbo.results import Evaluation
from nelbo.tasks.evaluate import FEWEST, MARGIN, PILOT, Few, evaluate, pilot_seed

ZERO = PLAIN | {"chain.schedule": {"name": "linear", "T": 60, "beta_T": 0.3}}

HOW = {"precision": 0.1, "budget": None, "seed": 0, "batch_size": None, "check": False}
WANTED = 0.5  # bits/dim; the network knows nothing


@pytest.fixture(scope="module")
def model():
    made = recipe.build(small_recipe(**ZERO), (1, 8, 8), 17)
    made.network.forward = lambda x_t, time: torch.zeros_like(x_t)
    return made


@pytest.fixture(scope="module")
def images():
    """The training digits in the order of their brightness, which the first ones do not show."""
    digits = load("digits:train")
    return digits.subset(digits.values.flatten(1).double().mean(1).argsort())


def drawn(count, number, seed):
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    return order[:number].sort().values


def test_it_is_the_evaluation_of_so_many_images_drawn_by_the_seed(model, images):
    """The same figures as of these images alone; their number is that of the pilot's half-width.

    Kills: the first images, a half-width in place of its square, a pilot whose calls are not
    counted, a margin that divides.
    """
    result = evaluate(model, images, precision=WANTED, subset=True, seed=3)
    some = images.subset(drawn(len(images), PILOT, 3))
    pilot = evaluate(model, some, budget=PILOT * FEWEST, seed=pilot_seed(3))
    half = pilot.half_width(pilot.total)
    number = math.ceil(PILOT * MARGIN * (half / WANTED) ** 2)
    assert PILOT < number < len(images)
    alone = evaluate(model, images.subset(drawn(len(images), number, 3)), precision=WANTED, seed=3)
    assert result.total.mean == alone.total.mean
    assert result.per_image.ids.tolist() == alone.per_image.ids.tolist()
    assert result.network_evaluations == alone.network_evaluations + pilot.network_evaluations
    assert result.estimator["subset"] == {
        "of": len(images),
        "pilot": PILOT,
        "pilot_evaluations": PILOT * FEWEST,
    }
    assert result.half_width(result.total) < WANTED


def test_the_values_of_the_pilot_are_thrown_away(model, images, monkeypatch):
    """Law: no input of the network, x_t and t, is evaluated twice. Kills: the pilot's own noise in
    the estimate whose size it decides."""
    seen = []

    def forward(x_t, time):
        seen.extend(row.numpy().tobytes() for row in torch.cat([x_t.flatten(1), time[:, None]], 1))
        return torch.zeros_like(x_t)

    monkeypatch.setattr(model.network, "forward", forward)
    result = evaluate(model, images, precision=WANTED, subset=True, check=False)
    assert len(seen) == result.network_evaluations
    assert len(set(seen)) == len(seen)


def test_no_pilot_is_named_where_there_was_none(model, images, monkeypatch):
    """Kills: a pilot of no images, a half-width of 0 taken for one that is not known."""
    few = evaluate(model, images.first(5), precision=WANTED, subset=True)
    assert "all 5 images: no fewer are drawn" in str(few)
    monkeypatch.setattr(Evaluation, "half", 0.0)  # of images that are all alike
    assert len(Few.planned(model, images, Settings(**HOW)).images) == PILOT


@pytest.mark.parametrize("precision", [1e-200, 1e300])
def test_a_precision_whose_square_is_no_number_is_refused(model, images, precision):
    """Kills: a float that overflows after the work has begun."""
    for subset in (False, True):
        with pytest.raises(BadInput, match=r"precision is from 1e-100 to 1e\+100; got"):
            evaluate(model, images.first(120), precision=precision, subset=subset)


def test_the_time_of_the_pilot_is_counted(model, images, monkeypatch):
    """Kills: seconds that begin after it."""
    some = Few(images.first(120), len(images), PILOT, PILOT * FEWEST, seconds=1e6)
    monkeypatch.setattr(Few, "planned", lambda *given: some)
    assert evaluate(model, images, precision=WANTED, subset=True).seconds > 1e6


def test_the_interval_of_a_subset_covers_the_mean_of_all():
    """In 95 % of the seeds, and more, as no image is drawn twice: by the binomial's 4 sigma.

    Kills: images in their order, of which the first are the darkest.
    """
    few = ZERO | {"chain.schedule": {"name": "linear", "T": 8, "beta_T": 0.5}}
    tiny = recipe.build(small_recipe(**few), (1, 2, 2), 17)
    tiny.network.forward = lambda x_t, time: x_t  # which is further off for a brighter image
    levels = (8 + torch.arange(1500) * 9 // 1500)[:, None, None, None].expand(1500, 1, 2, 2)
    ramp = Images("ramp", None, levels.contiguous(), 17)
    exact = evaluate(tiny, ramp, exhaustive=True)
    whole, wide = exact.per_dim, 2.5 * (exact.half_width(exact.total) or 0.0)
    assert abs(evaluate(tiny, ramp.first(300), exhaustive=True).per_dim - whole) > 2 * wide
    inside, trials = 0, 40
    for seed in range(trials):
        result = evaluate(tiny, ramp, precision=wide, subset=True, seed=seed, check=False)
        assert result.images < 1500
        inside += abs(result.per_dim - whole) <= result.half_width(result.total)
    assert inside >= trials * 0.95 - 4 * math.sqrt(trials * 0.95 * 0.05)


def test_a_precision_that_takes_all_images_takes_all(model, images):
    """Also where there are no more than the pilot has. Kills: more images than there are."""
    result = evaluate(model, images.first(300), precision=0.01, subset=True)
    assert (result.images, result.estimator["subset"]["of"]) == (300, 300)
    assert "all 300 images: a pilot planned no fewer for ± 0.01 bits/dim" in str(result)
    few = evaluate(model, images.first(PILOT), precision=0.5, subset=True)
    assert few.estimator["subset"] == {"of": PILOT, "pilot": 0, "pilot_evaluations": 0}
    assert few.images == PILOT


@pytest.mark.parametrize("how", [{"budget": 10**4}, {"exhaustive": True}, {"part": (1, 2)}])
def test_without_a_precision_there_is_no_subset(model, images, how):
    with pytest.raises(BadInput, match=r"exhaustive=True|as many images as a precision takes"):
        evaluate(model, images, subset=True, **how)


def test_the_command_says_which_images_they_are(zero_run, tmp_path, nelbo):
    out = tmp_path / "result.json"
    words = ("--data", "digits:train", "--precision", 0.2, "--subset", "--json", out)
    code, text, err = nelbo("evaluate", zero_run, *words)
    assert code == 0, err
    tree = json.loads(out.read_text())
    of = tree["estimator"]["subset"]["of"]
    assert f"  {tree['images']:,} of {of:,} images, drawn at random: a pilot planned this" in text
    assert "(95 %, these images)" in text
    assert "this test set" not in text
    for other in (("--budget", 10**5), ("--exhaustive",), ("--ode",), ("--part", "1/2")):
        code, _, err = nelbo("evaluate", zero_run, "--subset", *other)
        assert (code, err.count("\n")) == (2, 1), err
