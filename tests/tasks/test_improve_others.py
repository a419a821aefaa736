"""Improving what others have trained: the result is a model like any other, for every command."""

import json

import numpy as np
import pytest
import torch
from diffusers import UNet2DModel

import nelbo as package
from conftest import small_recipe
from nelbo import formats, recipe
from nelbo.data import Images, load
from nelbo.errors import BadInput
from nelbo.gaussian.optimal_variance import SquaredError, expected_kl
from nelbo.gaussian.variance import Tabulated
from nelbo.tasks.evaluate import evaluate
from nelbo.tasks.improve import held_out, improve, save
from nelbo.tasks.inspect import inspect


def network(outputs=1):
    """A UNet2DModel for 4x4 images that always answers 0."""
    made = UNet2DModel(
        sample_size=4,
        in_channels=1,
        out_channels=outputs,
        block_out_channels=(8,),
        layers_per_block=1,
        down_block_types=("DownBlock2D",),
        up_block_types=("UpBlock2D",),
        norm_num_groups=4,
        add_attention=False,
    )
    torch.nn.init.zeros_(made.conv_out.weight)
    torch.nn.init.zeros_(made.conv_out.bias)
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """accelerate's checkpoint-N of 30 steps, its network zero: M_t = (1 - a_bar_t) / a_bar_t."""
    from diffusers import DDPMScheduler

    place = tmp_path_factory.mktemp("training")
    network().save_pretrained(place / "checkpoint-9" / "unet_ema")
    other = network()
    other.conv_out.bias.data += 0.5
    other.save_pretrained(place / "checkpoint-9" / "unet")
    scheduler = DDPMScheduler(30, beta_end=0.4, clip_sample=False)
    scheduler.save_pretrained(place / "scheduler")
    return place / "checkpoint-9"


@pytest.fixture(scope="module")
def images():
    levels = torch.randint(17, (40, 1, 4, 4), generator=torch.Generator().manual_seed(0))
    return Images("noise", None, levels, 17)


def closed_form(improved, steps):
    """Sum of the expected L_{t-1} of the zero network under the table that was found."""
    schedule = improved.model.chain.q.schedule
    error = (-schedule.log_snr[1:]).exp()[:, None].expand(steps, 16)
    table = Tabulated("found", improved.variance.table.flatten(1))
    errors = SquaredError(torch.arange(1, steps + 1), error, 16, 1)
    return float(expected_kl(schedule, table, errors).sum())


@pytest.mark.parametrize("per", ["value", "dimension"])
def test_an_improved_folder_is_loaded_as_it_was_made(folder, images, tmp_path, per):
    """The same bound to the last bit, and that of the closed form.

    Kills: options that are lost on the way, variances of other steps, raw weights for the average.
    """
    model = formats.load(folder, levels=17, range=(-1.0, 1.0))
    improved = improve(model, images, steps=6, per=per)
    made = save(folder, improved, tmp_path / "new")
    again = formats.load(made)
    assert (again.T, again.weights, again.grid.n) == (6, "ema", 17)
    assert again.sha256() == model.sha256()
    results = [evaluate(m, images, exhaustive=True) for m in (improved.model, again)]
    assert results[0].total.mean == results[1].total.mean
    middle, se = results[1].terms["L_mid"][1].mean, results[1].terms["L_mid"][1].se
    assert per == "value" or abs(middle - closed_form(improved, 6)) < 4 * se
    sources = again.facts["sources"]
    assert sources["levels"] == {"value": 17, "source": "option", "changes_bound": True}
    assert sources["variance"]["source"] == sources["V_1"]["source"] == "improve"
    assert sources["weights"]["value"] == "ema"
    assert "variance_type" not in sources
    assert package.sample(again, 2).shape == (2, 1, 4, 4)
    assert UNet2DModel.from_pretrained(made).config.sample_size == 4
    for options in ({"levels": 17}, {"weights": "raw"}):
        with pytest.raises(BadInput, match=r"stores its own settings|improved for its weights ema"):
            formats.load(made, **options)


