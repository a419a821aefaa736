"""The notebooks of the examples: every cell runs, in order, and shows what a person can read."""

import ast
import json
from pathlib import Path

import pytest
import torch
from matplotlib import pyplot

NOTEBOOKS = sorted((Path(__file__).parent.parent / "examples").glob("*.ipynb"))
MOST_LINES = 40


def cells(path):
    """The code of each cell; the text of a notebook without outputs, as it is kept."""
    tree = json.loads(path.read_text(encoding="utf-8"))
    assert tree["nbformat"] == 4
    for cell in tree["cells"]:
        assert not cell.get("outputs"), "clear the outputs: they are of one machine"
        if cell["cell_type"] == "code":
            yield "".join(cell["source"])


def run(code, names):
    """Runs a cell; what a notebook shows of its last line where that is an expression."""
    *body, last = ast.parse(code).body or [ast.Pass()]
    if not isinstance(last, ast.Expr):
        exec(compile(code, "cell", "exec"), names)
        return None
    exec(compile(ast.Module(body, []), "cell", "exec"), names)
    return eval(compile(ast.Expression(last.value), "cell", "eval"), names)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_its_cells_are_short(path, tmp_path, monkeypatch, capsys):
    """Kills: a name that is gone, a cell of 38,000 letters, an output that is kept."""
    monkeypatch.chdir(tmp_path)
    names = {"__name__": path.stem}
    with torch.random.fork_rng():
        for code in cells(path):
            quick = code.replace("STEPS = 100", "STEPS = 5").replace("first(100)", "first(20)")
            value = run(quick.replace("_000", "00"), names)
            shown = capsys.readouterr().out + ("" if value is None else repr(value))
            assert len(shown.splitlines()) <= MOST_LINES, code
            assert len(shown) < 4000, code
    pyplot.close("all")


def test_there_are_notebooks():
    assert [path.stem for path in NOTEBOOKS] == [
        "compare_two_models",
        "measure_your_network",
        "table_and_figure",
    ]
