"""A recipe is read as it is written: types, encodings, and changes by --set."""

import json
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

import nelbo
from conftest import small_recipe, toml
from nelbo import data, recipe
from nelbo.bound.noise import KeyedNoise
from nelbo.errors import BadInput
from nelbo.formats import load, recipe_of
from nelbo.recipe import Recipe
from nelbo.tasks.train import train


def written(tmp_path, **changes):
    tree = small_recipe().model_dump()
    path = tmp_path / "r.toml"
    text = toml(tree)
    for old, new in changes.values():
        assert old in text
        text = text.replace(old, new, 1)
    path.write_text(text)
    return path


# ---- types


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("T = 1000", "T = true", r"chain.schedule log-snr-linear: T: .*integer; got True"),
        ("T = 1000", "T = 1000.0", r"T: .*integer; got 1000.0"),
        ("T = 1000", 'T = "1000"', r"T: .*integer; got '1000'"),
        ("first = 9.2", "first = true", r"first: .*number; got True"),
        ("first = 9.2", "first = inf", r"first: .*finite"),
        ("first = 9.2", 'first = "9.2"', r"first: .*number; got '9.2'"),
        ("steps = 2", "steps = true", r"training.steps: .*integer; got True"),
        ("steps = 2", "steps = 2.0", r"training.steps: .*integer; got 2.0"),
        ("steps = 2", 'steps = "2"', r"training.steps: .*integer; got '2'"),
        ("seed = 0", f"seed = {2**63}", r"training.seed: .*less than"),
        ("seed = 0", "seed = false", r"training.seed: .*integer"),
        ("learning_rate = 0.004", "learning_rate = true", r"learning_rate: .*number"),
        ("learning_rate = 0.004", 'learning_rate = "0.004"', r"learning_rate: .*number"),
        ("compile = false", "compile = 0", r"training.compile: .*boolean; got 0"),
        ("clip = false", 'clip = "false"', r"chain.clip: .*boolean; got 'false'"),
        ("clip = false", "clip = 0", r"chain.clip: .*boolean"),
        ("width = 8", "width = 8.0", r"network.width: .*integer"),
        ("dropout = 0.1", "dropout = false", r"network.dropout: .*number"),
        ('name = "digits"', "name = 3", r"name: .*string; got 3"),
        ("range = ", "range = [true, 1.0] #", r"data.range.0: .*number; got True"),
        ("range = ", 'range = ["0", 1.0] #', r"data.range.0: .*number"),
    ],
)
def test_a_value_of_another_type_is_refused_with_file_key_and_value(tmp_path, old, new, message):
    """Kills: true taken for 1, a text for a number, "false" for what it is not."""
    text = toml(small_recipe().model_dump())
    text = text if "compile" in text else text.replace("[training]", "[training]\ncompile = false")
    text = text if "range = " in text else text.replace("[data]", "[data]\nrange = [-1.0, 1.0]")
    text = text.replace("(", "[").replace(")", "]") if "range = (" in text else text
    assert old in text, text
    path = tmp_path / "r.toml"
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(BadInput, match=message) as error:
        recipe.read(path)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("betas", [[True, 0.5], ["0.1", 0.5], 0.5])
def test_lists_are_of_the_type_that_they_are_to_hold(betas):
    tree = small_recipe().model_dump()
    tree["chain"]["schedule"] = {"name": "betas", "betas": betas}
    with pytest.raises(BadInput, match=r"chain\.schedule betas: betas"):
        Recipe.model_validate(tree).chain.schedule.make()


def test_whole_numbers_are_real_numbers_and_lists_are_tuples(tmp_path):
    tree = json.loads(json.dumps(recipe.read("mnist").model_dump(mode="json")))
    tree["training"]["ema"], tree["data"]["range"] = 0, [0, 1]
    choices = Recipe.model_validate(tree)
    assert (choices.training.ema, choices.data.range) == (0.0, (0.0, 1.0))
    assert isinstance(choices.data.range[0], float)
    for name in recipe.names():
        whole = recipe.read(name)
        assert Recipe.model_validate(json.loads(whole.model_dump_json())) == whole


# ---- encodings


