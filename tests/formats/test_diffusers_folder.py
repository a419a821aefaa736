"""Folders that diffusers and accelerate write: found, read, bounded, or refused in one line."""

import json
import math
import pickle
import shutil
import socket

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler
from diffusers.schedulers import scheduling_ddpm
from diffusers_folders import bare, dit, pipeline, schedule_only, training_folder, unet
from huggingface_hub.errors import LocalEntryNotFoundError

import nelbo
from linear_bound import Betas, closed_form, reading, through_the_model
from nelbo.errors import BadInput, NonFinite
from nelbo.formats import load, recipe_of

LEVELS = torch.arange(0, 256, 17).reshape(1, 4, 4)
BETAS = np.linspace(1e-4, 0.02, 1000)
KINDS = {"epsilon": "eps", "sample": "x_0", "v_prediction": "v"}
BIASES = {
    "fixed_small": [0.25],
    "fixed_large": [0.25],
    "learned_range": [0.25, -0.5],
    "fixed_small_log": [0.25],
    "fixed_large_log": [0.25],
    "learned": [0.25, 0.5],
}
CASES = [  # all six names for one prediction, the three variances for the others
    (prediction, variance)
    for prediction in KINDS
    for variance in BIASES
    if prediction == "epsilon" or variance in ("fixed_small", "fixed_large", "learned_range")
]
KEPT = {
    None: None,
    "leading": np.arange(50) * 20 + 1,
    "trailing": np.arange(20, 1001, 20),
    "linspace": np.linspace(0, 999, 50).round().astype(int) + 1,
}


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A pipeline with random weights, not to be written to."""
    return pipeline(tmp_path_factory.mktemp("plain") / "pipe")


def refused(message, *arguments, **options):
    with pytest.raises(BadInput, match=message) as error:
        load(*arguments, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("spacing", list(KEPT))
@pytest.mark.parametrize(("prediction_type", "variance_type"), CASES)
@pytest.mark.parametrize("architecture", [unet, dit])
def test_the_bound_of_an_affine_network_is_its_closed_form(
    tmp_path, architecture, prediction_type, variance_type, spacing
):
    """A network whose last layer has bias alone: each term within 1e-5, T = 1000 and 50.

    And within 1e-10 where the chain's arithmetic is in float64.

    Kills: H05, H10, H11, H12, H13, H14 (the sub-chain's variances), a lost or float32 schedule
    (H22), an architecture whose channels are read in another order.
    """
    bias = BIASES[variance_type]
    kind = {"prediction_type": prediction_type, "variance_type": variance_type}
    kind["timestep_spacing"] = spacing or "leading"
    bare(tmp_path / "net", architecture(len(bias), bias), clip_sample=False, **kind)
    model = load(tmp_path / "net", levels=256)
    model = model if spacing is None else model.every(50)
    chain = Betas.kept(BETAS, KEPT[spacing])
    name = variance_type.removeprefix("fixed_").removesuffix("_log")
    V = np.full(model.T, 0.5) if name == "learned" else chain.variance(name, f=0.25)
    A, B = reading(KINDS[prediction_type], chain, 0.0, 0.25)
    truth = closed_form(chain, V, A, B, LEVELS, 256)
    assert through_the_model(model, LEVELS) == pytest.approx(truth, rel=1e-10)
    assert through_the_model(model, LEVELS, torch.float32) == pytest.approx(truth, rel=1e-5)


def test_evaluate_measures_a_folder_like_its_closed_form(tmp_path):
    """The default path, from the folder to the interval. Kills: any step of it left out."""
    pipeline(tmp_path / "pipe", unet(1, [0.0]), clip_sample=False)
    model = load(tmp_path / "pipe", levels=256)
    images = torch.randint(256, (20, 1, 4, 4), generator=torch.Generator().manual_seed(0))
    result = nelbo.evaluate(model, images, budget=10_000)
    chain = Betas.kept(BETAS)
    A, B = reading("eps", chain, 0.0, 0.0)
    V = chain.variance("small")
    truth = np.mean([sum(closed_form(chain, V, A, B, x, 256)) for x in images])
    assert abs(result.total.mean - truth) < 4 * result.monte_carlo.se
    tree = result.to_dict()["model"]
    assert (tree["T"], tree["steps"], tree["weights"]) == (1000, 1000, "as saved")
    json.dumps(tree, allow_nan=False)


def test_a_dit_is_called_with_its_label_and_its_doubled_channels(tmp_path, monkeypatch):
    """Mean and deviation of `DDPMScheduler.step` on the DiT's own output, for no class and one.

    Kills: the label left out or fixed, halves swapped (H12), the null class taken for class 0.
    """
    network = dit()
    network.save_pretrained(tmp_path / "dit")
    scheduler = DDPMScheduler(variance_type="learned_range")
    scheduler.save_pretrained(tmp_path / "dit")
    x = torch.randn(2, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    answers = []
    for label, used in ((None, 3), (0, 0), (2, 2)):
        model = load(tmp_path / "dit", levels=256, label=label)
        with torch.inference_mode():
            step = model.chain.p.step(x, torch.full((2,), 301))
            time, labels = torch.full((2,), 300), torch.full((2,), used)
            output = network.eval()(x, timestep=time, class_labels=labels).sample
        parts = []
        for number in (0.0, 1.0):
            noise = torch.full_like(x, number)
            monkeypatch.setattr(scheduling_ddpm, "randn_tensor", lambda *a, n=noise, **k: n)
            parts.append(scheduler.step(output, 300, x).prev_sample)
        assert torch.allclose(step.mean, parts[0], atol=1e-4)
        assert torch.allclose(torch.exp(0.5 * step.log_var), parts[1] - parts[0], rtol=1e-3)
        answers.append(output)
    assert len({float(answer.sum()) for answer in answers}) == 3
    facts = load(tmp_path / "dit").facts
    assert facts["network"]["label"] == "3 (no class)"
    assert facts["sources"]["label"]["source"] == "default"
    refused(r"lies in 0\.\.3; got 4", tmp_path / "dit", label=4)


def test_a_unet_of_classes_needs_the_class_to_be_specified(tmp_path):
    """Kills: a class decided in silence."""
    pipeline(tmp_path / "pipe", unet(num_class_embeds=5))
    refused(r"conditional on one of 5 classes.*give label=", tmp_path / "pipe")
    refused(r"lies in 0\.\.4; got 5", tmp_path / "pipe", label=5)
    x, t = torch.ones(1, 1, 4, 4), torch.tensor([7])
    answers = [load(tmp_path / "pipe", label=i).network(x, t) for i in (0, 1, 1)]
    assert torch.equal(answers[1], answers[2])
    assert not torch.equal(answers[0], answers[1])


def test_doubled_channels_of_a_fixed_variance_are_not_decided_in_silence(tmp_path):
    """Kills: the second half dropped, or used, without a word (conventions 2.3)."""
    folder = pipeline(tmp_path / "pipe", unet(2, [0.25, -0.5]), clip_sample=False)
    refused(r"fixed_small: say whether .*--variance", folder)
    refused("learned-range or drop; got 'large'", folder, variance="large")
    chain = Betas.kept(BETAS)
    A, B = reading("eps", chain, 0.0, 0.25)
    for option, name in (("drop", "small"), ("learned-range", "learned")):
        model = load(folder, levels=256, variance=option)
        truth = closed_form(chain, chain.variance(name, 0.25), A, B, LEVELS, 256)
        assert through_the_model(model, LEVELS) == pytest.approx(truth, rel=1e-10)
    assert model.facts["sources"]["variance_type"] == {
        "value": "learned_range", "source": "option", "changes_bound": True
    }  # fmt: skip
    learned = schedule_only(tmp_path / "learned", variance_type="learned_range")
    refused("drop needs a fixed variance_type", folder, variance="drop", scheduler=learned)


def test_twice_the_channels_means_twice_those_of_the_data(plain, tmp_path):
    """Kills: six channels in and out, three of them a condition, taken for an image of six."""
    folder = pipeline(tmp_path / "six", unet(2, channels=2), variance_type="learned_range")
    refused("needs twice the data's channels.*sees more than x_t", folder)
    nine = pipeline(tmp_path / "nine", unet(1, channels=3))
    refused("takes 3 channels and gives 1", nine)
    refused("no channels for a variance: leave variance drop out", plain, variance="drop")


def test_the_moving_average_is_preferred_and_named(tmp_path):
    """Kills: H37 (one set of weights under the other's name, a missing average not missed)."""
    folder = training_folder(tmp_path)
    x, t = torch.zeros(1, 1, 4, 4), torch.tensor([0])
    digests = set()
    for requested, used, answer in ((None, "ema", 0.5), ("ema", "ema", 0.5), ("raw", "raw", 0.25)):
        model = load(folder, weights=requested)
        assert model.weights == model.every(3).weights == used
        assert model.facts["sources"]["weights"]["value"] == used
        assert float(model.network(x, t).detach().mean()) == answer
        digests.add(model.sha256())
    assert len(digests) == 2
    shutil.rmtree(folder / "unet_ema")
    alone = load(folder)
    assert (alone.weights, alone.facts["lacks_ema"]) == ("raw", True)
    refused("has no unet_ema/, which the ema weights would be in", folder, weights="ema")


def test_the_scheduler_is_located_or_required(plain, tmp_path):
    shutil.copytree(plain / "unet", tmp_path / "a" / "bare")
    refused("no scheduler_config.json.*--scheduler", tmp_path / "a" / "bare")
    given = load(tmp_path / "a" / "bare", scheduler=plain)
    for place in (tmp_path / "a", tmp_path / "a" / "bare"):
        DDPMScheduler(500).save_pretrained(place / "scheduler")
        assert load(tmp_path / "a" / "bare").T == 500
    assert load(tmp_path / "a" / "bare", scheduler=plain / "scheduler").T == 1000
    assert given.sha256() == load(plain).sha256()


@pytest.mark.parametrize("how", ["pickle", "sharded", "variant"])
def test_weights_are_read_from_every_kind_of_file(plain, tmp_path, how):
    options = {
        "pickle": {"safe_serialization": False},
        "sharded": {"max_shard_size": "10KB"},
        "variant": {"variant": "fp16"},
    }[how]
    shutil.copytree(plain / "scheduler", tmp_path / "pipe" / "scheduler")
    unet().save_pretrained(tmp_path / "pipe" / "unet", **options)
    again = load(tmp_path / "pipe")
    assert again.sha256() == load(plain).sha256()
    assert again.facts["sources"]["weights_file"]["source"] == "config"


def test_a_malicious_pickle_is_refused_and_does_not_run(plain, tmp_path):
    """Kills: full unpickling."""
    folder = tmp_path / "pipe"
    shutil.copytree(plain, folder)
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()

    class Attack:
        def __reduce__(self):
            return open, (str(tmp_path / "ran"), "w")

    file = folder / "unet" / "diffusion_pytorch_model.bin"
    torch.save({"conv_in.weight": Attack()}, file)
    refused("could run code and is not loaded: convert it to safetensors", folder)
    file.write_bytes(pickle.dumps(Attack()))
    refused("could run code|damaged", folder)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "name", ["unet/diffusion_pytorch_model.safetensors", "unet/config.json", "model_index.json"]
)
def test_a_git_lfs_pointer_has_its_own_message(plain, tmp_path, name):
    shutil.copytree(plain, tmp_path / "pipe")
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12\n"
    (tmp_path / "pipe" / name).write_text(pointer)
    refused("is a git-lfs pointer and not the file itself: run `git lfs pull`", tmp_path / "pipe")


def damage_weights(folder):
    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    file.write_bytes(file.read_bytes()[:100])


def damage_pickle(folder):
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    (folder / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"PK\x03\x04 not a zip")


def lose_weights(folder):
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()


def two_variants(folder):
    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    for name in ("fp16", "bf16"):
        shutil.copy(file, file.with_name(f"diffusion_pytorch_model.{name}.safetensors"))
    file.unlink()


def edit(name, **changes):
    def change(folder):
        file = folder / name
        file.write_text(json.dumps(json.loads(file.read_text()) | changes))

    return change


def break_json(folder):
    (folder / "scheduler" / "scheduler_config.json").write_text("{")


def list_json(folder):
    (folder / "scheduler" / "scheduler_config.json").write_text("[]")


NET, SCHEDULER, INDEX = "unet/config.json", "scheduler/scheduler_config.json", "model_index.json"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (damage_weights, "diffusers cannot load UNet2DModel"),
        (damage_pickle, "damaged or no file of weights"),
        (lose_weights, "has no weights: no diffusion_pytorch_model.safetensors"),
        (two_variants, "bf16.*fp16.*none without a variant"),
        (break_json, "cannot be read as JSON"),
        (list_json, "holds no JSON object"),
        (edit(NET, layers_per_block=2), "does not fit its config.json: missing keys"),
        (edit(NET, add_attention=True), "does not fit its config.json: missing keys"),
        (edit(NET, block_out_channels=[16]), "cannot load UNet2DModel"),
        (edit(NET, _class_name="UNet1DModel"), "is a UNet1DModel.*nelbo.wrap"),
        (edit(NET, center_input_sample=True), "center_input_sample says.*not on .-1, 1.*--range"),
        (edit(NET, sample_size=None), "does not say how large its images are: give size="),
        (edit(SCHEDULER, clip_sample_range=3.0), "clip_sample_range 3 says.*give their range"),
        (edit(SCHEDULER, _class_name="FlowMatchLCMScheduler"), "family='diffusers-flow'"),
        (edit(SCHEDULER, rescale_betas_zero_snr=True), "epsilon cannot give x_0"),
        (edit(INDEX, vae=["diffusers", "AutoencoderKL"]), "no vae/config.json, though"),
        (edit(INDEX, unet=[None, None]), "DDPMPipeline without a unet or transformer"),
        (edit(INDEX, unet=None, transformer=["diffusers", "X"]), "no transformer/config.json"),
    ],
)
def test_a_folder_without_a_bound_is_refused_in_one_line(plain, tmp_path, change, message):
    """Kills: H06 (latents scored with a pixel decoder), H24, weights left at random values."""
    shutil.copytree(plain, tmp_path / "pipe")
    change(tmp_path / "pipe")
    refused(message, tmp_path / "pipe")