def test_a_folder_that_was_tampered_with_or_cut_short_is_refused(folder, images, tmp_path):
    """Kills: variances used for weights that they are not for; half a copy taken for the whole."""
    improved = improve(formats.load(folder, levels=17), images, steps=3)
    made = save(folder, improved, tmp_path / "new")
    network(1).save_pretrained(tmp_path / "other")
    weights = made / "diffusion_pytorch_model.safetensors"
    other = network()
    other.conv_out.bias.data += 0.1
    other.save_pretrained(made)
    with pytest.raises(BadInput, match="not those that it was improved for"):
        formats.load(made)
    weights.unlink()
    with pytest.raises(BadInput, match="has no weights"):
        formats.load(made)
    (made / "improved.safetensors").write_bytes(b"x" * 100)
    with pytest.raises(BadInput, match="damaged"):
        formats.load(made)


def test_a_sub_chain_or_an_improved_model_is_improved_by_its_own_steps(folder, images, tmp_path):
    """Steps are counted as the network gets them. Kills: those of a sub-chain taken for its own.

    In the whole chain they would be other steps, and the saved model another one.
    """
    short = formats.load(folder, levels=17).every(10)
    improved = improve(short, images, steps=4)
    kept = short.chain.q.schedule.kept.tolist()
    assert set(improved.plan["steps"]) <= set(kept)
    again = formats.load(save(folder, improved, tmp_path / "a"))
    assert again.chain.q.schedule.kept.tolist() == improved.plan["steps"]
    want, got = (evaluate(m, images, exhaustive=True).total.mean for m in (improved.model, again))
    assert got == want
    twice = improve(again, images, steps=2)
    assert set(twice.plan["steps"]) <= set(improved.plan["steps"])
    last = formats.load(save(tmp_path / "a", twice, tmp_path / "b"))
    assert (last.T, last.name) == (2, "b, improved")
    want, got = (evaluate(m, images, exhaustive=True).total.mean for m in (twice.model, last))
    assert got == want


def test_a_variance_of_the_networks_own_gives_way_to_the_table(images, tmp_path):
    """Kills: a learned variance that improving trips over, or that is still used."""
    from diffusers import DDPMScheduler

    network(2).save_pretrained(tmp_path / "net")
    scheduler = DDPMScheduler(30, beta_end=0.4, clip_sample=False, variance_type="learned_range")
    scheduler.save_pretrained(tmp_path / "net")
    improved = improve(formats.load(tmp_path / "net", levels=17), images, steps=6, per="dimension")
    result = evaluate(improved.model, images, exhaustive=True).terms["L_mid"][1]
    assert abs(result.mean - closed_form(improved, 6)) < 4 * result.se
    again = formats.load(save(tmp_path / "net", improved, tmp_path / "new"))
    assert again.facts["variance"] == "optimal-per-dimension"


