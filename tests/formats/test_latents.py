"""Latent models: nats per dimension of a density, named so, and never bits/dim of pixels."""

import csv
import json
import math
import re
import shutil

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler, LCMScheduler
from diffusers_folders import dit, pipeline, unet
from latent_folders import (
    autoencoder,
    bare,
    conditional,
    latent_unet,
    training_folder,
    with_autoencoder,
)
from safetensors.torch import save_file

import nelbo
from linear_bound import Betas, through_the_model
from nelbo.bound.noise import KeyedNoise
from nelbo.data import Points
from nelbo.errors import BadInput
from nelbo.formats import load
from nelbo.formats.diffusers import latents
from nelbo.tasks.compare import compare
from nelbo.tasks.inspect import inspect

LATENTS = torch.randn(12, 4, 4, 4, generator=torch.Generator().manual_seed(0))
DIMS = 64
L_0 = {"beta_tilde_2": -3.072437427602, "beta_1": -3.186181647783}
L_MID = {"fixed_small": 10.170492873789, "fixed_large": 9.698157100637}


@pytest.fixture(scope="module")
def zero(tmp_path_factory):
    """A latent pipeline whose network is zero, not to be written to."""
    folder = tmp_path_factory.mktemp("latent") / "zero"
    vae = autoencoder(scaling_factor=0.5, shift_factor=0.1)
    return with_autoencoder(folder, latent_unet(), vae, clip_sample=False)


@pytest.fixture(scope="module")
def digits():
    return nelbo.data.load("digits:test").first(12)


