"""What a page shows of a run is the run's: its samples, its guesses, the images by their ids."""

import base64
import io
import json
import math
import re
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from test_page import WHY, Page, check_whole

import nelbo
from conftest import PLAIN, VDM, changed, small_recipe
from nelbo import data, formats
from nelbo import recipe as recipes
from nelbo.bound.chain import constant_time
from nelbo.bound.noise import KeyedNoise
from nelbo.errors import BadInput, NonFinite
from nelbo.gaussian.schedule import at
from nelbo.report.page import Reported, page
from nelbo.results import per_image
from nelbo.results.evaluation import Evaluation
from nelbo.results.saved import sealed
from nelbo.sampling.pictures import picture_sheet
from nelbo.tasks.evaluate import evaluate
from nelbo.tasks.report import report
from nelbo.tasks.report.drawing import extremes, reconstructions, samples
from nelbo.tasks.sample import sample
from nelbo.tasks.train import train

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def categorical(tmp_path_factory):
    """A run folder of a small D3PM."""
    changes = {"chain.schedule.T": 12, "training.steps": 1, "network.width": 8}
    return train(changed("digits-d3pm", changes), tmp_path_factory.mktemp("page") / "d3pm")


@pytest.fixture(scope="module")
def test_images():
    return data.load("digits:test").first(20)


def drawn(picture):
    """The levels of a picture of one column or grid, (rows, columns of pixels), of 17 levels."""
    with Image.open(io.BytesIO(picture)) as opened:
        grey, alpha = np.moveaxis(np.asarray(opened.convert("LA")), 2, 0)
    return np.rint(grey / 255 * 16).astype(int), alpha


