"""Every other file that people have: said for what it is, with the way in, and never run."""

import json
import os
import pickle
import shutil
import warnings
import zipfile

import numpy as np
import pytest
import torch
from diffusers_folders import pipeline, training_folder, unet
from safetensors.torch import save_file

from nelbo import load
from nelbo.errors import BadInput

WEIGHT = torch.zeros(2, 2)
FUNCTION = "give file.py:function"


class Runs:
    """What must never happen while a file is looked at."""

    def __reduce__(self):
        return (os.mkdir, ("ran",))


def saved(tree, **options):
    return lambda path: torch.save(tree, path, **options)


def written(content):
    return lambda path: path.write_bytes(content)


def zipped(**members):
    def write(path):
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in members.items():
                archive.writestr(name.replace("__", "/").replace("_dot_", "."), content)

    return write


def jit(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.script(torch.nn.Linear(1, 1)), path)


LIGHTNING = {"state_dict": {"net.weight": WEIGHT}, "pytorch-lightning_version": "2.5"}
LUCIDRAINS = {
    "step": 10,
    "model": {"betas": WEIGHT[0], "model.init_conv.weight": WEIGHT},
    "opt": {"state": {}, "param_groups": []},
    "ema": {"ema_model.model.init_conv.weight": WEIGHT},
    "scaler": None,
    "version": "2.1.1",
}
GUIDED = {"input_blocks.0.0.weight": WEIGHT, "time_embed.0.weight": WEIGHT}
OPTIMIZER = {"state": {}, "param_groups": [{"lr": 0.1}]}
K_DIFFUSION = {"model": {"a": WEIGHT}, "model_ema": {"a": WEIGHT}, "opt": {}, "step": 1}
BARE = b'{"__metadata__":null,"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'

KINDS = [
    ("net.pt", saved({"net.weight": WEIGHT}), "pickle of 1 tensors .net.weight", FUNCTION),
    ("net.ckpt", saved({"module.a": WEIGHT}), "module. of DataParallel, to be taken off", FUNCTION),
    ("c.pth", saved({"_orig_mod.a": WEIGHT}), "_orig_mod. of torch.compile", FUNCTION),
    (
        "old.pth",
        saved({"net.weight": WEIGHT}, _use_new_zipfile_serialization=False),
        "pickle of 1 tensors",
        FUNCTION,
    ),
    (
        "net.safetensors",
        lambda p: save_file({"a": WEIGHT}, p),
        "safetensors file of 1 te",
        FUNCTION,
    ),
    ("model-10.pt", saved(LUCIDRAINS), "lucidrains.*weights under model, ema", FUNCTION),
    (
        "last.ckpt",
        saved(LIGHTNING),
        "a checkpoint of Lightning, weights under state_dict",
        FUNCTION,
    ),
    (
        "hyper.ckpt",
        saved({**LIGHTNING, "hyper_parameters": Runs()}),
        r"a checkpoint of Lightning with more in it than tensors \((posix|nt)\.mkdir\)",
        "load it yourself",
    ),
    ("64x64_diffusion.pt", saved(GUIDED), "OpenAI's improved or guided diffusion", FUNCTION),
    ("k.pth", saved(K_DIFFUSION), "k-diffusion, weights under model, model_ema", FUNCTION),
    ("optimizer.bin", saved(OPTIMIZER), "the state of an optimizer", FUNCTION),
    (
        "whole.pt",
        saved(torch.nn.Linear(1, 1)),
        "a whole module with more in it",
        "load it yourself",
    ),
    ("evil.pkl", lambda p: p.write_bytes(pickle.dumps(Runs())), "mkdir", "could run code"),
    ("x.pt", saved(torch.zeros(3, 1, 4, 4)), r"one tensor \(3, 1, 4, 4\)", FUNCTION),
    ("script.pt", jit, "a TorchScript archive", "torch.jit.load"),
    (
        "program.pt2",
        zipped(x__archive_format="pt2", x__data_dot_pkl=""),
        "a program of torch.export",
        "torch.export.load",
    ),
    ("a.npz", lambda p: np.savez(p, x=np.zeros(3)), "arrays of numpy, .npz", "--data"),
    ("a.npy", lambda p: np.save(p, np.zeros(3)), "an array of numpy", "--data"),
    ("a.arrow", written(b"ARROW1\0\0" + bytes(9)), "an Arrow file", "--data"),
    ("a.zip", zipped(readme="x"), "a zip archive", "unpack it"),
    ("b.zip", written(b"PK\x03\x04 cut"), "a zip archive that is cut short", "download"),
    ("m.keras", zipped(model_dot_weights_dot_h5="x"), "a Keras model", FUNCTION),
    ("m.h5", written(b"\x89HDF\r\n\x1a\n" + bytes(99)), "an HDF5 file", FUNCTION),
    ("m.onnx", written(b"\x08\x08\x12\x07pytorch\x1a\x03" + bytes(99)), "an ONNX graph", FUNCTION),
    ("m.gguf", written(b"GGUF\x03" + bytes(99)), "a GGUF file", FUNCTION),
    ("m.tflite", written(b"\x20\0\0\0TFL3" + bytes(99)), "TensorFlow Lite", FUNCTION),
    ("m.msgpack", written(b"\x81\xa6params" + bytes(99)), "Flax", FUNCTION),
    ("m.tar.gz", written(b"\x1f\x8b\x08" + bytes(99)), "a gzip archive", "unpack"),
    ("empty.pt", written(b""), "empty", "download"),
    ("p.png", written(b"\x89PNG\r\n\x1a\n" + bytes(9)), "a picture", "--data"),
    ("lfs.pt", written(b"version https://git-lfs.github.com/spec/v1\n"), "git-lfs", "lfs pull"),
    ("page.pt", written(b"<!DOCTYPE html><html>"), "a web page", "download"),
    ("mine.py", written(b"import nelbo\n"), "a Python file", "mine.py:function"),
    ("r.toml", written(b'name = "x"\n'), "a recipe", "nelbo train"),
    (
        "r.json",
        written(b'{"schema": "nelbo.evaluation/1"}'),
        "a result, nelbo.eval",
        "nelbo report",
    ),
    ("c.json", written(b'{"_class_name": "UNet2DModel"}'), "config of a UNet2DModel", "folder"),
    ("d.json", written(b"{"), "a text like JSON, and damaged", "folder"),
    ("e.json", written(b"[" * 100_000), "a text like JSON, and damaged", "folder"),
    ("notes.txt", written(b"hello"), "a text", FUNCTION),
    ("byte.pt", written(b"\x80"), "a text", FUNCTION),  # a pickle's first byte alone
    (
        "bare.safetensors",
        written(len(BARE).to_bytes(8, "little") + BARE + bytes(4)),
        "safetensors file of 1 tensors",
        FUNCTION,
    ),
]