def test_score_networks_are_refused(tmp_path):
    """Kills: a network that divides its output by t."""
    timestep = unet(class_embed_type="timestep")
    refused("class_embed_type timestep.*nelbo.wrap", pipeline(tmp_path / "c", timestep))
    fourier = unet(time_embedding_type="fourier")
    refused("fourier divides the output by sigma", pipeline(tmp_path / "b", fourier))


def test_options_say_what_the_config_does_not_and_are_reported_with_their_source(plain):
    """Kills: data range or levels decided in silence (conventions 2.2), H17 (clip)."""
    sources = load(plain).facts["sources"]
    assert sources["levels"] == {"value": 256, "source": "default", "changes_bound": True}
    assert sources["range"]["source"] == "default"
    model = load(plain, levels=2, range=(0.0, 1.0), clip=False, V_1="beta_1")
    assert (model.grid.n, model.grid.lo, model.grid.hi) == (2, 0.0, 1.0)
    sources = model.facts["sources"]
    for name in ("levels", "range", "clip_sample", "V_1"):
        assert sources[name]["source"] == "option"
    assert model.facts["clip"] is False
    assert model.facts["V_1"] == pytest.approx(1e-4, rel=1e-12)
    assert load(plain).facts["clip"] is True
    assert load(plain, size=(16, 24)).shape == (1, 16, 24)
    with pytest.raises(BadInput, match="beta_tilde_2 needs T >= 2"):
        load(plain).every(1)
    assert load(plain, V_1=1e-3).every(1).facts["V_1"] == 1e-3