def test_a_sheet_holds_every_pixel_and_nothing_between_the_images():
    levels = torch.arange(5 * 64).reshape(5, 1, 8, 8) % 17
    shown, alpha = drawn(picture_sheet(levels, 17, 3))
    assert shown.shape == (17, 26)
    for number in range(5):
        top, left = 9 * (number // 3), 9 * (number % 3)
        assert (shown[top : top + 8, left : left + 8] == levels[number, 0].numpy()).all()
    assert (alpha == 255).sum() == 5 * 64
    assert set(np.unique(alpha)) == {0, 255}


def test_large_images_become_small_by_averages():
    picture = picture_sheet(torch.full((1, 3, 200, 100), 7), 256, 1)
    with Image.open(io.BytesIO(picture)) as opened:
        assert opened.size == (25, 50)
        assert opened.getpixel((3, 3)) == (7, 7, 7, 255)


@pytest.mark.parametrize("kind", ["gaussian", "vdm", "categorical"])
def test_samples_on_their_way_end_as_the_samples_that_sample_draws(kind, run, vdm_run, categorical):
    """Kills: a strip of other samples than the grid's, or a step left out."""
    folder = {"gaussian": run, "vdm": vdm_run, "categorical": categorical}[kind]
    model = formats.load(folder)
    model = model.every(10) if kind == "gaussian" else model
    levels, strip = samples(model, 6, 3, lambda *time: None)
    assert torch.equal(levels, sample(model, 6, seed=3))
    captions = [picture.caption[0] for picture in strip]
    assert captions[0] == f"t = {model.T}"
    assert captions[-1] == "x₀"
    assert len(captions) == len(set(captions)) >= 8
    assert (drawn(strip[-1].png)[0][:8] == levels[0, 0].numpy()).all()


RECIPES = {
    "levels": small_recipe(),
    "clipped": small_recipe(**PLAIN, **{"chain.clip": True}),
    "vdm": changed("digits-vdm", VDM),
}


@pytest.mark.parametrize("kind", RECIPES)
def test_the_guess_of_a_gaussian_chain_is_off_by_what_its_steps_say(kind, test_images):
    """Kills: x0-hat of another t, or before the clip."""
    model = recipes.build(RECIPES[kind], (1, 8, 8), 17)
    x_0 = model.x_0(test_images.levels, torch.float64)
    for t in (2, model.T // 2, model.T):
        time = constant_time(t, x_0)
        x_t = model.chain.q.marginal(x_0, time).sample(KeyedNoise.of(0, test_images.ids).at(time))
        with torch.inference_mode():
            q, p = model.chain.q.posterior(x_t, x_0, time), model.chain.p.step(x_t, time)
            difference = (q.mean - p.mean) / at(model.chain.q.schedule.posterior_x_0, time, x_0)
            wanted = difference.square().flatten(1).sum(1)
            guess = (model.x_0_hat(model.chain.p, x_t, time) - x_0).square().flatten(1).sum(1)
        torch.testing.assert_close(guess, wanted, rtol=1e-6, atol=1e-9)


def test_a_guess_that_is_not_finite_makes_no_page(test_images):
    """Kills: a NaN that is drawn as half grey."""
    model = recipes.build(small_recipe(), (1, 8, 8), 17)
    result = evaluate(model, test_images, budget=100)
    inner = model.network.forward
    model.network.forward = lambda x_t, time: inner(x_t, time).where(
        (torch.arange(len(x_t)) != 2)[:, None, None, None], torch.nan
    )
    with pytest.raises(NonFinite, match="x0-hat is not finite at t = 1000 for images 2 of digits"):
        reconstructions(model, test_images, result, 0)


def test_the_guess_of_a_categorical_chain_is_the_mean_of_its_decoder(categorical, test_images):
    model = formats.load(categorical)
    x_1 = test_images.levels.long()
    with torch.inference_mode():
        masses = model.chain.p.decoder(x_1).log_probs.exp().double()
        guess = model.x_0_hat(model.chain.p, x_1, constant_time(1, x_1))
    wanted = sum(level * masses[..., level] for level in range(17))
    torch.testing.assert_close(guess.double(), wanted, rtol=1e-5, atol=1e-5)


def test_the_easiest_and_hardest_images_are_those_of_the_table(test_images):
    """Kills: the position in the table taken for the id, or the order turned round."""
    some = test_images.subset(torch.arange(19, -1, -1))
    bits = {int(i): 1 + 0.37 * int(i) % 1.0 for i in some.ids}
    ids = torch.tensor(sorted(bits))
    columns = {"id": ids, "bits_per_dim": torch.tensor([bits[int(i)] for i in ids])}
    best, worst = extremes(some, columns, "bits_per_dim")
    order = sorted(bits, key=lambda i: bits[i])
    for pictures, wanted in ((best, order[:8]), (worst, order[::-1][:8])):
        assert [picture.caption for picture in pictures] == [
            (f"{bits[i]:.3f}", f"#{i}") for i in wanted
        ]
        for picture, id in zip(pictures, wanted, strict=True):
            levels = data.load("digits:test").levels[id, 0].numpy()
            assert (drawn(picture.png)[0] == levels).all()


KINDS = {
    "gaussian": {"exhaustive": True},
    "one step": {"budget": 200},
    "limit": {"precision": 0.5},
    "categorical": {"precision": 1e-4},
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_result_has_a_page(kind, run, vdm_run, categorical, test_images):
    """Kills: a section that takes for granted what only some results hold."""
    folder = {"limit": vdm_run, "categorical": categorical}.get(kind, run)
    model = formats.load(folder)
    model = {"limit": model.in_the_limit, "gaussian": lambda: model.every(8)}.get(
        kind, lambda: model.every(1) if kind == "one step" else model
    )()
    result = evaluate(model, test_images.first(6), distortion=True, **KINDS[kind])
    tree = json.loads(result.to_json())
    parsed = check_whole(
        page(Reported(Evaluation.from_dict(tree), result.per_image.columns(), why_not=WHY, log=[]))
    )
    charts = [name for name, _ in parsed.charts]
    assert ("bits-log-snr" in charts) == (kind in ("gaussian", "limit"))
    assert ("rate-distortion" in charts) == (kind in ("gaussian", "limit"))
    assert ("rate" in charts) == (kind != "one step")
    assert f"{result.bits_per_dim:.4f}" in parsed.words


def test_a_density_is_reported_in_nats_and_of_a_foreign_model_each_setting_has_its_source():
    """Kills: bits of a density."""
    model = nelbo.wrap(
        lambda x, t: x,
        schedule={"name": "linear", "T": 20},
        predicts="x_0",
        variance="small",
        time_input="t",
        decoder="density",
        shape=(2,),
    )
    points = torch.randn(30, 2, generator=torch.Generator().manual_seed(0))
    result = nelbo.evaluate(model, points, budget=300, distortion=True)
    tree = json.loads(result.to_json())
    text = page(Reported(Evaluation.from_dict(tree), result.per_image.columns(), why_not=WHY))
    parsed = check_whole(text)
    assert f"{result.per_dim:.4f} nats/dim, density of data" in parsed.words
    assert "bits/dim" not in parsed.words
    for name, stated in tree["model"]["sources"].items():
        assert re.search(rf"{re.escape(name)} .*? {stated['source']}", parsed.words), name


def measured(folder, images, **choices):
    """result.json and images.csv in a run folder."""
    result = evaluate(formats.load(folder), images, budget=200, **choices)
    (folder / "result.json").write_text(result.to_json())
    per_image.write(result.per_image, folder / "images.csv")
    return result


@pytest.fixture
def folder(tmp_path, test_images):
    """A measured run folder of its own."""
    path = train(small_recipe(**{"chain.schedule.T": 12}), tmp_path / "run")
    measured(path, test_images)
    return path


def test_what_is_not_of_the_result_is_left_out_and_named(folder):
    (folder / "images.csv").write_text("id,bits_per_dim,se,L_T,L_mid,L_0\n0,1,,0,1,0\n")
    (folder / "log.jsonl").unlink()
    words = Page(report(folder, samples=0)).words
    assert "is of another evaluation than the result" in words
    assert "No samples were requested." in words
    assert "The run has no log.jsonl." in words
    other = data.load("digits:train").first(20)
    measured(folder, other)
    parsed = Page(report(folder, samples=0))
    assert "are not the run's own test data, digits:test" in parsed.words
    assert parsed.images == []


def test_a_result_of_other_weights_is_refused(folder):
    path = folder / "result.json"
    tree = json.loads(path.read_text())
    tree["model"]["sha256"] = "0" * 64
    path.write_text(json.dumps(sealed(tree)))
    with pytest.raises(BadInput, match="of other weights than the run has: nelbo evaluate"):
        report(folder)


def test_the_command_writes_the_page_and_names_it(nelbo, folder, tmp_path):
    path = tmp_path / "page.html"
    assert nelbo("report", folder, "-o", path, "--samples", "4")[:2] == (0, f"{path}\n")
    pictures = re.findall(r"data:image/png;base64,([^\"]+)", path.read_text())
    assert all(base64.b64decode(picture).startswith(b"\x89PNG") for picture in pictures)
    alone = ("report", folder / "result.json", "--per-image", folder / "images.csv", "-o", path)
    assert nelbo(*alone)[0] == 0


@pytest.mark.parametrize(
    ("source", "output", "message"),
    [
        ("none.json", "page.html", "cannot read the result"),
        ("images.csv", "page.html", "is no JSON"),
        ("empty", "page.html", "is no run"),
        ("foreign", "page.html", r"another library.*nelbo report result\.json"),
        ("unmeasured", "page.html", r"was not measured yet: nelbo evaluate .*result\.json"),
        ("result.json", "empty", "is a folder: name a file in it"),
        ("result.json", "none/page.html", "its folder does not exist"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_exit_code_2(nelbo, folder, source, output, message):
    (folder / "empty").mkdir()
    (folder / "unmeasured").mkdir()
    (folder / "foreign").mkdir()
    (folder / "foreign" / "model_index.json").write_text("{}")
    (folder / "model.safetensors").rename(folder / "unmeasured" / "model.safetensors")
    code, out, err = nelbo("report", folder / source, "-o", folder / output)
    assert (code, out) == (2, "")
    assert err.startswith("nelbo: ")
    assert err.count("\n") == 1
    assert re.search(message, err)
    assert not (folder / "page.html").exists()


def test_a_run_is_drawn_with_a_result_that_lies_elsewhere(nelbo, folder, tmp_path):
    """Law: RUN RESULT.json is the page of the run that holds this result; of two, a comparison.

    Kills: a run that was not measured, refused with its result beside it; another's result taken.
    """
    own = tmp_path / "own.html"
    assert nelbo("report", folder, "-o", own, "--samples", "4")[0] == 0
    elsewhere, table = tmp_path / "r.json", tmp_path / "r.csv"
    (folder / "result.json").rename(elsewhere)
    (folder / "images.csv").rename(table)
    page = tmp_path / "page.html"
    options = ("--per-image", table, "--samples", "4", "-o", page)
    code, _, err = nelbo("report", folder, elsewhere, *options)
    assert code == 0, err
    assert page.read_text() == own.read_text()
    code, _, err = nelbo("report", folder, elsewhere, "--data", "digits:train", *options, "--force")
    assert code == 2
    assert "the result is of other images" in err
    tree = json.loads(elsewhere.read_text())
    tree["model"]["sha256"] = "0" * 64
    other = tmp_path / "other.json"
    other.write_text(json.dumps(sealed(tree)))
    code, _, err = nelbo("report", folder, other, "-o", page, "--force")
    assert (code, len(err.splitlines())) == (2, 1)
    assert "is of other weights than the run has" in err


ENTRY = {
    **{"step": 2, "loss": 3.7, "loss_by_quarter": [3.1, None, 2.0, 0.02], "unit": "bits/dim"},
    **{"gradient_norm": 0.9, "learning_rate": 0.0, "held_out": 2.5, "ci95_half": 0.1},
}
DAMAGED = {
    "no JSON": lambda entry: None,
    **{
        f"{key} {value!r:.20}": lambda entry, key=key, value=value: entry | {key: value}
        for key, values in {
            "step": ("x", -1, 1.5, 10**30, True),
            "loss": ("x", [1], None, math.nan, True),
            "loss_by_quarter": (3, [1], ["a", 1, 2, 3]),
            "learning_rate": ("x",),
            "unit": (5,),
            "held_out": ("x",),
            "ci95_half": ({},),
        }.items()
        for value in values
    },
    **{
        f"no {key}": lambda entry, key=key: {k: x for k, x in entry.items() if k != key}
        for key in ("step", "unit", "ci95_half")
    },
}


def test_a_damaged_log_is_one_line_and_no_page(nelbo, run, tmp_path):
    """Kills: exit 1 of a failure in the drawing, an entry without its step left out in silence."""
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    assert nelbo("evaluate", folder, "--max-images", 4, "--json", folder / "result.json")[0] == 0
    output = ("report", folder, "--samples", 0, "-o", tmp_path / "page.html")
    for name, damage in DAMAGED.items():
        entry = damage(ENTRY)
        line = '{"step": 2, "lo' if entry is None else json.dumps(entry)
        (folder / "log.jsonl").write_text(f"{json.dumps(ENTRY)}\n{line}\n")
        code, out, err = nelbo(*output)
        assert (code, out, len(err.splitlines())) == (2, "", 1), (name, err)
        assert "log.jsonl is no log of a training: line 2" in err, name
        assert not (tmp_path / "page.html").exists()
    (folder / "log.jsonl").write_text(json.dumps(ENTRY) + "\n")
    assert nelbo(*output)[0] == 0