def refused(message, call, *arguments, **options):
    with pytest.raises(BadInput, match=message) as error:
        call(*arguments, **options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("V_1", list(L_0))
@pytest.mark.parametrize("variance_type", list(L_MID))
def test_the_zero_network_has_its_density_in_closed_form(tmp_path, variance_type, V_1):
    """L_mid and L_0 of linear1000 per dim within 1e-5 in float32, 1e-10 in float64 (hazards 2.4).

    Kills: a decoder of levels for latents (H06), V_1 ignored (H05), nats for bits (H09).
    """
    folder = bare(tmp_path / "pipe", variance_type=variance_type, clip_sample=False)
    model = load(folder, V_1=V_1)
    for dtype, error in ((torch.float64, 1e-10), (torch.float32, 1e-5)):
        result = through_the_model(model, LATENTS[0], dtype)
        assert result[1] / DIMS == pytest.approx(L_MID[variance_type], rel=error)
        assert result[2] / DIMS == pytest.approx(L_0[V_1], rel=error)


@pytest.mark.parametrize("steps", [None, 50])
def test_the_affine_network_has_its_density_in_closed_form(tmp_path, steps):
    """Each term of eps-hat = 1/4 by betas alone, for the chain and a sub-chain of it.

    Kills: x0-hat clipped to the range of pixels, a sub-chain whose V_1 is the whole chain's.
    """
    model = load(bare(tmp_path / "pipe", 0.25, clip_sample=False, timestep_spacing="trailing"))
    model = model if steps is None else model.every(steps)
    kept = None if steps is None else np.arange(20, 1001, 20)
    chain = Betas.kept(np.linspace(1e-4, 0.02, 1000), kept)
    V, x = chain.variance("small"), LATENTS[0].double().numpy().ravel()
    a, rest = np.sqrt(chain.a_bar), 1 - chain.a_bar
    L_T = 0.5 * (chain.a_bar[-1] * x**2 + rest[-1] - 1 - math.log(rest[-1])).sum()
    # |x_0 - x0-hat| is |eps - eps-hat| sqrt(rest / a_bar)
    error = rest / chain.a_bar * (1 + 0.25**2)
    c_1 = np.sqrt(chain.a_prev) * chain.beta / rest
    L_mid = DIMS * 0.5 * (c_1[1:] ** 2 * error[1:] / V[1:]).sum()
    first = DIMS * 0.5 * (math.log(2 * math.pi * V[0]) + error[0] / V[0])
    result = through_the_model(model, LATENTS[0].double())
    assert result == pytest.approx((L_T, L_mid, first), rel=1e-10)
    assert a[0] < 1


def test_a_density_is_named_so_wherever_it_is_reported(nelbo_, tmp_path):
    """Text, JSON, the file of images, plots and a comparison. Kills: bits/dim of latents."""
    zero = training_folder(tmp_path / "checkpoint-1")
    data, table, plots = tmp_path / "z.npy", tmp_path / "z.csv", tmp_path / "plots"
    np.save(data, LATENTS.numpy())
    options = ("--data", data, "--budget", 1200, "--device", "cpu")
    code, out, err = nelbo_("evaluate", zero, *options, "--per-image", table, "--plots", plots)
    assert (code, "nats/dim, density of latents\n" in out) == (0, True), err
    assert "decoder density, V_1 5.45" in out
    code, out, _ = nelbo_("evaluate", zero, *options, "--json", "-")
    tree = json.loads(out)
    assert tree["bits_per_dim"] is None
    assert tree["unit"] == "nats/dim, density of latents"
    assert tree["nats_per_dim"] == pytest.approx(tree["nats_per_image"] / DIMS, rel=1e-12)
    sides = [tree["terms"][name]["nats_per_dim"] for name in ("L_T", "L_mid", "L_0")]
    assert sum(sides) == pytest.approx(tree["nats_per_dim"], rel=1e-12)
    assert tree["per_step"][0]["nats_per_dim"] == pytest.approx(sides[2], rel=1e-12)
    assert (tree["data"]["levels"], tree["data"]["grid"]) == (None, None)
    with table.open() as file:
        rows = list(csv.DictReader(file))
    assert "bits_per_dim" not in rows[0]
    mean = np.mean([float(row["nats_per_dim"]) for row in rows])
    assert mean == pytest.approx(tree["nats_per_dim"], rel=1e-12)
    for path in plots.glob("*.svg"):
        text = path.read_text()
        assert "nats" in text
        assert not re.search(r"\bbits?\b", text, re.IGNORECASE)
    assert len(list(plots.glob("*.svg"))) == 5
    code, out, _ = nelbo_("compare", zero, zero, *options, "--json", "-")
    tree = json.loads(out)
    assert (tree["bits_per_dim"], tree["nats_per_dim"]) == (None, 0.0)
    assert tree["unit"] == tree["a"]["unit"] == "nats/dim, density of latents"
    assert "bits" not in nelbo_("compare", zero, zero, *options)[1]


@pytest.fixture
def nelbo_(nelbo):
    """The command line, where the package has the name."""
    return nelbo


def test_what_has_no_bits_gives_none(zero):
    """Kills: a property that divides nats of a density by ln 2."""
    result = nelbo.evaluate(load(zero), LATENTS, budget=200)
    refused("density of latents has no bits/dim", lambda: result.bits_per_dim)
    refused("latents, which have no levels", lambda: load(zero).grid)
    refused("latents, which have no levels", nelbo.derive, load(zero), LATENTS)


def test_the_images_of_a_latent_model_are_encoded_by_its_autoencoder(zero, digits):
    """(mean + std eps - shift) scale with eps of (seed, id), against diffusers' own encoder.

    Kills: the scaling factor left out or inverted, the shift after it, pixels on another range,
    noise of the batch, mean taken for sample.
    """
    vae = autoencoder(scaling_factor=0.5, shift_factor=0.1).eval()
    with torch.inference_mode():
        q = vae.encode(digits.levels.float() / 8 - 1).latent_dist
    for latent, noise in (("mean", 0.0), (None, None)):
        model = load(zero, latent=latent)
        points = model.encode(digits, 3)
        if noise is None:
            key = KeyedNoise.of(3, digits.ids).at(torch.zeros(12, dtype=torch.int64))
            noise = key.normal(q.mean)
        assert torch.allclose(points.values, (q.mean + q.std * noise - 0.1) * 0.5, atol=1e-6)
        assert torch.equal(points.ids, digits.ids)


def test_the_noise_of_a_latent_is_that_of_its_image(zero, digits, monkeypatch):
    """In another set, another order and in batches of two. Kills: H34."""
    whole = load(zero).encode(digits, 3)
    monkeypatch.setattr(latents, "PIXELS", 2 * digits.dims)
    parts = load(zero).encode(digits, 3)
    some = load(zero).encode(digits.subset([7, 2]), 3)
    assert torch.allclose(parts.values, whole.values, atol=1e-6)
    assert torch.allclose(some.values, whole.values[[7, 2]], atol=1e-6)
    other = load(zero).encode(digits, 4)
    assert not torch.allclose(other.values, whole.values, atol=1e-3)


def test_a_sub_chain_encodes_as_the_chain_does(zero, digits):
    """Kills: `--steps` of a latent model that takes no images."""
    result = nelbo.evaluate(load(zero).every(20), digits, budget=60)
    assert result.data["sha256"] == load(zero).encode(digits, 0).sha256


def test_what_the_latents_are_made_of_is_recorded_and_has_the_digest(zero, digits):
    """Kills: a choice of encoding that no report holds, digests that differ with a last bit."""
    sources = load(zero).facts["sources"]
    assert sources["latent"] == {"value": "sample", "source": "default", "changes_bound": True}
    assert (sources["scaling_factor"]["value"], sources["shift_factor"]["value"]) == (0.5, 0.1)
    assert sources["decoder"]["value"] == "density"
    results = [
        nelbo.evaluate(load(zero, latent=latent), digits, budget=120, seed=seed)
        for latent, seed in ((None, 0), (None, 1), ("mean", 0), ("mean", 1))
    ]
    made = [result.to_dict()["data"] for result in results]
    assert made[0]["encoded"]["images"] == digits.sha256
    assert "of images: latent sample, scaling_factor 0.5, shift_factor 0.1" in str(results[0])
    assert len({data["sha256"] for data in made}) == 3  # of a mean the seed decides nothing
    whole = load(zero).encode(digits, 0)
    assert whole.sha256 == made[0]["sha256"]
    assert whole.sha256 == load(zero).encode(digits, 0).sha256 != whole.first(5).sha256


def test_what_is_not_of_latents_is_refused(zero, tmp_path, digits):
    """Kills: H06, latents with 256 bins, and integers scored as if they were a density."""
    pixel = pipeline(tmp_path / "pixel", unet(4, channels=4), clip_sample=False)
    for folder in (zero, pixel):
        refused("without levels and range: leave them out", load, folder, levels=256)
    refused("no levels and no bits/dim", load, zero, decoder="discretized-gaussian")
    refused("discretized-gaussian or density.*got 'levels'", load, zero, decoder="levels")
    refused("sample or mean.*got 'mode'", load, zero, latent="mode")
    refused("has no autoencoder beside it", load, pixel, latent="mean")
    refused("has integers, the levels 0..16", nelbo.evaluate, load(pixel), digits)
    refused("holds torch.int64 and no real numbers", nelbo.evaluate, load(pixel), LATENTS.long())
    refused("takes images of shape", nelbo.evaluate, load(pixel), LATENTS[:, :3])
    grid = load(pipeline(tmp_path / "grid", unet(), clip_sample=False))
    points = Points("z", None, LATENTS[:, :1])
    refused("are real numbers and the model is of 256 levels", nelbo.evaluate, grid, points)
    refused("encodes images of 1 channels", nelbo.evaluate, load(zero), digits_of(3))
    refused("takes images of shape", nelbo.evaluate, load(zero), digits_of(1, 16))


def digits_of(channels, side=8):
    levels = torch.zeros(2, channels, side, side, dtype=torch.int64)
    return nelbo.data.Images("grey", None, levels, 17)


def test_pixels_requested_of_a_latent_model_are_exit_code_2_in_one_line(nelbo, tmp_path):
    """Kills: a traceback, or a number, for digits under a network of latents."""
    folder = training_folder(tmp_path / "checkpoint-1")
    code, out, err = nelbo("evaluate", folder, "--data", "digits:test")
    assert (code, out) == (2, "")
    (line,) = (line for line in err.splitlines() if line.startswith("nelbo: "))
    assert "whose bits/dim it does not have" in line


def test_an_autoencoder_that_cannot_be_used_is_refused(zero, tmp_path, digits):
    """Kills: a VQ codebook's output, or per-channel scales, taken for scaled latents."""
    folder = tmp_path / "pipe"
    shutil.copytree(zero, folder)
    config = json.loads((folder / "vae" / "config.json").read_text())

    def write(**changes):
        (folder / "vae" / "config.json").write_text(json.dumps(config | changes))

    write(_class_name="VQModel")
    refused("is a VQModel: images are encoded by", nelbo.evaluate, load(folder), digits)
    assert nelbo.evaluate(load(folder), LATENTS, budget=60).unit.name == "nats/dim"
    write(latents_mean=[0.0] * 4)
    refused("scale each channel apart", load, folder)
    write(scaling_factor=None, shift_factor=None)
    sources = load(folder).facts["sources"]
    assert sources["scaling_factor"]["value"] == 0.18215
    assert sources["shift_factor"] == {"value": 0.0, "source": "default", "changes_bound": True}


def test_two_encodings_are_not_compared(zero, tmp_path, digits):
    """Kills: a difference of densities of different data."""
    other = with_autoencoder(tmp_path / "b", latent_unet(), autoencoder(), clip_sample=False)
    a, b = load(zero), load(other)
    refused("encode images as different latents", compare, a, b, digits, budget=500)
    assert compare(a, b, LATENTS, budget=500).per_dim == 0.0
    assert compare(a, load(zero), digits, budget=500).per_dim == 0.0


def test_a_dit_pipeline_is_a_density_of_no_class_without_guidance(tmp_path):
    """Kills: a DiT's label for the unconditional bound, guidance on, doubled channels halved."""
    folder = with_autoencoder(
        tmp_path / "dit",
        dit(outputs=8, channels=4),
        part="transformer",
        variance_type="learned_range",
    )
    model = load(folder)
    sources = model.facts["sources"]
    assert sources["guidance"] == {"value": "none", "source": "default", "changes_bound": True}
    assert sources["label"]["value"] == "3 (no class)"
    assert model.facts["variance"] == "learned-range"
    assert model.facts["clip"] == [-1.0, 1.0]  # the config says so: it is this model
    result = nelbo.evaluate(model, LATENTS, budget=120)
    assert math.isfinite(result.per_dim)
    other = nelbo.evaluate(load(folder, label=1), LATENTS, budget=120)
    assert result.per_dim != other.per_dim


def test_a_conditional_unet_needs_its_embedding_to_be_specified(tmp_path):
    """Against diffusers' own call. Kills: an embedding guessed, transposed or of one image only."""
    network = conditional()
    folder = with_autoencoder(tmp_path / "pipe", network, clip_sample=False)
    refused(r"give condition=, a .npy or .*tensor \(tokens, 6\), or zero", load, folder)
    embedding = torch.randn(3, 6, generator=torch.Generator().manual_seed(4))
    np.save(tmp_path / "c.npy", embedding.numpy())
    save_file({"x": embedding[None].clone()}, tmp_path / "c.safetensors")
    t = torch.tensor([3, 400])
    with torch.inference_mode():
        rows = embedding.expand(2, 3, 6)
        wanted = network.eval()(LATENTS[:2], t, rows).sample
        blank = network(LATENTS[:2], t, torch.zeros(2, 9, 6)).sample
        for name in ("c.npy", "c.safetensors"):
            model = load(folder, condition=tmp_path / name)
            assert torch.allclose(model.network(LATENTS[:2], t), wanted, atol=1e-6)
            assert model.facts["sources"]["condition"]["value"] == f"{name}, (3, 6)"
        zeros = load(folder, condition="zero")
        assert torch.allclose(zeros.network(LATENTS[:2], t), blank, atol=1e-6)
    assert not torch.allclose(wanted, blank, atol=1e-3)
    assert model.sha256() != zeros.sha256()
    assert zeros.facts["sources"]["guidance"]["value"] == "none"
    assert nelbo.evaluate(zeros, LATENTS, budget=60).unit.density_of == "latents"


def test_an_embedding_that_does_not_fit_is_refused(zero, tmp_path):
    """Kills: broadcasting where a file is another model's."""
    folder = with_autoencoder(tmp_path / "pipe", conditional(), clip_sample=False)
    np.save(tmp_path / "c.npy", np.zeros((3, 5), np.float32))
    save_file({"x": torch.zeros(3, 6), "y": torch.zeros(3, 6)}, tmp_path / "two.safetensors")
    (tmp_path / "c.pt").write_bytes(b"pickle")
    for name, message in (
        ("c.npy", r"is \(tokens, 6\); got \(3, 5\)"),
        ("two.safetensors", "holds 2 tensors: a condition is one"),
        ("c.pt", "is no .npy and no .safetensors file"),
        ("none", "no such file; a condition is a file or the word zero"),
    ):
        refused(message, load, folder, condition=tmp_path / name)
    refused("takes no embedding: leave condition out", load, zero, condition="zero")
    more = conditional(addition_embed_type="text", addition_embed_type_num_heads=2)
    more.save_pretrained(tmp_path / "more")
    DDPMScheduler().save_pretrained(tmp_path / "more")
    refused("has addition_embed_type text", load, tmp_path / "more", condition="zero")


def test_a_distilled_network_receives_its_guidance_scale(zero, tmp_path):
    """Against the pipeline's formula. Kills: an input left out in silence; w for w - 1."""
    network = conditional(time_cond_proj_dim=9)
    folder = tmp_path / "pipe"
    network.save_pretrained(folder)
    LCMScheduler(clip_sample=False).save_pretrained(folder)
    refused("receives a guidance scale", load, folder, condition="zero")
    t, models = torch.tensor([3, 400]), {}
    for scale in (1, 7.5):
        models[scale] = load(folder, condition="zero", guidance=scale)
        with torch.inference_mode():
            angles = [1000 * (scale - 1) / 10_000 ** (k / 3) for k in range(4)]
            cond = torch.tensor([*map(math.sin, angles), *map(math.cos, angles), 0.0]).repeat(2, 1)
            wanted = network.eval()(LATENTS[:2], t, torch.zeros(2, 1, 6), timestep_cond=cond).sample
            assert torch.allclose(models[scale].network(LATENTS[:2], t), wanted, atol=1e-5)
    assert models[1].sha256() != models[7.5].sha256()
    facts = models[7.5].facts
    assert facts["sources"]["guidance"]["value"] == facts["network"]["guidance"] == 7.5
    assert facts["distilled"] == "bound of the distilled network, not of its sampler"
    assert "distilled" not in load(zero).facts
    refused("takes no guidance scale: leave guidance out", load, zero, guidance=2)


def test_a_latent_model_is_inspected_without_levels(zero):
    """Kills: an inspection that asks real numbers for their grid."""
    inspection = inspect(load(zero))
    tree = json.loads(inspection.to_json())
    assert (tree["levels"], tree["grid"], tree["L_T_at_most_bits_per_dim"]) == (None, None, None)
    assert tree["settings"]["latent"]["value"] == "sample"


def test_pixels_may_be_declared_real_numbers(tmp_path):
    """A density of pixels where the user says so. Kills: the option taken for latents alone."""
    model = load(pipeline(tmp_path / "p", unet(), clip_sample=False), decoder="density")
    result = nelbo.evaluate(model, torch.rand(12, 1, 4, 4), budget=200)
    assert str(result.unit) == "nats/dim, density of data"