def test_clipping_changes_the_bound(tmp_path):
    """Kills: H17 (a flag that is stored and not used)."""
    folder = pipeline(tmp_path / "pipe", unet(1, [0.25]))
    clipped, bare = (through_the_model(load(folder, clip=c), LEVELS)[1] for c in (None, False))
    assert clipped != pytest.approx(bare, rel=1e-2)


def test_a_range_of_clipping_that_is_not_the_datas_is_kept(tmp_path):
    folder = pipeline(tmp_path / "pipe", clip_sample_range=3.0)
    model = load(folder, range=(-1.0, 1.0))
    assert model.facts["clip"] == [-3.0, 3.0]
    assert model.chain.p.clip == (-3.0, 3.0)


def test_settings_for_a_model_of_our_own_are_refused(run):
    refused("stores its own settings: levels, label is for diffusers", run, levels=256, label=1)
    refused("no model at none", "none", levels=256)


def test_a_raw_learned_variance_that_is_negative_stops_the_evaluation(tmp_path):
    """variance_type learned takes the output at its word; NaN must not be averaged away (H39)."""
    folder = pipeline(tmp_path / "p", unet(2, [0.0, -0.5]), variance_type="learned")
    model = load(folder, levels=256)
    assert model.facts["V_1"] == "learned"
    with pytest.raises(NonFinite, match="not finite at t"):
        nelbo.evaluate(model, LEVELS[None], budget=100)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_network_in_half_precision_leaves_the_schedule_alone(tmp_path, dtype):
    """Zero is zero in every dtype, so every term is. Kills: H23 (tables cast with the network)."""
    folder = pipeline(tmp_path / "pipe", unet(1, [0.0]), num_train_timesteps=20)
    model = load(folder, levels=256)
    before = through_the_model(model, LEVELS)
    model.network.to(dtype)
    assert through_the_model(model, LEVELS) == before


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_network_in_half_precision_receives_whole_steps(plain, dtype):
    """Kills: t in the network's dtype, where 999 is 1000 (conventions 2.3)."""
    model, times = load(plain), []
    model.network.to(dtype)
    model.network.call.register_forward_pre_hook(lambda module, inputs: times.append(inputs[1]))
    x = torch.zeros(1, 1, 4, 4, dtype=torch.float64)
    with torch.inference_mode():
        for t in (2, 1000):
            model.chain.p.step(x, torch.tensor([t]))
        model.chain.p.decoder(x)
    assert [(int(t), t.dtype) for t in times] == [(i, torch.int64) for i in (1, 999, 0)]
    assert model.chain.q.schedule.alpha_bar.dtype == torch.float64


