"""A plan: every model on every data set, once; the whole table whatever becomes of a pair."""

import csv
import json
import shutil
from dataclasses import fields

import pytest

from conftest import changed
from nelbo import evaluate, evaluate_plan, load
from nelbo.categorical.orders import read_order
from nelbo.data import load as load_data
from nelbo.errors import BadInput
from nelbo.formats.foreign import Options
from nelbo.model import in_any_order, in_order
from nelbo.recipe import parse_plan
from nelbo.recipe.plan import OWN, PlannedModel
from nelbo.results.reading import read
from nelbo.tasks import plan as task
from nelbo.tasks.train import train

PLAN = """
results = "measured"
budget = 64
seed = 3

[[model]]
path = "digits"

[[model]]
path = "digits"
name = "raw"
weights = "raw"
steps = 20

[[data]]
spec = "digits:test"
max_images = 6
"""
FAILING = '\n[[data]]\nspec = "no-such-folder/"\n'


@pytest.fixture
def place(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(run, tmp_path / "digits")
    (tmp_path / "plan.toml").write_text(PLAN)
    return tmp_path


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_each_pair_is_the_evaluation_of_its_settings_and_is_made_once(place, monkeypatch):
    """Kills: weights, steps or images of another row; a kept result of other settings or weights.

    Law: a pair's figures are those of `evaluate` with its settings, bit for bit: the same
    computation. A second run computes nothing and changes no file.
    """
    first = evaluate_plan("plan.toml")
    images = load_data("digits:test").first(6)
    raw = load("digits", weights="raw").every(20)
    for entry, model in zip(first.entries, (load("digits"), raw), strict=True):
        alone = evaluate(model, images, budget=64, seed=3, distortion=True).to_dict()
        assert entry.status == "measured"
        assert entry.result.tree["figures_sha256"] == alone["figures_sha256"]
        assert read(entry.file).tree == entry.result.tree
    assert {entry.name for entry in first.entries} == {
        f"{n} on digits-test" for n in ("digits", "raw")
    }
    before = contents(place / "measured")
    assert sorted(before) == [
        f"{n}--digits-test{s}" for n in ("digits", "raw") for s in (".csv", ".json")
    ]

    computed = []
    monkeypatch.setattr(
        task,
        "evaluate",
        lambda model, *a, **k: computed.append(model.T) or evaluate(model, *a, **k),
    )
    again = evaluate_plan("plan.toml")
    assert [entry.status for entry in again.entries] == ["kept", "kept"]
    assert contents(place / "measured") == before
    assert again.results[0].tree == first.results[0].tree
    (place / "measured" / "raw--digits-test.csv").unlink()
    assert [entry.status for entry in evaluate_plan("plan.toml").entries] == ["kept", "measured"]
    assert computed == [20]
    for change in ("seed = 4", "budget = 65", "steps = 21", "max_images = 5", "check = false"):
        key = change.partition(" ")[0]
        lines = [change if line.startswith(f"{key} ") else line for line in PLAN.splitlines()]
        lines = lines if change in lines else [change, *lines]
        monkeypatch.setattr(task, "evaluate", lambda *a, **k: pytest.fail("measured"))
        with pytest.raises(pytest.fail.Exception, match="measured"):
            evaluate_plan(parse_plan("\n".join(lines)))


def test_a_pair_that_fails_loses_no_other(nelbo, place):
    """Kills: results lost behind a failure, an exit code 0 or a last line that does not name it."""
    (place / "plan.toml").write_text(PLAN + FAILING)
    code, out, err = nelbo(
        "evaluate", "--plan", "plan.toml", "--json", "all.json", "--device", "cpu"
    )
    assert code == 1
    last = err.splitlines()[-1]
    assert last == ("nelbo: 2 of 4 failed: digits on no-such-folder, raw on no-such-folder")
    assert out.splitlines()[-2:] == ["all.json", "measured"]
    assert "no such file or folder" in out
    tree = json.loads((place / "all.json").read_text())
    assert tree["schema"] == "nelbo.plan/1"
    assert [e["status"] for e in tree["entries"]] == ["measured", "failed"] * 2
    kept = [e["result"] for e in tree["entries"] if e["result"]]
    assert [
        json.loads((place / "measured" / f"{n}--digits-test.json").read_text())
        for n in ("digits", "raw")
    ] == kept
    code, out, _ = nelbo("evaluate", "--plan", "plan.toml", "--json", "-")
    assert (code, [e["status"] for e in json.loads(out)["entries"]]) == (1, ["kept", "failed"] * 2)

    notes = place / "measured" / "raw--digits-test.json"
    notes.write_text("notes")
    code, _, err = nelbo("evaluate", "--plan", "plan.toml")
    assert (code, notes.read_text()) == (2, "notes")
    assert "no evaluation that nelbo made" in err


MASKED = """
results = "measured"
budget = 64
baselines = true

[[model]]
path = "masked"
order = "raster"
calls = 4

[[model]]
path = "masked"
name = "any"
calls = 4
budget = 40

[[model]]
path = "digits"
steps = 2
exhaustive = true

[[data]]
spec = "digits:test"
max_images = 3
"""


def test_a_row_says_its_own_chain_and_how_much_is_evaluated(place):
    """Kills: an order for any order, the plan's budget for the row's, kept figures of another.

    Law: a row's figures are those of `evaluate` with its settings, bit for bit.
    """
    small = {"network.width": 8, "network.blocks": 1, "training.steps": 1, "chain.schedule.T": 6}
    train(changed("digits-absorbing", small), place / "masked")
    plan, masked = parse_plan(MASKED), load("masked")
    images = load_data("digits:test").first(3)
    expected = (
        (in_order(masked, read_order("raster", masked.shape), 4), {}),
        (in_any_order(masked).every(4), {"budget": 40}),
        (load("digits").every(2), {"exhaustive": True}),
    )
    first = evaluate_plan(plan)
    for entry, (model, amount) in zip(first.entries, expected, strict=True):
        alone = evaluate(model, images, **amount, distortion=True, baselines=True).to_dict()
        assert entry.error is None
        assert entry.result.tree["figures_sha256"] == alone["figures_sha256"]
        assert entry.result.tree["baselines"] == alone["baselines"]
    assert [entry.status for entry in evaluate_plan(plan).entries] == ["kept"] * 3
    text = MASKED
    for old, new, row in (("calls = 4\n\n", "calls = 8\n\n", 0), ("budget = 40", "budget = 41", 1)):
        text = text.replace(old, new)
        statuses = [entry.status for entry in evaluate_plan(parse_plan(text)).entries]
        assert statuses == ["measured" if number == row else "kept" for number in range(3)]


WRONG = {
    "an unknown key": ("seed = 3", "sed = 3", "unknown key sed: did you mean seed?"),
    "an unknown key of a model": (
        "weights =",
        "weigths =",
        "unknown key model.1.weigths: did you mean weights?",
    ),
    "another type": ("budget = 64", 'budget = "64"', "budget: input should be a valid integer"),
    "two of one name": ('name = "raw"', "", "two models are called digits: give each a name"),
    "a name that is a path": ('name = "raw"', 'name = "../raw"', "cannot be part of a file's name"),
    "spacing alone": ("steps = 20", 'spacing = "even"', "model raw: spacing needs steps"),
    "two amounts": ("seed = 3", "exhaustive = true", "budget and exhaustive exclude each other"),
    "an order without calls": ("steps = 20", 'order = "raster"', "model raw: order needs calls"),
    "two chains": ("steps = 20", "steps = 20\ncalls = 4", "say which steps there are: leave steps"),
    "two amounts of a model": (
        "steps = 20",
        "precision = 0.1\nbudget = 9",
        "model raw: budget and precision exclude each other",
    ),
    "an order by a budget": (
        "steps = 20",
        'order = "raster"\ncalls = 4\nbudget = 9',
        "order evaluates every call of every image: leave budget out",
    ),
    "no data": ("[[data]]", "[[dat]]", "unknown key dat: did you mean data?"),
    "no TOML": ("seed = 3", "seed 3", "the plan is no TOML"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_plan_is_refused_by_name(case):
    """Kills: a misspelt key that is passed over, and changes what is measured."""
    old, new, message = WRONG[case]
    with pytest.raises(BadInput) as refused:
        parse_plan(PLAN.replace(old, new))
    assert message in str(refused.value)


def test_an_option_that_a_plan_has_is_refused_beside_it(nelbo, place):
    """Kills: --precision beside a plan, read and not used."""
    for arguments, message in (
        (["digits", "--plan", "plan.toml"], "MODEL is of one evaluation, and --plan of several"),
        (["--plan", "plan.toml", "--max-images", 2], "--max-images is of one evaluation"),
        ([], "takes a MODEL, or --plan FILE.toml of several"),
    ):
        code, out, err = nelbo("evaluate", *arguments)
        assert (code, out) == (2, "")
        assert message in err


def test_a_model_of_a_plan_takes_what_load_takes():
    """Kills: an option of foreign folders that a plan cannot state."""
    stated = {"weights", *(field.name for field in fields(Options))}
    assert set(PlannedModel.model_fields) - set(OWN) == stated


TWO_DASHES = """
results = "measured"
[[model]]
path = "digits"
name = "a--b"
[[model]]
path = "digits"
name = "a"
[[data]]
spec = "digits:test"
name = "c"
[[data]]
spec = "digits:test"
name = "b--c"
"""


def test_files_of_a_plan_are_its_own_and_whole(nelbo, place):
    """Kills: two pairs in one file, a name that no file has, a table of a user's own replaced, a
    table of another evaluation kept, a plan's file that no table is made of.
    """
    long, both = "x" * 250, 'steps = 20\nspacing = "even"\ncontinuous = true'
    for text, message in (
        (TWO_DASHES, "two pairs have one file"),
        (PLAN.replace('"raw"\nw', f'"{long}"\nw'), "no file can be called xxx"),
        (PLAN.replace('"measured"', '"a\\u0000b"'), "a path with a NUL character"),
        (PLAN.replace("steps = 20", both), "continuous and spacing exclude each other"),
        (PLAN.replace('path = "digits"\n', 'path = ".."\n', 1), "give it a name"),
    ):
        with pytest.raises(BadInput, match=message):
            parse_plan(text)
    folder = place / "measured"
    folder.mkdir()
    own = folder / "raw--digits-test.csv"
    own.write_text("mine")
    code, _, err = nelbo("evaluate", "--plan", "plan.toml")
    assert (code, own.read_text(), len(err.splitlines())) == (2, "mine", 1)
    own.unlink()
    assert nelbo("evaluate", "--plan", "plan.toml", "--json", "all.json")[0] == 0
    assert nelbo("report", "all.json", "-o", "t.csv")[0] == 0
    files = [folder / f"{name}--digits-test.json" for name in ("digits", "raw")]
    assert nelbo("report", *files, "-o", "u.csv")[0] == 0
    texts = [(place / f"{name}.csv").read_text() for name in "tu"]
    tables = [list(csv.DictReader(text.splitlines())) for text in texts]
    assert [row.pop("model") for row in tables[0]] == ["digits", "raw"]
    assert [row | {"model": ""} for row in tables[0]] == [row | {"model": ""} for row in tables[1]]
    lines = own.read_text().splitlines()
    own.write_text("\n".join([lines[0], *lines[:0:-1]]) + "\n")
    assert [entry.status for entry in evaluate_plan("plan.toml").entries] == ["kept", "measured"]
    assert own.read_text().splitlines() == lines
