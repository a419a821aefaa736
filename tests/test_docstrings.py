"""The examples in docstrings are run, and give what they show."""

import doctest
import importlib
from pathlib import Path

import pytest

import nelbo

ROOT = Path(nelbo.__file__).parent


def modules():
    """The modules whose text has an example, by name."""
    for path in sorted(ROOT.rglob("*.py")):
        if ">>>" in path.read_text():
            parts = path.relative_to(ROOT.parent).with_suffix("").parts
            yield ".".join(part for part in parts if part != "__init__")


@pytest.mark.parametrize("name", list(modules()))
def test_the_examples_of_a_docstring_give_what_they_show(name):
    """Kills: an example that was true of an earlier version."""
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted > 0
    assert result.failed == 0
