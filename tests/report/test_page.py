"""The page of a result: its numbers are the result's, it is whole, and it asks for nothing."""

import copy
import json
import math
import re
from urllib.parse import unquote

import pytest
import torch

from conftest import small_recipe
from nelbo import data, formats
from nelbo.errors import BadInput
from nelbo.report.page import Reported, page
from nelbo.report.page.checks import State, checks
from nelbo.results import Evaluation, per_image
from nelbo.results.reading import read
from nelbo.tasks.evaluate import evaluate
from nelbo.tasks.report import report
from nelbo.tasks.train import train
from nested import Nested

SECTIONS = ["terms", "steps", "distortion", "images", "samples", "training", "provenance"]
WHY = dict.fromkeys(
    (
        *("steps", "rate", "distortion", "reconstructions", "histogram", "running"),
        *("extremes", "samples", "training"),
    ),
    "It is not there.",
)


class Page(Nested):
    """The elements of a page, nested as they should be, with what they say."""

    def __init__(self, text):
        self.tags, self.ids, self.links, self.images = [], [], [], []
        self.headings, self.charts, self.rows, self.text = [], [], {}, []
        self.chart = None
        super().__init__(text)

    def started(self, tag, attrs):
        self.tags.append(tag)
        self.ids += [attrs["id"]] if "id" in attrs else []
        self.links += [attrs[name] for name in ("href", "src", "xlink:href") if name in attrs]
        if tag == "img":
            self.images.append(attrs)
        if tag in ("h1", "h2", "h3", "h4"):
            self.headings.append(int(tag[1]))
        if tag == "section":
            self.chart = None
        if attrs.get("class") == "chart":
            self.chart = attrs["id"]
            self.rows[self.chart] = []
        if attrs.get("class") == "plot":
            self.charts.append((self.chart, attrs))
        if tag == "tr" and "tbody" in self.open and self.chart and "details" in self.open:
            self.rows[self.chart].append([])

    def handle_data(self, text):
        if self.open and self.open[-1] not in ("script", "style"):
            self.text.append(text)
        if self.open[-2:] == ["tr", "td"] and self.chart and self.rows[self.chart]:
            self.rows[self.chart][-1].append(text)

    @property
    def words(self):
        return " ".join(" ".join(self.text).split())


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A run folder of a chain of 30 steps, with the evaluation in it."""
    choices = small_recipe(**{"chain.schedule.T": 30})
    folder = train(choices, tmp_path_factory.mktemp("page") / "run")
    images = data.load("digits:test").first(40)
    result = evaluate(
        formats.load(folder), images, budget=400, distortion=True, command="nelbo evaluate run"
    )
    (folder / "result.json").write_text(result.to_json())
    per_image.write(result.per_image, folder / "images.csv")
    return folder, result


@pytest.fixture(scope="module")
def written(measured):
    return report(measured[0], samples=9)


def alone(result: Evaluation, **changes) -> str:
    """The page of the result's JSON with changes, without anything beside it."""
    tree = json.loads(result.to_json()) | changes
    return page(Reported(Evaluation.from_dict(tree), why_not=WHY))


def check_whole(text):
    """What every page keeps to."""
    parsed = Page(text)
    assert len(set(parsed.ids)) == len(parsed.ids), "an id twice"
    assert "http" not in text
    assert all(link.startswith(("#", "data:")) for link in parsed.links)
    assert all(link[1:] in parsed.ids for link in parsed.links if link.startswith("#"))
    assert all(image["alt"] for image in parsed.images)
    assert parsed.headings[0] == 1
    assert parsed.headings.count(1) == 1
    steps = zip(parsed.headings, parsed.headings[1:], strict=False)
    assert all(after <= before + 1 for before, after in steps), "a heading level is left out"
    assert [id for id in parsed.ids if id in SECTIONS] == SECTIONS
    assert {"main", "nav", "footer", "header"} <= set(parsed.tags)
    assert len(text.encode()) < 2 * 2**20
    for chart, attributes in parsed.charts:
        assert attributes["role"] == "img"
        assert attributes["aria-label"]
        assert len(attributes["data-points"].split()) == len(parsed.rows[chart]) > 0
    return parsed


