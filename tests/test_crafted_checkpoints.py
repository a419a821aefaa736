"""Checkpoints whose digest is right and whose content is not: one plain line, or what they say."""

import json
import math

import pytest
import torch

from nelbo import checkpoint
from nelbo.checkpoint import Checkpoint
from nelbo.errors import BadInput
from nelbo.formats import load
from nelbo.formats.run import described_by

DEEP = json.loads("[" * 200 + "]" * 200)
WRONG = [
    None, True, "x", "", "\x1b[2J\n", -1, 0, 1.5, 10**30, 1e308, math.nan, math.inf, [], {}, [1],
    ["x"], {"x": 1}, DEEP, "9" * 5000, [[]],
]  # fmt: skip
EACH = 4  # wrong values of a key, in turn
ADDED = ("colour", "", "\x1b[2J\n")


def paths(tree, before=()):
    """Every key of the tree, by the keys that lead to it."""
    for key, value in tree.items():
        yield (*before, key)
        if isinstance(value, dict):
            yield from paths(value, (*before, key))


def table(tree, path):
    for key in path:
        tree = tree[key]
    return tree


@pytest.fixture(scope="module")
def whole(run):
    stored = checkpoint.load(run / "model.safetensors")
    return Checkpoint(dict(stored.tensors), json.loads(json.dumps(stored.description)))


def crafted(description):
    """(what was changed, the description) for each key and each of some values; and without it."""
    text, number = json.dumps(description), 0
    for path in paths(description):
        for _ in range(EACH):
            about, value = json.loads(text), WRONG[number % len(WRONG)]
            number += 1
            table(about, path[:-1])[path[-1]] = value
            yield (path, value), about
        about = json.loads(text)
        del table(about, path[:-1])[path[-1]]
        yield (path, "missing"), about
    tables = [path for path in paths(description) if isinstance(table(description, path), dict)]
    for path in ((), *tables):
        for key in ADDED:
            about = json.loads(text)
            table(about, path)[key] = 1
            yield ((*path, key), "added"), about


def outcome(path):
    """What came of the file: refused, or its model; anything else is an error of ours."""
    try:
        return load(path)
    except BadInput:
        return None


def test_a_crafted_description_is_refused_or_taken_as_it_is_written(whole, tmp_path):
    """Kills: a traceback, and a value that is taken for another."""
    refused, failed = 0, []
    for what, about in crafted(whole.description):
        path = checkpoint.save(tmp_path / "x.safetensors", Checkpoint(whole.tensors, about))
        try:
            result = outcome(path)
        except Exception as error:
            failed.append((str(what)[:200], repr(error)[:300]))
            continue
        if result is None:
            refused += 1
            continue
        written = json.loads(json.dumps(described_by(about, path).recipe.model_dump(mode="json")))
        for key in paths(about.get("recipe", {})):
            try:
                kept = table(written, key)
            except KeyError:
                kept = table(about["recipe"], key)  # a default that is not written down
            wanted = table(about["recipe"], key)
            if type(kept) is not type(wanted) and {type(kept), type(wanted)} != {int, float}:
                failed.append((str(what)[:200], f"{key}: {wanted!r:.60} is taken as {kept!r:.60}"))
    assert not failed
    assert refused > 150


def test_an_unknown_key_of_a_newer_nelbo_is_one_line_that_names_it(nelbo, whole, tmp_path):
    about = json.loads(json.dumps(whole.description))
    about["recipe"]["training"]["momentum"] = 0.9
    path = checkpoint.save(tmp_path / "x.safetensors", Checkpoint(whole.tensors, about))
    code, out, err = nelbo("inspect", path)
    assert (code, out) == (2, "")
    (line,) = err.splitlines()
    assert "is of a newer nelbo or was edited: unknown key training.momentum" in line
    assert line.endswith("update nelbo")


TENSORS = {
    "missing": lambda x: None,
    "another shape": lambda x: x[..., None],
    "empty": lambda x: x.new_zeros(0),
    "integers": lambda x: x.long(),
    "booleans": lambda x: x > 0,
    "complex": lambda x: x.to(torch.complex64),
    "half": lambda x: x.half(),
    "double": lambda x: x.double(),
}


@pytest.mark.parametrize("change", TENSORS)
def test_crafted_tensors_are_refused(whole, tmp_path, change):
    """Kills: weights that are cast to others in silence."""
    names = [name for name in whole.tensors if name.startswith("ema.")]
    for name in (names[0], names[-1]):
        tensors = {**whole.tensors, name: TENSORS[change](whole.tensors[name])}
        tensors = {key: x for key, x in tensors.items() if x is not None}
        path = checkpoint.save(tmp_path / "x.safetensors", Checkpoint(tensors, whole.description))
        with pytest.raises(BadInput):
            load(path)


def test_a_tensor_too_many_is_refused(whole, tmp_path):
    tensors = {**whole.tensors, "ema.more": torch.zeros(3)}
    path = checkpoint.save(tmp_path / "x.safetensors", Checkpoint(tensors, whole.description))
    with pytest.raises(BadInput):
        load(path)


IMPROVED = [
    {}, {"weights": "ema"}, {"weights": "ema", "steps": "x", "variance": "optimal"},
    {"weights": "ema", "steps": [], "variance": "optimal"}, {"weights": ["ema"], "steps": [1]},
    {"weights": "ema", "steps": [0, 10**9], "variance": "optimal"},
    {"weights": "ema", "steps": [1, 1], "variance": 3}, {"weights": "ema", "steps": [1.5]},
    {"weights": "ema", "steps": {"a": 1}, "variance": None},
]  # fmt: skip


@pytest.mark.parametrize("plan", IMPROVED)
@pytest.mark.parametrize("shape", [None, (), (2,), (2, 1, 8, 8), (10**3, 0)])
def test_a_crafted_improvement_is_refused(whole, tmp_path, plan, shape):
    about = {**whole.description, "improved": plan}
    kept = {} if shape is None else {"improved.variance": torch.ones(shape, dtype=torch.float64)}
    made = Checkpoint({**whole.tensors, **kept}, about)
    with pytest.raises(BadInput):
        load(checkpoint.save(tmp_path / "x.safetensors", made))
