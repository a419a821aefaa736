"""The words of the field, and none that only this project knows."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TEXTS = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "src" / "nelbo").rglob("*.py")),
    *sorted((ROOT / "src" / "nelbo").rglob("*.html")),
]
PUZZLING = {
    "images like these": "sampling of images",
    "images like yours": "sampling of images",
    "exactly these": "Monte Carlo",
    "exactly yours": "Monte Carlo",
    "the whole bill": "all of the bound",
    "tempting": "common mistakes",
    "every t of some": "all T steps of a random subset",
    "ask the model": "evaluate the model",
    "the network is told": "the network receives",
    "they are said": "you must specify",
    "as precise as asked for": "reached --precision",
    "pairing saved": "interval narrower by pairing",
    "has been paid": "cumulative bits",
    "each pays": "bits per step",
    "dearest": "hardest",
    "tells a distortion": "the distortion was not recorded",
    "asks for nothing": "loads nothing",
    "holds its own settings": "stores its own settings",
    "is not in the way": "does not block it",
    "survey": "adaptive stratified",
    "census": "exhaustive",
}
DIALECT = re.compile(
    r"(?<![^\W_])(found|told|asked|said|survey|census|manner|making|paid|dearest)(?![^\W_])",
    re.IGNORECASE,
)  # as a whole name or as a part between underscores
KEPT = {
    "told_apart": "a key of nelbo.ranking/1, and what Python users read it by",
}
BINDS = {  # what binds or reads a name, and the field that holds it
    ast.Name: "id",
    ast.Attribute: "attr",
    ast.arg: "arg",
    ast.keyword: "arg",
    ast.FunctionDef: "name",
    ast.AsyncFunctionDef: "name",
    ast.ClassDef: "name",
    ast.ExceptHandler: "name",
    ast.MatchAs: "name",
    ast.MatchStar: "name",
    ast.MatchMapping: "rest",
}


@pytest.mark.parametrize("phrase", PUZZLING)
def test_a_phrase_that_puzzles_a_newcomer_stands_nowhere(phrase):
    """Kills: the dialect back in a message, in help, in a page or in the docs."""
    spaced = re.compile(r"\b" + r"\s+".join(map(re.escape, phrase.split())) + r"\b", re.IGNORECASE)
    places = [
        f"{path.relative_to(ROOT)}: {line.strip()[:80]}"
        for path in TEXTS
        for line in _joined(path).splitlines()
        if spaced.search(line)
    ]
    assert not places, f"say: {PUZZLING[phrase]}"


@pytest.mark.parametrize("folder", ["src", "tests", "benchmarks", "examples"])
def test_no_name_is_of_the_dialect(folder):
    """Kills: a variable, a function or a module that is called found, told, asked or said."""
    wrong = []
    for path in sorted((ROOT / folder).rglob("*.py")):
        place, text = path.relative_to(ROOT), path.read_text(encoding="utf-8")
        wrong += [f"{place}: the module" for part in place.parts if DIALECT.search(part)]
        if DIALECT.search(text):  # in prose it may stand
            wrong += [
                f"{place}:{line}: {name}"
                for line, name in _names(ast.parse(text))
                if name not in KEPT and DIALECT.search(name)
            ]
    assert not wrong, "name what it is: result, values, match, options, ..."


def _names(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """(line, name) of every identifier; of what is imported, the name that it gets here."""
    for node in ast.walk(tree):
        if isinstance(node, ast.alias):
            yield node.lineno, node.asname or node.name.rpartition(".")[2]
        elif (field := BINDS.get(type(node))) and (name := getattr(node, field)):
            yield node.lineno, name


@cache
def _joined(path: Path) -> str:
    """Each paragraph in one line, since a phrase may be broken."""
    return re.sub(r"(?<!\n)\n(?!\n)\s*", " ", path.read_text(encoding="utf-8"))