@pytest.mark.parametrize(("name", "write", "what", "way"), KINDS, ids=[kind[0] for kind in KINDS])
def test_a_file_of_others_is_named_with_the_way_in(
    nelbo, tmp_path, monkeypatch, name, write, what, way
):
    """Kills: "damaged or no nelbo checkpoint" for a good file; a pickle that is run to be named."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path / name)
    code, out, err = nelbo("inspect", tmp_path / name)
    assert (code, out, err.count("\n")) == (2, "", 1)
    with pytest.raises(BadInput, match=what):
        load(tmp_path / name, levels=256)
    assert way in err
    assert not (tmp_path / "ran").exists()


def test_files_that_are_cut_short_are_reported_as_such(tmp_path):
    """Kills: a half download that is told to be of another kind."""
    save_file({"a": torch.zeros(999)}, tmp_path / "a.safetensors")
    content = (tmp_path / "a.safetensors").read_bytes()
    (tmp_path / "a.safetensors").write_bytes(content[:-100])
    with pytest.raises(BadInput, match=r"safetensors file that is cut short: 3,9.. of 4,0.. bytes"):
        load(tmp_path / "a.safetensors")
    torch.save({"a": torch.zeros(999)}, tmp_path / "a.pt")
    (tmp_path / "a.pt").write_bytes((tmp_path / "a.pt").read_bytes()[:-100])
    with pytest.raises(BadInput, match="cut short"):
        load(tmp_path / "a.pt")


def test_our_own_checkpoints_stay_ours_however_damaged(run, tmp_path):
    """Kills: a damaged run told to be a file of another library."""
    content = (run / "model.safetensors").read_bytes()
    for name, damaged in (("cut", content[:-9]), ("bit", content[:-1] + b"\xff")):
        (tmp_path / name).write_bytes(damaged)
        with pytest.raises(BadInput, match="is damaged: "):
            load(tmp_path / name)
    assert load(run / "model.safetensors").T > 0


def test_a_part_of_a_good_folder_names_the_folder(nelbo, tmp_path):
    """Kills: weights inside a readable folder that are told to be damaged."""
    pipe = pipeline(tmp_path / "pipe")
    training = training_folder(tmp_path / "run")
    torch.save(OPTIMIZER, training / "optimizer.bin")
    parts = {
        pipe / "unet" / "diffusion_pytorch_model.safetensors": pipe,
        pipe / "unet" / "config.json": pipe,
        pipe / "model_index.json": pipe,
        pipe / "scheduler" / "scheduler_config.json": pipe,
        training / "optimizer.bin": training,
    }
    for part, folder in parts.items():
        code, _, err = nelbo("evaluate", part, "--data", "digits")
        assert (code, err) == (
            2,
            f"nelbo: {part} is a part of a diffusers folder, which is no model by itself: give "
            f"the folder, {folder}\n",
        )


def test_accelerates_state_is_not_taken_for_a_run(tmp_path):
    """Its model.safetensors has the name of a run's file. Kills: "damaged" for it."""
    save_file({"module.a": WEIGHT}, tmp_path / "model.safetensors")
    with pytest.raises(BadInput, match=r"model.safetensors is a safetensors file of 1 tensors"):
        load(tmp_path)


