"""The words of the field, and none that only this project knows."""

import re
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


def _joined(path: Path) -> str:
    """Each paragraph in one line, since a phrase may be broken."""
    return re.sub(r"(?<!\n)\n(?!\n)\s*", " ", path.read_text(encoding="utf-8"))