def test_a_byte_order_mark_is_no_part_of_a_recipe(tmp_path):
    path = written(tmp_path)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert recipe.read(path) == small_recipe()


@pytest.mark.parametrize(
    ("encoding", "message"),
    [("utf-16", "UTF-16; save it as UTF-8"), ("latin-1", r"byte 0xe9, line 3.*save it as UTF-8")],
)
def test_a_recipe_in_another_encoding_is_reported_to_be_one(tmp_path, encoding, message):
    """Kills: "no recipe r.toml" of a file that is there."""
    path = tmp_path / "r.toml"
    text = "# a\n# b\n# caf\u00e9\n" + toml(small_recipe().model_dump())
    path.write_bytes(text.encode(encoding))
    with pytest.raises(BadInput, match=message) as error:
        recipe.read(path)
    assert "no recipe" not in str(error.value)
    assert str(error.value).startswith(f"{path} is no TOML: ")


# ---- --set


def trained(nelbo, tmp_path, *options):
    """(exit code, stderr, folder) of a tiny run by the command line."""
    out = tmp_path / "run"
    shared = ["training.steps=1", "training.batch_size=4", "network.width=8", "network.blocks=1"]
    sets = [word for change in shared for word in ("--set", change)]
    code, _, message = nelbo("train", "digits", "-o", out, *sets, *options)
    return code, message, out


def test_set_changes_any_key_and_is_recorded_in_the_run(nelbo, tmp_path):
    """Kills: a value that training uses and the run does not know of."""
    options = ["--set", "chain.schedule.T=7", "--set", "name=tiny", "--set", "chain.clip=true"]
    code, message, out = trained(nelbo, tmp_path, *options)
    assert code == 0, message
    loaded = load(out)
    assert (loaded.T, loaded.name) == (7, "tiny")
    kept = recipe_of(out)
    assert (kept.network.width, kept.training.steps, kept.chain.clip) == (8, 1, True)
    code, _, message = nelbo("train", "--resume", out, "--set", "training.steps=2")
    assert code == 2
    assert "leave out --data, --set" in message


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("network.widht=64", ["unknown key network.widht", "did you mean width"]),
        ("train.steps=3", ["unknown key train", "did you mean training"]),
        ("training.steps=true", ["training.steps", "integer", "True"]),
        ("training.steps=2.5", ["training.steps", "integer"]),
        ("training.steps='3'", ["training.steps", "integer", "'3'"]),
        ("training.steps=", ["training.steps", "integer"]),
        ("training.steps", ["TABLE.KEY=VALUE"]),
        ("=3", ["TABLE.KEY=VALUE"]),
        ("training..steps=3", ["TABLE.KEY=VALUE"]),
        ("name.x=3", ["name is a value and no table"]),
        ("chain.schedule.T=true", ["chain.schedule log-snr-linear: T", "integer"]),
        ("chain.variance=medium", ["chain.variance", "'medium'"]),
        ("training.steps=3\nname='x'", ["training.steps", "integer"]),
    ],
)
def test_a_change_is_checked_as_a_key_of_the_file_is(nelbo, tmp_path, change, words):
    code, _, message = nelbo("train", "digits", "-o", tmp_path / "run", "--set", change)
    assert code == 2
    assert not [word for word in words if word not in message], message
    assert not (tmp_path / "run").exists()


def test_values_of_set_are_those_of_toml_and_words_need_no_quotes():
    changes = {
        "training.learning_rate": ("1e-3", 1e-3),
        "data.range": ("[0, 1]", (0.0, 1.0)),
        "data.train": ("mnist:some/where", "mnist:some/where"),
        "data.test": ('"2020"', "2020"),
        "chain.variance": ("large", "large"),
        "training.compile": ("true", True),
        "network": ('{name = "resnet", width = 16}', None),
        "training.patience": ("3", 3),
    }
    choices = recipe.read("digits", [f"{key}={text}" for key, (text, _) in changes.items()])
    for key, (_, value) in changes.items():
        table, _, name = key.partition(".")
        assert not name or getattr(getattr(choices, table), name) == value
    assert choices.network.width == 16
    with pytest.raises(BadInput, match=r"training.steps: is given twice"):
        recipe.read("digits", ["training.steps=1", "training.steps=2"])


