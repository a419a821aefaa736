"""What several tests need: one thread each, tiny recipes, and the command line in this process."""

import gc
import os
import sys
import zlib
from collections import defaultdict
from pathlib import Path

import jaxtyping
import pytest
import torch

from browser import started
from nelbo import recipe as recipes
from nelbo.__main__ import main
from nelbo.recipe import Recipe

gc.disable()  # while a million objects are imported and collected, none of which is garbage
torch.set_num_threads(1)
# what tests start has threads of its own; those that wait leave the cores to other tests
os.environ.setdefault("GOMP_SPINCOUNT", "10000")
# where it is set, those that start with OMP_NUM_THREADS=1 would sum otherwise than this process
os.environ.pop("MKL_NUM_THREADS", None)


SHAPED = pytest.StashKey[bool]()


def pytest_collection_modifyitems(items):
    """Of each test's parameter sets the first, the last and every third are run with shapes.

    A shape is of the call and not of the numbers in it, and looking at them doubles the time of the
    laws. Which third is of the test's name, so that other tests look at other sets.
    """
    tests = defaultdict(list)
    for item in items:
        tests[item.nodeid.partition("[")[0]].append(item)
    for name, sets in tests.items():
        for place, item in enumerate(sets, zlib.crc32(name.encode())):
            item.stash[SHAPED] = item in (sets[0], sets[-1]) or place % 3 == 0


def pytest_collection_finish():
    """What every test needs is never garbage either: no test looks through it for some."""
    gc.freeze()
    gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """Where `make laws` has hooked the package, shapes are looked at in those sets alone."""
    jaxtyping.config.update("jaxtyping_disable", not item.stash[SHAPED])
    try:
        return (yield)
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)


def small_recipe(**changes):
    """The digits recipe with two training steps, and changes by dotted key."""
    small = {"training.steps": 2, "training.batch_size": 16, "network.width": 8}
    return changed("digits", small | changes)


def changed(name, changes):
    """The recipe of the package with changes by dotted key."""
    tree = recipes.read(name).model_dump()
    for key, value in changes.items():
        *path, last = key.split(".")
        table = tree
        for part in path:
            table = table[part]
        table[last] = value
    return Recipe.model_validate(tree)


VDM = {
    "network.width": 8,
    "network.blocks": 1,
    "chain.T": 12,
    "chain.log_snr.first": 6.0,
    "chain.log_snr.last": -5.0,
    "chain.log_snr.width": 4,
    "training.steps": 2,
    "training.batch_size": 16,
    "training.warmup": 0,
    "training.learning_rate": 0.01,
}
"""What makes digits-vdm small: two steps that move every weight."""


PLAIN = {
    "name": "zero",
    "chain.schedule": {"name": "linear", "T": 1000},
    "chain.parametrization": "eps",
    "chain.variance": "small",
    "chain.V_1": "beta_tilde_2",
    "chain.decoder": "discretized-gaussian",
    "training.steps": 0,
}
"""A DDPM whose network is untrained, and so zero."""


def toml(tree):
    """A recipe's tree as TOML text."""
    lines, tables = [], []
    for key, value in tree.items():
        if isinstance(value, dict):
            tables.append((key, value))
        elif value is not None:
            lines.append(f"{key} = {_literal(value)}")
    for name, table in tables:
        body = toml(table).replace("\n[", f"\n[{name}.")
        lines.append(f"\n[{name}]\n{body}")
    return "\n".join(lines)


def _literal(value):
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    return str(list(value)) if isinstance(value, tuple | list) else repr(value)


@pytest.fixture
def nelbo(monkeypatch, capsys):
    """nelbo("evaluate", ...) -> (exit code, stdout, stderr)."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["nelbo", *map(str, arguments)])
        code = main()
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture
def recipe_file(tmp_path):
    """recipe_file(changes) -> the path of a small recipe as TOML."""

    def write(name="recipe.toml", **changes) -> Path:
        path = tmp_path / name
        path.write_text(toml(small_recipe(**changes).model_dump()))
        return path

    return write


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """A run folder of the small digits model, trained for two steps."""
    from nelbo.tasks.train import train

    return train(small_recipe(), tmp_path_factory.mktemp("runs") / "digits")


@pytest.fixture(scope="session")
def vdm_run(tmp_path_factory):
    """A run folder of a small model in continuous time."""
    from nelbo.tasks.train import train

    return train(changed("digits-vdm", VDM), tmp_path_factory.mktemp("runs") / "digits-vdm")


@pytest.fixture(scope="session")
def zero_run(tmp_path_factory):
    """A run folder of a DDPM with the zero network: every term is known in closed form."""
    from nelbo.tasks.train import train

    return train(small_recipe(**PLAIN), tmp_path_factory.mktemp("runs") / "zero")


@pytest.fixture(scope="module")
def browser():
    """The system's Chromium, one for the tests of a module."""
    with started() as started_one:
        yield started_one


@pytest.fixture(scope="session")
def class_run(tmp_path_factory):
    """A run folder of the small digits model of p(x | class), to which the class matters."""
    from nelbo.tasks.train import train

    changes = {"training.learning_rate": 0.02, "training.warmup": 0, "training.steps": 6}
    choices = small_recipe(**changes, **{"network.classes": 10})
    return train(choices, tmp_path_factory.mktemp("runs") / "digits-classes")
