"""A folder's network takes what its configs name; names, revisions and folders of the hub."""

import json
import shutil

import huggingface_hub
import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers_folders import bare, dit, pipeline, unet

from nelbo import evaluate, load, wrap
from nelbo.errors import BadInput
from nelbo.tasks.inspect import inspect

COMMIT = "0123456789abcdef0123456789abcdef01234567"
DEEP = {
    "block_out_channels": (8,) * 4,
    "down_block_types": ("DownBlock2D",) * 4,
    "up_block_types": ("UpBlock2D",) * 4,
}


def refused(nelbo, message, *arguments):
    """Exit 2 and one line, by each command that reads a model."""
    for command in ("inspect", "evaluate"):
        data = ("--data", "digits") if command == "evaluate" else ()
        code, out, err = nelbo(command, *arguments, *data)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert message in err


def test_a_size_that_the_network_cannot_halve_is_refused_with_its_sizes(nelbo, tmp_path):
    """28 = 7 * 2^2 in four levels. Kills: torch's error with exit code 1, and a silent inspect."""
    place = pipeline(tmp_path / "pipe", unet(sample_size=28, **DEEP))
    refused(nelbo, "images (1, 28, 28) at t = 1 of 1000 the network fails: ", place)
    assert load(place, size=32).shape == (1, 32, 32)
    assert load(place, size=(16, 8)).shape == (1, 16, 8)


def test_a_table_of_times_that_is_too_short_is_refused_with_t(nelbo, tmp_path):
    """Kills: an index out of range in the middle of an evaluation, on a GPU a dead process."""
    learned = unet(time_embedding_type="learned", num_train_timesteps=20)
    place = pipeline(tmp_path / "pipe", learned, num_train_timesteps=30)
    refused(nelbo, "at t = 30 of 30 the network fails: index out of range", place)
    assert load(pipeline(tmp_path / "fits", learned, num_train_timesteps=20)).T == 20


def test_a_size_that_a_transformer_has_no_places_for_is_refused(tmp_path):
    """A DiT puts patches together to a square. Kills: torch's error in the middle of the work."""
    place = bare(tmp_path / "dit", dit(outputs=1))
    with pytest.raises(
        BadInput, match=r"images \(1, 8, 4\) at t = 1 of 1000: .* got \(2, 1, 4, 4\)"
    ):
        load(place, size=(8, 4))


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (lambda x, t: x[..., ::2], r"at t = 1 of 5: the network must give .*; got \(1, 1, 4, 2\)"),
        (lambda x, t: x[..., :1], r"at t = 1 of 5: the network must give .*; got \(1, 1, 4, 1\)"),
        (lambda x, t: x / 0 if t == 4 else 1 / 0, "at t = 1 of 5 the network fails: division by"),
        (lambda x, t: x if t == 0 else x.view(7), "at t = 5 of 5 the network fails: shape"),
    ],
    ids=["half", "one column", "error", "at T"],
)
def test_inspect_tries_a_wrapped_network_too(network, message):
    """Kills: outputs of another size that broadcast; only one of t = 1 and T tried."""
    schedule = {"name": "linear", "T": 5, "beta_T": 0.5}
    choices = {"predicts": "eps", "variance": "small", "time_input": "index"}
    model = wrap(network, schedule=schedule, shape=(1, 4, 4), levels=4, **choices)
    with pytest.raises(BadInput, match=message):
        inspect(model)


