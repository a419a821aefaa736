"""Files that an earlier nelbo wrote (tests/golden/older) are read, and give what they gave then."""

import json
import shutil
from pathlib import Path

import pytest

from nelbo import data, evaluate
from nelbo.results.reading import read

OLDER = Path(__file__).parent / "golden" / "older"
SAME = 1e-5  # of a network in float32 on another processor, whose terms were formed in float32 then


@pytest.fixture
def older(tmp_path):
    return Path(shutil.copytree(OLDER, tmp_path / "older"))


def test_a_model_of_then_has_the_bound_of_then():
    """Kills: a key whose new default changes a chain that was written without it."""
    then = read(OLDER / "run" / "result.json")
    now = evaluate(OLDER / "run", data.load("digits:test").first(then.images), exhaustive=True)
    assert now.bits_per_dim == pytest.approx(then.per_dim, rel=SAME)
    steps = [now.unit.per_dim(step.mean, now.dims) for step in now.per_step]
    assert steps == pytest.approx(
        [then.unit.per_dim(step.mean, then.dims) for step in then.per_step], rel=SAME, abs=1e-9
    )


@pytest.mark.parametrize("table", ["images.csv", "images.parquet"])
def test_a_result_of_then_makes_a_page_and_what_it_lacks_is_known(nelbo, older, table):
    run = older / "run"
    page = ("-o", older / "page.html")
    code, _, err = nelbo("report", run / "result.json", "--per-image", run / table, *page)
    assert code == 0, err
    assert err.count("is of an older nelbo and has no digest of its") == 2


def test_every_command_takes_a_run_of_then(nelbo, older):
    few = ("--max-images", "3", "--budget", "30")
    run, improved = older / "run", older / "improved"
    commands = [
        ("inspect", run),
        ("inspect", improved),
        ("report", run, "--samples", "1", "-o", older / "page.html"),
        ("compare", run, improved, *few, "--json", older / "comparison.json"),
        ("cite", older / "comparison.json"),
        ("sample", improved, "-n", "1", "-o", older / "x.png"),
        ("train", "--resume", run),
    ]
    shutil.copyfile(OLDER / "comparison.json", older / "comparison.json")
    for command in commands:
        code, _, err = nelbo(*command)
        assert code == 0, (command, err)
    tree = json.loads((older / "comparison.json").read_text())
    assert tree["a"]["model"]["sha256"] == read(OLDER / "run" / "result.json").model["sha256"]