def test_the_page_of_a_run_is_whole_and_shows_everything(written):
    """Kills: an id of one chart in another, a namespace left in, a chart without its table."""
    parsed = check_whole(written)
    assert [name for name, _ in parsed.charts] == [
        *("bits-log-snr", "bits-t", "bits-log-t", "rate", "rate-distortion"),
        *("histogram", "running", "loss", "loss-by-quarter", "learning-rate"),
    ]
    assert len(parsed.images) == 10 + 16 + 1 + 10
    assert 'class="gap"' not in written
    assert len(written) < 300_000


def test_the_numbers_are_those_of_the_result_as_the_command_line_rounds_them(measured, written):
    """Kills: the interval of one kind shown as the other's, se shown as half an interval."""
    result, words = measured[1], Page(written).words
    printed = str(result).splitlines()
    assert printed[0].split()[0] in words
    for line, name in zip(printed[1:3], ("sampling of images", "Monte Carlo"), strict=True):
        half = re.search(r"± \S+", line)[0]
        assert re.search(rf"{name}[^±]*{re.escape(half)}", words)
    for line in printed[3:6]:
        value, _, half = line.split()[-3:]
        assert re.search(rf"{re.escape(value)}\s+± {re.escape(half)}\b", words), line


def test_the_tables_are_what_the_result_says(measured, written):
    """Kills: rows in another order than the points, a curve of other numbers."""
    tree, rows = json.loads(measured[1].to_json()), Page(written).rows
    steps = tree["per_step"]
    assert [row[0] for row in rows["bits-t"]] == [str(step["t"]) for step in steps]
    wanted = [f"{step['bits_per_dim']:.4g}" for step in steps]
    assert [row[1] for row in rows["bits-t"]] == wanted == [r[2] for r in rows["bits-log-snr"]]
    assert [row[1] for row in rows["bits-log-snr"]] == [f"{s['log_snr']:.4g}" for s in steps]
    curve = tree["rate_distortion"]
    cumulative = [sum(tree["terms"][name]["bits_per_dim"] for name in ("L_T", "L_mid"))]
    cumulative += [point["bits_per_dim"] for point in curve]
    assert [row[1] for row in rows["rate"]] == [f"{x:.4g}" for x in cumulative]
    assert [row[1] for row in rows["rate-distortion"]] == [f"{p['rmse']:.4g}" for p in curve]
    assert sum(int(row[1]) for row in rows["histogram"]) == 40
    assert [row[1] for row in rows["running"]] == [
        f"{x['bits_per_dim']:.4f}" for x in tree["looks"]
    ]


def test_the_result_and_the_images_are_in_the_page(measured, written, tmp_path):
    folder, result = measured
    embedded = re.search(r'<script type="application/json" id="result">(.*?)</script>', written)
    assert json.loads(embedded[1]) == json.loads(result.to_json())
    link = next(x for x in Page(written).links if x.startswith("data:text/csv,"))
    text = unquote(link.removeprefix("data:text/csv,"))
    assert text == (folder / "images.csv").read_text()


def test_equal_inputs_give_equal_bytes(measured, written):
    """Kills: a date, a random id, a picture with other noise."""
    assert report(measured[0], samples=9) == written
    assert report(measured[0], samples=9, seed=1) != written


def test_a_result_alone_says_what_it_cannot_show_and_which_command_can(measured):
    parsed = check_whole(report(measured[0] / "result.json"))
    assert parsed.words.count("nelbo report RUN makes a page of a run folder") == 4
    assert "--per-image images.csv writes them" in parsed.words
    assert parsed.images == []
    table = report(measured[0] / "result.json", images=measured[0] / "images.csv")
    assert "histogram" in dict(check_whole(table).charts)


HOSTILE = "<script>alert(1)</script>\"'&"


def test_a_page_of_very_many_images_leaves_their_table_out_and_says_so(measured):
    """Kills: a page that grows with the data."""
    images = {name: torch.ones(20_000) for name in ("bits_per_dim", "se")}
    text = page(Reported(measured[1], {"id": images["se"], **images}))
    assert "too long for a page" in check_whole(text).words


def test_names_are_text_whatever_they_are(measured):
    """Kills: a name that becomes markup, in the page or in the JSON inside a script."""
    tree = json.loads(measured[1].to_json())
    tree["data"]["name"] = tree["model"]["name"] = tree["command"] = HOSTILE
    tree["model"][HOSTILE] = {HOSTILE: [HOSTILE]}
    text = page(Reported(Evaluation.from_dict(tree), why_not=WHY, table=[(HOSTILE, HOSTILE)] * 2))
    parsed = check_whole(text)
    assert parsed.tags.count("script") == 2
    assert HOSTILE in parsed.words
    embedded = re.search(r'<script type="application/json" id="result">(.*?)</script>', text)
    assert json.loads(embedded[1]) == tree