# ---- seeds


@pytest.mark.parametrize("seed", [2**63, 2**64, 10**30, -(2**63) - 1, True])
def test_a_seed_that_is_no_integer_of_63_bits_is_refused_in_a_line(seed):
    """Kills: "Overflow when unpacking long long"."""
    with pytest.raises(BadInput, match=r"a seed is an integer from 0 to 2\*\*63 - 1; got"):
        KeyedNoise.of(seed, torch.arange(2))


@pytest.mark.parametrize("seed", [2**63, 10**30])
@pytest.mark.parametrize(
    "command", ["evaluate", "compare", "sample", "improve", "derive", "report"]
)
def test_no_command_takes_a_seed_that_is_too_large(nelbo, command, seed, tmp_path):
    more = {"compare": ["b"], "improve": ["-o", str(tmp_path / "x")]}.get(command, [])
    code, _, message = nelbo(command, "a", *more, "--seed", seed)
    assert code == 2
    assert "seed" in message
    assert "Traceback" not in message


@pytest.mark.parametrize("seed", [-1, 2**63])
@pytest.mark.parametrize("task", ["evaluate", "ode_likelihood", "sample", "derive", "rank"])
def test_no_function_takes_a_seed_that_no_command_does(task, seed, run):
    """Kills: ode_likelihood(seed=-1), whose result no command can make again."""
    some = (nelbo.load(run), 2 if task == "sample" else data.load("digits:test").first(2))
    with pytest.raises(BadInput, match=r"a seed is an integer from 0 to 2\*\*63 - 1; got"):
        getattr(nelbo, task)(*some, seed=seed)


def test_the_largest_seed_trains_and_the_batches_of_small_ones_stay(tmp_path):
    from nelbo.training.batches import Batches

    small, large = Batches(10, 4, 3), Batches(10, 4, 2**63 - 1)
    order = torch.randperm(10, generator=torch.Generator().manual_seed(3 * 1_000_003))
    assert small.at(0).tolist() == order[:4].tolist()
    assert sorted(large.at(0).tolist()) == sorted(set(large.at(0).tolist()))
    changes = {"training.seed": 2**63 - 1, "training.steps": 1, "training.batch_size": 4}
    assert train(small_recipe(**changes), tmp_path / "run").exists()


# ---- test data, before training


def data_recipe(tmp_path, train_images, test_images):
    for name, array in (("train.npy", train_images), ("test.npy", test_images)):
        if array is not None:
            np.save(tmp_path / name, array)
    return {
        "data.train": str(tmp_path / "train.npy"),
        "data.test": str(tmp_path / "test.npy"),
        "training.batch_size": 4,
        "training.steps": 1,
        "data.levels": 17,
    }


def levels(count, seed=0, shape=(1, 8, 8), n=17):
    return np.random.default_rng(seed).integers(0, n, (count, *shape), np.uint8)