LAYOUTS = [
    {"max_shard_size": "10KB"},
    {"variant": "fp16"},
    {"variant": "fp16", "max_shard_size": "10KB"},
    {"safe_serialization": False},
    {"safe_serialization": False, "max_shard_size": "10KB"},
    {"safe_serialization": False, "variant": "fp16", "max_shard_size": "10KB"},
    {"variant": "non_ema"},
]


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return pipeline(tmp_path_factory.mktemp("plain") / "pipe")


def saved_as(plain, place, **layout):
    """The same pipeline with its weights in another layout."""
    shutil.copytree(plain, place)
    for file in (place / "unet").iterdir():
        file.unlink()
    unet().save_pretrained(place / "unet", **layout)
    return place


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: "-".join(map(str, layout.values())))
def test_every_layout_that_diffusers_writes_is_read(plain, tmp_path, capfd, layout):
    """Kills: "keep one" for the shards of a variant, which destroys the model; a bar of shards."""
    model = load(saved_as(plain, tmp_path / "pipe", **layout))
    assert model.sha256() == load(plain).sha256()
    assert capfd.readouterr() == ("", "")


def test_of_several_variants_one_is_chosen_by_name(nelbo, plain, tmp_path):
    """Kills: a variant taken in silence, or advice to remove the others."""
    place = saved_as(plain, tmp_path / "pipe", variant="fp16", max_shard_size="10KB")
    unet(bias=[0.5]).save_pretrained(place / "unet", variant="bf16")
    with pytest.raises(BadInput, match=r"variants bf16, fp16 and none.*--variant\)$"):
        load(place)
    code, out, _ = nelbo("inspect", place, "--variant", "fp16", "--json", "-")
    about = json.loads(out)
    assert (code, about["sha256"]) == (0, load(plain).sha256())
    name = "diffusion_pytorch_model.safetensors.index.fp16.json"
    assert about["settings"]["weights_file"]["value"] == name
    assert load(place, variant="bf16").sha256() != about["sha256"]
    with pytest.raises(BadInput, match="no weights of the variant fp8: it has bf16, fp16"):
        load(place, variant="fp8")


def test_two_layouts_of_one_variant_are_not_one_model(plain, tmp_path):
    """diffusers reads the shards. Kills: weights of another file than the one that is recorded."""
    place = saved_as(plain, tmp_path / "pipe", max_shard_size="10KB")
    shutil.copy(plain / "unet" / "diffusion_pytorch_model.safetensors", place / "unet")
    with pytest.raises(BadInput, match="may hold different weights: copy"):
        load(place)


def test_shards_are_held_against_their_index(plain, tmp_path):
    """Kills: a shard that is elsewhere, an index of another type."""
    place = saved_as(plain, tmp_path / "pipe", max_shard_size="10KB")
    index = place / "unet" / "diffusion_pytorch_model.safetensors.index.json"
    tree = json.loads(index.read_text())
    first = min(tree["weight_map"])
    for name in ("absent.safetensors", "../../secret.safetensors"):
        index.write_text(json.dumps(tree | {"weight_map": {**tree["weight_map"], first: name}}))
        with pytest.raises(BadInput, match=f"names the file {name}, which is not beside it"):
            load(place)
    index.write_text(json.dumps(tree | {"weight_map": [1]}))
    with pytest.raises(BadInput, match=r"index.json: weight_map: .*; got \[1\]"):
        load(place)
    index.unlink()
    with pytest.raises(BadInput, match="is a shard, whose index"):
        load(place)


@pytest.mark.parametrize("prefix", ["_orig_mod.", "module."])
def test_keys_of_a_wrapped_network_are_named_with_the_fix(plain, tmp_path, prefix):
    """Kills: missing keys listed where all of them have one prefix."""
    place = saved_as(plain, tmp_path / "pipe")
    state = {f"{prefix}{key}": x for key, x in unet().state_dict().items()}
    save_file(state, place / "unet" / "diffusion_pytorch_model.safetensors", {"format": "pt"})
    with pytest.raises(BadInput, match=f"its keys begin with {prefix}, .*without {prefix}"):
        load(place)