def states(result, **changes):
    tree = json.loads(result.to_json())
    for path, value in changes.items():
        part, _, key = path.partition("__")
        tree[part][key] = value
    return {check.name: check.state for check in checks(Evaluation.from_dict(tree))}


def test_checks_that_passed_are_folded_and_others_are_not(measured):
    """Kills: a warning behind a word that nobody clicks, nine cards that say that all is well."""
    _, result = measured
    for tree in (result.to_dict(), result.to_dict() | {"warnings": ["affine is better"]}):
        states = [check.state for check in checks(Evaluation.from_dict(tree))]
        passed = states.count(State.passed)
        text = page(Reported(Evaluation.from_dict(tree), why_not=WHY))
        above, folded = text.split('<details class="folded">')
        folded = folded.partition("</details>")[0]
        assert f"<summary>{passed} of {len(states)} checks passed</summary>" in folded
        assert (above.count("badge passed"), folded.count('class="badge')) == (0, passed)
        assert above.count('class="badge') == len(states) - passed


def test_checks_say_what_the_result_says(measured):
    """Kills: a check that always passes."""
    result = measured[1]
    usual = states(result)
    assert usual["Precision"] is State.unknown
    assert usual["Arithmetic"] is usual["Schedule"] is usual["Finite"] is State.passed
    failed = [{"name": "a", "z": 9.0, "passed": False}]
    assert states(result, estimator__controls=failed)["Control variates"] is State.warning
    assert states(result, estimator__controls=[])["Control variates"] is State.unknown
    large = {"bits_per_dim": 0.02, "se": None, "se_monte_carlo": None}
    assert states(result, terms__L_T=large)["L_T small"] is State.warning
    assert states(result, environment__dtype="bfloat16")["Arithmetic"] is State.warning
    assert states(result, environment__tf32=True)["Arithmetic"] is State.warning
    assert states(result, estimator__precision=9.0)["Precision"] is State.passed
    assert states(result, estimator__precision=1e-9)["Precision"] is State.warning
    assert states(result, model__steps=10_000)["Evaluated t"] is State.warning
    seen = len(json.loads(result.to_json())["per_step"])
    for steps, state in ((seen, State.passed), (seen + 1, State.unknown)):
        assert states(result, model__steps=steps)["Evaluated t"] is state
    stated = {"V_1": {"value": 1, "source": "default", "changes_bound": True}}
    assert states(result, model__sources=stated)["Settings"] is State.warning


def test_what_is_negative_or_unknown_is_written_and_not_drawn(measured):
    terms = json.loads(measured[1].to_json())["terms"]
    terms["L_0"]["bits_per_dim"] = -0.5
    parsed = check_whole(alone(measured[1], terms=terms, ci95=None, rate_distortion=None, looks=[]))
    assert "no shares to draw" in parsed.words
    assert "± unknown" in parsed.words
    assert [name for name, _ in parsed.charts] == ["bits-log-snr", "bits-t", "bits-log-t"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tree: tree.pop("schema"), "names no schema"),
        (lambda tree: tree.update(schema="nelbo.evaluation/2"), "schema nelbo.evaluation/2"),
        (lambda tree: tree.pop("terms"), "lacks 'terms'"),
        (lambda tree: tree.update(per_step=3), "does not keep to"),
        (lambda tree: tree.update(bits_per_dim="1"), "'1' is no number"),
        (lambda tree: tree["model"].update(name=3), "model.name is no text"),
        (lambda tree: tree.update(bits_per_dim=math.nan), "NaN is not in JSON"),
    ],
)
def test_what_is_no_result_is_refused_in_one_line(measured, tmp_path, change, message):
    tree = copy.deepcopy(json.loads(measured[1].to_json()))
    change(tree)
    path = tmp_path / "r.json"
    path.write_text(json.dumps(tree))
    for reader in (report, read):
        with pytest.raises(BadInput, match=re.escape(message)) as refusal:
            reader(path)
        assert "\n" not in str(refusal.value)
        assert str(path) in str(refusal.value)