@pytest.mark.parametrize(
    ("test", "words"),
    [
        (None, "no such file"),
        (levels(3, shape=(1, 6, 6)), r"\(1, 6, 6\).*\(1, 8, 8\)"),
        (levels(3, n=200), "is not a level 0..16"),
        (levels(3) / 16, "nothing says which levels"),
    ],
)
def test_test_data_are_looked_at_before_there_is_a_run(tmp_path, test, words):
    """Kills: hours of training before a file that is not there."""
    choices = small_recipe(**data_recipe(tmp_path, levels(8), test))
    with pytest.raises(BadInput, match=words):
        train(choices, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_damaged_test_data_are_refused_by_the_command_before_there_is_a_run(nelbo, tmp_path):
    np.save(tmp_path / "train.npy", levels(8))
    (tmp_path / "test.npy").write_bytes(b"no array")
    data = ["--data", tmp_path / "train.npy", "--test-data", tmp_path / "test.npy"]
    code, message, _ = trained(nelbo, tmp_path, *data, "--set", "data.levels=17")
    assert code == 2
    assert "test.npy: cannot be read" in message
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("shared", [0, 1, 5, 8])
def test_test_images_that_are_trained_on_are_counted_aloud(tmp_path, shared):
    images, lines = levels(8), []
    others = np.concatenate([levels(8 - shared, 1), images[:shared]])
    train(
        small_recipe(**data_recipe(tmp_path, images, others)), tmp_path / "run", warn=lines.append
    )
    log = (tmp_path / "run" / "log.jsonl").read_text()
    if not shared:
        assert not lines
        assert "warning" not in log
        return
    assert len(lines) == 1
    assert f"{shared} of the 8 test images" in lines[0]
    assert json.loads(log.splitlines()[0]) == {"step": 0, "warning": lines[0]}


def test_a_bound_on_the_training_images_says_so_in_the_result_and_on_the_page(nelbo, tmp_path):
    from nelbo.report.page.checks import checks
    from nelbo.results.reading import read

    images = levels(8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        out = train(small_recipe(**data_recipe(tmp_path, images, images)), tmp_path / "run")
    path = tmp_path / "r.json"
    code, _, message = nelbo("evaluate", out, "--budget", 64, "--steps", 5, "--json", path)
    assert code == 0
    assert "was trained on these very images" in message
    assert json.loads(path.read_text())["data"]["trained_on"] is True
    assert "trained on" in [check.figure for check in checks(read(path))]


def test_a_folder_with_train_and_test_in_it_is_trained_and_measured_on_its_own_parts(tmp_path):
    for part, seed, count in (("train", 0, 6), ("test", 1, 4)):
        (tmp_path / "data" / part).mkdir(parents=True)
        for i, image in enumerate(levels(count, seed)):
            Image.fromarray(image[0]).save(tmp_path / "data" / part / f"{i}.png")
    choices = recipe.on_data(small_recipe(), str(tmp_path / "data"))
    assert choices.data.train == f"{tmp_path}/data:train"
    assert choices.data.test == f"{tmp_path}/data:test"


# ---- files


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_the_per_image_table_of_a_folder_has_its_file_names(nelbo, tmp_path, suffix):
    """Kills: names in the order of evaluation and not of the ids; a table that cannot be read."""
    from nelbo.results import per_image

    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    (tmp_path / "data").mkdir()
    names = ["b, c.png", "a.png", "x\udcff.png"]
    for name, image in zip(names, levels(3, 5), strict=True):
        Image.fromarray(image[0]).save(tmp_path / "data" / "p.png")
        (tmp_path / "data" / "p.png").rename(tmp_path / "data" / name)
    out, table = trained(nelbo, tmp_path)[2], tmp_path / f"t{suffix}"
    command = ["evaluate", out, "--budget", 24, "--steps", 3, "--per-image", table, "--data"]
    assert nelbo(*command, tmp_path / "data")[0] == 0
    result = per_image.read(table)
    assert result["id"].tolist() == [0, 1, 2]
    assert tuple(result) == per_image.COLUMNS
    if suffix == ".csv":
        lines = table.read_text().splitlines()
        assert lines[0].endswith(",file")
        assert [line.partition(",")[0] for line in lines[1:]] == ["0", "1", "2"]
        ends = [",a.png", ',"b, c.png"', "x\\udcff.png'"]
        assert all(line.endswith(end) for line, end in zip(lines[1:], ends, strict=True))
    else:
        import pyarrow.parquet

        assert pyarrow.parquet.read_table(table)["file"].to_pylist()[:2] == ["a.png", "b, c.png"]
    assert nelbo(*command, "digits:test", "--max-images", 2)[0] == 0
    assert b"file" not in table.read_bytes()


def test_pixels_of_a_decoder_are_named_on_stderr_and_in_the_result(nelbo, tmp_path):
    (tmp_path / "data").mkdir()
    for i in range(2):
        image = Image.fromarray(np.full((8, 8), 3 + i, np.uint8))
        image.save(tmp_path / "data" / f"{i}.jpg", quality=100)
    out, path = trained(nelbo, tmp_path)[2], tmp_path / "r.json"
    command = ["evaluate", out, "--budget", 24, "--steps", 3, "--json", path]
    code, _, message = nelbo(*command, "--data", tmp_path / "data")
    assert code == 0
    assert "data: pixels of JPEG by Pillow" in message
    assert json.loads(path.read_text())["data"]["decoded"].startswith("JPEG by Pillow")