def test_a_trial_leaves_no_trace(tmp_path):
    """In evaluation mode. Kills: another; a mode or a random state that it changes."""
    from nelbo.model import try_network

    network = torch.nn.Sequential(torch.nn.BatchNorm2d(1), torch.nn.Dropout())
    network[0].eval()
    rows = []
    network[1].register_forward_pre_hook(
        lambda module, inputs: rows.append((len(inputs[0]), module.training))
    )
    choices = {"predicts": "eps", "variance": "small", "time_input": "index", "levels": 4}
    model = wrap(lambda x, t: network(x), schedule="linear", shape=(1, 4, 4), **choices)
    before, random = network[0].running_mean.clone(), torch.get_rng_state()
    try_network(model)
    assert torch.equal(network[0].running_mean, before)
    assert torch.equal(torch.get_rng_state(), random)
    assert [part.training for part in network.modules()] == [True, False, True]
    assert rows == [(1, False), (1, False)]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A cache of the hub with one snapshot of a pipeline, whose files are links, as it has them."""
    root = tmp_path_factory.mktemp("hub") / "models--some-one--tiny-ddpm"
    pipeline(root / "made")
    (root / "blobs").mkdir()
    snapshot = root / "snapshots" / COMMIT
    for number, file in enumerate(sorted((root / "made").rglob("*.*"))):
        link = snapshot / file.relative_to(root / "made")
        link.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, root / "blobs" / str(number))
        link.symlink_to(root / "blobs" / str(number))
    shutil.rmtree(root / "made")
    return root


@pytest.fixture
def hub(cache, monkeypatch):
    """The hub, which gives that snapshot; the calls that it had."""
    calls = []

    def download(repository, *, revision=None, allow_patterns=None):
        calls.append((repository, revision))
        if revision not in (None, "main", "refs/pr/1", COMMIT):
            raise OSError(f"no revision {revision}")
        return str(cache / "snapshots" / COMMIT)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    return calls


@pytest.mark.parametrize(
    ("name", "revision", "part"),
    [
        ("hf:some-one/tiny-ddpm", None, ""),
        ("some-one/tiny-ddpm", None, ""),
        ("some-one/tiny-ddpm@main", "main", ""),
        (f"hf:some-one/tiny-ddpm@{COMMIT}", COMMIT, ""),
        ("hf:some-one/tiny-ddpm@refs/pr/1", "refs/pr/1", ""),
        ("hf:some-one/tiny-ddpm/unet", None, "unet"),
        ("hf:some-one/tiny-ddpm/unet@main", "main", "unet"),
    ],
)
def test_names_of_the_hub_with_folders_and_revisions(hub, name, revision, part):
    """And the commit is in the result. Kills: a revision taken for a part of the name."""
    about = load(name).described()
    assert hub == [("some-one/tiny-ddpm", revision)]
    assert about["name"] == name
    assert about["hub"] == {
        "repository": "some-one/tiny-ddpm",
        "revision": COMMIT,
        "part": part or "unet",
    }


def test_what_the_hub_does_not_have_is_reported(nelbo, hub):
    """Kills: an error of the hub's library, a folder that is not there read as the whole."""
    for name, message in (
        ("hf:some-one/tiny-ddpm@absent", "no model at some-one/tiny-ddpm@absent: "),
        ("hf:some-one/tiny-ddpm/vae", "some-one/tiny-ddpm has no folder vae: it has scheduler, un"),
        ("hf:tiny-ddpm", "a model of the hub is hf:OWNER/NAME[/FOLDER][@REVISION]"),
        ("hf:some-one/tiny-ddpm/../..", "a model of the hub is hf:OWNER/NAME[/FOLDER][@REVISION]"),
    ):
        code, _, err = nelbo("inspect", name)
        assert (code, err.count("\n")) == (2, 1)
        assert message in err


def test_a_snapshot_of_the_cache_is_a_model_with_its_commit(cache):
    """Kills: a model that is called by 40 digits, a result that does not say of what."""
    snapshot = cache / "snapshots" / COMMIT
    for place, name in ((snapshot, ""), (snapshot / "unet", "/unet")):
        model = load(place)
        assert model.name == f"some-one/tiny-ddpm{name}@01234567"
        hub = {"repository": "some-one/tiny-ddpm", "revision": COMMIT, "part": "unet"}
        assert model.described()["hub"] == hub
        assert model.every(5).described()["hub"] == hub


def test_the_cache_above_a_snapshot_says_what_to_give(nelbo, cache):
    """Kills: "is no run" for the root of a repository in the cache."""
    for place in (cache, cache / "snapshots", cache / "blobs"):
        message = (
            f"{place} is the hub's cache of some-one/tiny-ddpm: give hf:some-one/tiny-ddpm, or"
        )
        refused(nelbo, f"{message} one of its snapshots, such as {cache}", place)
    (file,) = (cache / "snapshots" / COMMIT / "unet").glob("*.safetensors")
    refused(nelbo, f"give the folder, {cache / 'snapshots' / COMMIT}", file)


def test_four_channels_can_be_declared_pixels(nelbo, tmp_path):
    """RGBA; without a word they are taken for latents. Kills: a refusal without a way out."""
    place = pipeline(tmp_path / "rgba", unet(4, channels=4), num_train_timesteps=20, beta_end=0.3)
    assert load(place).facts["decoder"] == "density"
    for levels in (None, 256):
        model = load(place, decoder="discretized-gaussian", levels=levels)
        assert (model.grid.n, model.shape) == (256, (4, 4, 4))
        assert model.facts["sources"]["decoder"]["source"] == "option"
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (3, 4, 4, 4), generator=generator, dtype=torch.uint8)
    result = json.loads(evaluate(model, images, budget=60).to_json())
    assert result["bits_per_dim"] > 0
    code, out, err = nelbo("inspect", place, "--decoder", "discretized-gaussian", "--json", "-")
    assert (code, json.loads(out)["levels"]) == (0, 256), err
    with pytest.raises(BadInput, match="are pixels by decoder discretized-gaussian"):
        load(place, levels=256)


def test_what_must_be_latents_cannot_be_declared_pixels(tmp_path):
    """Kills: bits/dim of the pixels of a network that is conditional on an embedding."""
    torch.manual_seed(0)
    network = UNet2DConditionModel(
        sample_size=4,
        in_channels=4,
        out_channels=4,
        block_out_channels=(8,),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D",),
        up_block_types=("CrossAttnUpBlock2D",),
        norm_num_groups=4,
        cross_attention_dim=6,
        attention_head_dim=4,
    )
    with pytest.raises(BadInput, match="a network of latents, which have no levels"):
        load(bare(tmp_path / "m", network), condition="zero", decoder="discretized-gaussian")