def test_one_set_of_weights_is_not_both(plain):
    """Kills: H37 (weights under a name that the folder does not give them)."""
    for weights in ("ema", "raw"):
        refused(f"does not say that they are {weights}", plain, weights=weights)


def test_a_local_folder_never_asks_the_network(plain, monkeypatch):
    def connect(*arguments):
        raise AssertionError("a connection for a local folder")

    monkeypatch.setattr(socket.socket, "connect", connect)
    assert load(plain).T == 1000


def test_a_name_of_the_hub_is_a_folder_of_its_cache(plain, tmp_path, monkeypatch):
    """Kills: a local path that is missing looked up on the hub, a hub's error in many lines."""
    calls = []

    def snapshot_download(name, revision, allow_patterns):
        calls.append(name)
        assert "*diffusion_pytorch_model*" in allow_patterns
        if name == "google/none":
            raise LocalEntryNotFoundError("not in the cache\nand HF_HUB_OFFLINE is set")
        return str(plain)

    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    for name in ("google/ddpm", "hf:google/ddpm"):
        assert load(name).name == name
    refused("no model at google/none: .*LocalEntryNotFoundError: not in the cache", "google/none")
    refused("no model at runs/none", "runs/none")
    refused("no model at none", "none")
    assert calls == ["google/ddpm", "google/ddpm", "google/none"]


def test_offline_the_hub_is_not_contacted(monkeypatch, tmp_path):
    """Kills: HF_HUB_OFFLINE ignored (nine seconds of waiting)."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(socket.socket, "connect", lambda *a: pytest.fail("a connection offline"))
    refused("no model at nobody/nothing.*HF_HUB_OFFLINE", "nobody/nothing")


def test_a_foreign_model_names_no_data_of_its_own(plain):
    with pytest.raises(BadInput, match=r"names no data.*--data SPEC"):
        recipe_of(plain)


def test_the_predicted_terms_are_finite_at_the_extremes(tmp_path):
    """T = 1 and 2 load and are measured. Kills: H05 (IndexError or an empty array at T = 1)."""
    for T in (1, 2):
        folder = pipeline(tmp_path / f"{T}", num_train_timesteps=T, beta_start=0.5, beta_end=0.9)
        model = load(folder, levels=256, V_1=0.1)
        assert all(math.isfinite(part) for part in through_the_model(model, LEVELS))