def test_weights_by_another_name_are_named(plain, tmp_path):
    """As accelerate's save_model names them. Kills: "has no weights" where they are there."""
    place = saved_as(plain, tmp_path / "pipe")
    file = place / "unet" / "diffusion_pytorch_model.safetensors"
    file.rename(file.with_name("model.safetensors"))
    with pytest.raises(BadInput, match=r"model.safetensors: diffusers reads no such name"):
        load(place)


def of_latents(plain, place):
    """A pipeline with an autoencoder's config, of which nothing but keys is read."""
    shutil.copytree(plain, place)
    (place / "vae").mkdir()
    (place / "vae" / "config.json").write_text('{"_class_name": "AutoencoderKL"}')
    index = json.loads((place / "model_index.json").read_text())
    entry = {"vae": ["diffusers", "AutoencoderKL"]}
    (place / "model_index.json").write_text(json.dumps(index | entry))
    return place


UNET, VAE, INDEX = "unet/config.json", "vae/config.json", "model_index.json"


@pytest.mark.parametrize(
    ("file", "key", "value", "message"),
    [
        (UNET, "in_channels", "1", "in_channels: input should be a valid integer; got '1'"),
        (UNET, "in_channels", 0, "in_channels: input should be greater than or equal to 1; got 0"),
        (UNET, "out_channels", True, "out_channels: "),
        (UNET, "sample_size", [4, 4, 4], "sample_size: "),
        (UNET, "sample_size", "4", "sample_size: "),
        (UNET, "center_input_sample", "false", "center_input_sample: .*valid boolean; got 'false'"),
        (UNET, "flip_sin_to_cos", "false", "flip_sin_to_cos: is true or false; got 'false'"),
        (UNET, "add_attention", 0, "add_attention: is true or false; got 0"),
        (UNET, "num_class_embeds", -3, "num_class_embeds: "),
        (UNET, "time_embedding_type", 3, "time_embedding_type: input should be a valid string"),
        (VAE, "scaling_factor", "0.18", "scaling_factor: .*valid number; got '0.18'"),
        (VAE, "scaling_factor", 0.0, "scaling_factor: input should be greater than 0; got 0"),
        (VAE, "scaling_factor", float("nan"), "scaling_factor: .*; got nan"),
        (VAE, "shift_factor", True, "shift_factor: input should be a valid number; got True"),
        (VAE, "shift_factor", float("inf"), "shift_factor: .*; got inf"),
        (INDEX, "unet", "UNet2DModel", r"unet: is \[library, class\]; got 'UNet2DModel'"),
        (INDEX, "vae", ["diffusers", 3], r"vae: is \[library, class\]; got"),
    ],
)
def test_a_value_of_another_type_is_refused_by_file_key_and_value(
    nelbo, plain, tmp_path, file, key, value, message
):
    """Kills: a text that is true, a TypeError with exit code 1, a scale that is no number."""
    place = of_latents(plain, tmp_path / "pipe")
    tree = json.loads((place / file).read_text())
    (place / file).write_text(json.dumps(tree | {key: value}))
    with pytest.raises(BadInput, match=f"{file}: {message}"):
        load(place)
    code, out, err = nelbo("inspect", place)
    assert (code, out, err.count("\n")) == (2, "", 1)


@pytest.mark.parametrize("file", [UNET, VAE, INDEX])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": 1, "a": 2}', "the key 'a' is there twice"),
        (b'{"a": ' * 100_000, "nested too deep"),
        (b"\xff\xfe{}", "cannot be read as JSON"),
        (b"", "cannot be read as JSON"),
        (b"[]", "holds no JSON object"),
    ],
    ids=["twice", "deep", "bytes", "empty", "list"],
)
def test_what_is_no_json_object_is_refused_in_one_line(plain, tmp_path, file, content, message):
    """Kills: the last of two keys, a RecursionError."""
    place = of_latents(plain, tmp_path / "pipe")
    (place / file).write_bytes(content)
    with pytest.raises(BadInput, match=f"{file} .*{message}|{file}: .*{message}"):
        load(place)


def test_results_and_records_with_a_key_twice_are_refused(nelbo, run, tmp_path):
    """Kills: the last of two keys, in what is read again."""
    few = ("--data", "digits:test", "--max-images", 2, "--budget", 40)
    code, out, err = nelbo("evaluate", run, *few, "--record", tmp_path / "r", "--json", "-")
    assert code == 0, err
    (tmp_path / "r.json").write_text(out.replace('"images": 2', '"images": 3, "images": 2', 1))
    code, _, err = nelbo("report", tmp_path / "r.json", "-o", tmp_path / "r.html")
    assert (code, "the key 'images' is there twice" in err) == (2, True)
    plan = tmp_path / "r" / "plan.json"
    plan.write_text(plan.read_text().replace("{", '{"seed": 3,', 1))
    code, _, err = nelbo("evaluate", run, *few, "--record", tmp_path / "r")
    assert (code, "plan.json is damaged" in err) == (2, True)