def test_a_callable_is_improved_and_has_no_folder_to_be_kept_in(images, tmp_path):
    model = package.wrap(
        lambda x_t, t: torch.zeros_like(x_t), schedule={"name": "linear", "T": 30}, predicts="eps",
        variance="small", time_input="t", data=images,
    )  # fmt: skip
    improved = improve(model, images, steps=3)
    assert improved.model.T == 3
    with pytest.raises(BadInput, match="is of no folder"):
        save(tmp_path, improved, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_inspect_says_what_was_improved(run, folder, images, tmp_path):
    """Kills: a variance passed off as the recipe's or the config's word."""
    model = formats.load(run)
    digits = load("digits:train").first(16)
    improved = improve(model, digits, steps=3, candidates=8)
    settings = inspect(improved.model).settings
    assert settings["variance"].source == settings["steps"].source == "improve"
    assert settings["parametrization"].source == "recipe"
    assert settings["steps"].value == "3 of the recipe's"


@pytest.mark.parametrize("share", [0.25, 0.5])
def test_a_share_is_held_out_whole_and_at_random(images, share):
    """Kills: images on both sides, and the last class of a sorted folder for the test."""
    rest, out = held_out(images, share)
    assert len(out) == share * 40
    assert sorted([*rest.ids.tolist(), *out.ids.tolist()]) == list(range(40))
    assert out.ids.tolist() not in (list(range(len(out))), list(range(40 - len(out), 40)))
    assert held_out(images, share)[1].ids.tolist() == out.ids.tolist()
    for wrong in (0.0, 1.0, 0.01, -1.0):
        with pytest.raises(BadInput, match="leaves none on one side"):
            held_out(images, wrong)


def test_errors_are_measured_on_images_from_anywhere(monkeypatch):
    """A folder sorted by class. Kills: the first 300 images, which are of one class."""
    monkeypatch.setattr("nelbo.tasks.improve.IMAGES", 8)
    model = recipe.build(small_recipe(), (1, 8, 8), 17)
    levels = torch.arange(17).repeat_interleave(2)[:, None, None, None].expand(34, 1, 8, 8)
    seen = []
    original = model.x_0
    monkeypatch.setattr(type(model), "x_0", lambda self, x, *a: seen.append(x) or original(x, *a))
    improve(model, Images("sorted", None, levels.contiguous(), 17), steps=2, candidates=4)
    assert torch.cat(seen).unique().max() > 8


def test_the_command_improves_a_folder_and_reports_before_and_after(
    folder, images, nelbo, tmp_path
):
    """On a quarter of the data that it was not fitted to, paired.

    Kills: a figure on the fitting images, a difference of the wrong sign.
    """
    np.save(tmp_path / "x.npy", images.levels.numpy())
    given = ("--data", tmp_path / "x.npy", "--levels", 17)
    arguments = (*given, "--steps", 6, "--budget", 4000)
    code, out, err = nelbo("improve", folder, *arguments, "-o", tmp_path / "n", "--json", "-")
    assert code == 0, err
    tree = json.loads(out)
    change = tree["after_minus_before"]
    assert tree["schema"] == "nelbo.improvement/1"
    assert (tree["plan"]["images"], change["images"], tree["plan"]["weights"]) == (30, 10, "ema")
    assert change["ci95"][1] < 0
    assert (change["a"]["model"]["steps"], change["b"]["model"]["steps"]) == (6, 30)
    assert str(tmp_path / "n") in err
    code, out, err = nelbo("improve", folder, *arguments, "-o", tmp_path / "m")
    assert code == 0, err
    assert out.startswith("A is better by ")
    assert f"A minus B          {change['bits_per_dim']:+.4f} bits/dim" in out
    assert "A is B with 6 of its steps" in out
    code, out, err = nelbo("inspect", tmp_path / "n", "--json", "-")
    assert json.loads(out)["settings"]["steps"]["value"] == "6 of 1..30"
    for command in ("evaluate", "compare"):
        models = [tmp_path / "n"] if command == "evaluate" else [tmp_path / "n", tmp_path / "m"]
        code, out, err = nelbo(command, *models, *given[:2], "--budget", 2000, "--json", "-")
        assert code == 0, err
    assert json.loads(out)["bits_per_dim"] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--test", "x.npy"), "measure on other images"),
        (("--held-out", "0"), "leaves none on one side"),
        (("--steps", "31"), r"steps must lie in 1\.\.30"),
        (("--budget", "3"), "budget for 10 images starts at"),
    ],
)
def test_what_cannot_be_improved_is_one_line_and_exit_code_2(
    folder, images, nelbo, tmp_path, monkeypatch, arguments, message
):
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", images.levels.numpy())
    given = ("--data", "x.npy", "--levels", 17, "-o", "new")
    code, out, err = nelbo("improve", folder, *given, *arguments)
    lines = [line for line in err.splitlines() if line.startswith("nelbo: ")]
    assert (code, out, len(lines)) == (2, "", 1), err
    assert message.replace("\\", "") in lines[0]
