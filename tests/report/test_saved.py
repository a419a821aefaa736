"""Results of every kind: written and read back as they were, and each with the page it has."""

import csv
import itertools
import json
import math
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
from kinds import every_kind
from test_page import Page

from browser import visiting
from nelbo.cli.outputs import kind_of
from nelbo.errors import BadInput
from nelbo.report.kind_figures import kind_figure
from nelbo.report.kind_tables import kind_rows
from nelbo.report.page import Reported, page, page_of
from nelbo.results import load
from nelbo.results.loading import as_read
from nelbo.results.rounding import with_half
from nelbo.results.saved import DIGEST, Saved, sealed
from nelbo.results.stored import Stored
from nelbo.tasks.report import paper_figure, paper_table, report

PAGES = (
    "comparison",
    "comparisons",
    "ode",
    "order_bounds",
    "classification",
    "image_ranking",
    "plan",
)


@pytest.fixture(scope="module")
def kinds(run):
    return every_kind(run)


def final(cls):
    """The classes under it of which there are results."""
    below = [kind for sub in cls.__subclasses__() for kind in final(sub)]
    return below or [cls]


def test_a_result_of_any_kind_is_read_back_as_it_was(kinds, tmp_path):
    """Law: load(save(x)) says what x says, and saved again it is the same file.

    Kills: a kind without `save`, a key that is lost on the way, a kind that no reader knows.
    """
    measured = {kind for kind in final(Saved) if not issubclass(kind, Stored)}
    assert {type(result) for result in kinds.values()} == measured
    for name, result in kinds.items():
        path = result.save(tmp_path / f"{name}.json")
        assert path.read_text() == result.to_json()
        read = load(path)
        assert read.to_dict() == json.loads(result.to_json()), name
        assert json.loads(read.save(tmp_path / "again.json").read_text()) == read.to_dict()
        assert len(repr(result)) < 300
        assert len(repr(read)) < 300
        with pytest.raises(BadInput, match=r"this is written as \.json"):
            result.save(tmp_path / "r.docx")


def near(value):
    """The same with numbers to a few roundings."""
    if isinstance(value, dict):
        return {key: near(own) for key, own in value.items()}
    if isinstance(value, list):
        return [near(own) for own in value]
    return pytest.approx(value, rel=1e-13) if isinstance(value, float) else value


def test_an_evaluation_that_was_read_is_one(kinds, tmp_path):
    """Law: read and made again without its file, it says what it said, but for its digests.

    Kills: another number of degrees of freedom, a standard error for half an interval, an error of
    x0-hat that is not per dimension or in other levels, a log SNR of another t.
    """
    measured = kinds["evaluation"]
    read = load(measured.save(tmp_path / "r.json"))
    assert type(read) is type(measured)
    assert (str(read), read.headline) == (str(measured), measured.headline)
    assert read.to_markdown() == measured.to_markdown()
    assert read.bits_per_dim == measured.bits_per_dim
    assert vars(read.total) == near(vars(measured.total))
    made = replace(read, rows=measured.rows).to_dict()
    stated = {key: value for key, value in measured.to_dict().items() if "sha256" not in key}
    assert {key: value for key, value in made.items() if "sha256" not in key} == near(stated)
    with pytest.raises(BadInput, match="no rows of images"):
        read.per_image  # noqa: B018


@pytest.mark.parametrize("name", ["comparison", "comparisons", "order_bounds", "classification"])
def test_what_was_read_is_what_was_measured(kinds, tmp_path, name):
    """Law: read and made again without its file, it says what it said, but for its digest.

    Kills: A read for B, an interval read as its half, a verdict by other names.
    """
    measured = kinds[name]
    read = load(measured.save(tmp_path / "r.json"))
    assert type(read) is type(measured)
    assert str(read) == str(measured)
    made = replace(read).to_dict()
    stated = {key: value for key, value in measured.to_dict().items() if key != DIGEST}
    assert {key: value for key, value in made.items() if key != DIGEST} == near(stated)


def places(tree, path=()):
    """Every key of the object, down to the third."""
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree[:1]):
        yield (*path, key)
        if isinstance(value, dict | list) and len(path) < 3:
            yield from places(value, (*path, key))


def changed(tree, path, value):
    copy = json.loads(json.dumps(tree))
    place = copy
    for key in path[:-1]:
        place = place[key]
    if value is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return copy


@pytest.mark.parametrize(
    "name", ["evaluation", "comparison", "comparisons", "order_bounds", "classification"]
)
def test_what_is_read_can_be_shown_whatever_was_changed(kinds, tmp_path, name):
    """Law: a result without a digest is refused in one line, or can be printed and written.

    Kills: a file that is taken, and fails where it is looked at.
    """
    whole = json.loads(kinds[name].to_json())
    tree = {key: value for key, value in whole.items() if not key.endswith("sha256")}
    path = tmp_path / "r.json"
    values = (..., None, "x", [], -1, 10**30)
    for place, value in itertools.product(places(tree), values):
        path.write_text(json.dumps(changed(tree, place, value)))
        with suppress(BadInput):
            read = load(path)
            assert str(read), (place, value)
            assert read.to_json()
            if value is ... and place[0] in ("model", "data", "estimator", "environment"):
                read.save(tmp_path / "r.html")
                read.save(tmp_path / "r.md")


def test_a_changed_copy_of_what_was_read_says_what_changed(kinds, tmp_path):
    """Kills: a field that only its text shows, and the file does not."""
    for name in ("evaluation", "comparison", "order_bounds", "classification"):
        read = load(kinds[name].save(tmp_path / "r.json"))
        again = replace(read, warnings=["mine"])
        assert again.to_dict()["warnings"] == ["mine"]


def test_a_number_beyond_floats_is_no_json(kinds, tmp_path):
    """Kills: an infinity that is read, and cannot be written."""
    path = kinds["evaluation"].save(tmp_path / "r.json")
    path.write_text(path.read_text().replace('"seconds": ', '"more": 1e999, "seconds": ', 1))
    with pytest.raises(BadInput, match="is no JSON"):
        load(path)


DAMAGE = {
    "a figure that its interval is not round": ("ode", "bits_per_dim", 1.0, "ci95 is not round"),
    "a missing part": ("ode", "half_widths", None, "lacks 'half_widths' of nelbo.ode/1"),
    "another accuracy": ("classification", "accuracy", 0.9, "accuracy is not that of per_image"),
    "other images decided": ("classification", "decided", 3, "decided is not that of per_image"),
    "an image that is not there": ("image_ranking", "hardest", [99], "that per_image lacks"),
    "images of another number": ("image_ranking", "images", 3, "images and per_image contradict"),
    "no pair": ("comparisons", "against_the_first", [], "its pairs are not of one data set"),
    "a figure from below of too few": ("order_bounds", "effective_sample_size", 9.0, "contradicts"),
    "a newer schema": (
        "ode",
        "schema",
        "nelbo.ode/2",
        "is of schema nelbo.ode/2; this version reads",
    ),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_result_that_contradicts_itself_is_refused(kinds, case):
    """Kills: an edited figure on a page with the interval of another."""
    kind, key, value, message = DAMAGE[case]
    tree = json.loads(kinds[kind].to_json()) | {key: value}
    if value is None:
        del tree[key]
    with pytest.raises(BadInput) as refused:
        as_read(tree, "r.json")
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_result_that_was_changed_is_refused_whatever_was_changed(kinds, tmp_path):
    """Law: a file of any kind is read only as it was written, but for how its JSON is laid out.

    Kills: a kind without a digest, a digest of some figures alone, one that depends on the layout.
    """
    path = tmp_path / "r.json"
    for name, result in kinds.items():
        whole = json.loads(result.to_json())
        path.write_text(json.dumps(whole, indent=3, sort_keys=True))
        assert load(path).to_dict() == whole, name
        assert sealed(whole) == whole or name == "evaluation"
        keys = ("bits_per_dim", "terms", "images") if name == "evaluation" else list(whole)
        for key in keys:
            without = {other: value for other, value in whole.items() if other != key}
            for changed in (
                whole | {key: "another"},
                without if key != DIGEST else whole | {DIGEST: 0},
            ):
                path.write_text(json.dumps(changed))
                with pytest.raises(BadInput) as refused:
                    load(path)
                assert "\n" not in str(refused.value)
    whole = json.loads(kinds["ode"].to_json())
    lines = []
    path.write_text(json.dumps({key: value for key, value in whole.items() if key != DIGEST}))
    load(path, lines.append)
    assert "has no digest of what it holds" in lines[0]


WITHIN = {
    "ode": [("estimator", "steps", 0), ("estimator", "dequantise", "x"), ("kind", "a bound")],
    "classification": [("per_image", 0, "label", -1), ("accuracy_ci95", 0, 0.1),
                       ("reliability", 0, "images", 9), ("calibration_error", None)],
    "image_ranking": [("per_image", 0, "rank_low", "x"), ("fence", "low", None)],
    "comparison": [("warnings", 3), ("estimator", "paired", 3), ("images", 0)],
    "comparisons": [("against_the_first", 0, "told_apart_together", "x")],
    "plan": [("entries", 0, "model", 3), ("entries", 0, "status", "failed"),
             ("entries", 2, "error", None), ("entries", 0, "result", "bits_per_dim", 1.0)],
}  # fmt: skip


def test_what_a_page_or_table_needs_is_looked_at_even_where_a_digest_was_made_for_it(
    kinds, tmp_path
):
    """Kills: a traceback of a page, a figure of a plan that is not that of its own evaluation."""
    path = tmp_path / "r.json"
    for name, changes in WITHIN.items():
        for *place, last, value in changes:
            tree = json.loads(kinds[name].to_json())
            inner = tree
            for key in place:
                inner = inner[key]
            inner[last] = value
            path.write_text(json.dumps(sealed(tree)))
            with pytest.raises(BadInput) as refused:
                load(path)
            assert "\n" not in str(refused.value), (name, place)


@pytest.fixture(scope="module")
def pages(kinds, tmp_path_factory):
    """The page of each kind, by `nelbo report` of its file."""
    place = tmp_path_factory.mktemp("pages")
    return {name: report(kinds[name].save(place / f"{name}.json")) for name in PAGES}


@pytest.mark.parametrize("name", PAGES)
def test_the_page_of_a_kind_is_whole_and_of_its_result(kinds, pages, name, tmp_path):
    """Kills: an id twice, a link that leads nowhere, a figure that is not the result's, a <b>."""
    page = Page(pages[name])
    assert len(set(page.ids)) == len(page.ids)
    assert "http" not in pages[name].replace("http://www.w3.org", "")
    assert all(link.startswith("data:") or link[1:] in page.ids for link in page.links)
    assert page.headings[0] == 1
    assert all(b <= a + 1 for a, b in itertools.pairwise(page.headings))
    for chart, attributes in page.charts:
        assert attributes["aria-label"]
        count = len(attributes["data-points"].split())  # of the rows, tables of settings follow
        rows = [row[:4] for row in page.rows[chart][:count]]
        assert len({tuple(row) for row in rows if len(row) == 4}) == count > 0
    embedded = pages[name].partition('id="result">')[2].partition("</script>")[0]
    assert json.loads(embedded) == json.loads(kinds[name].to_json())
    assert kinds[name].save(tmp_path / "p.html").read_text() == pages[name]


@pytest.mark.browser
def test_the_pages_of_all_kinds_can_be_read_by_everybody(browser, pages, tmp_path):
    """Kills: a table wider than a telephone, ink on its own colour, a title on another sheet.

    Each is judged once by axe-core, by turns wide and light, narrow and dark.
    """
    looks = itertools.cycle([(360, "dark"), (1440, "light"), (390, "light")])
    for name, (width, scheme) in zip(PAGES, looks, strict=False):
        (tmp_path / f"{name}.html").write_text(pages[name])
        with visiting(browser, tmp_path / f"{name}.html", width=width, scheme=scheme) as visit:
            assert visit.illegible() == []


def test_the_page_of_the_ode_says_that_it_is_not_a_bound(kinds, pages):
    """Kills: an ODE called a bound, one error for another, the sign of the difference."""
    result, page = kinds["ode"], Page(pages["ode"])
    assert page.words.count("not a bound") >= 2
    for name, nats in result.shares.items():
        assert f"{name} ± {nats / 64 / 0.6931471805599453:.2g}" in page.words
    paired = result.difference[0]
    half = result.half_width(paired)
    assert with_half(paired.mean / 64 / 0.6931471805599453, half, "+") in page.words
    # by 10 steps 1.75 nats more than by 40; the bound minus the ODE is 3 nats
    rows = page.rows["solver"][:6]
    assert [row[2] for row in rows] == ["0.03945", "0.01127", "0", *["0.06763"] * 3]
    how = {"solver": "rk45", "tolerance": 1e-5, "ode_evaluations": {"mean": 98.5, "most": 110}}
    unknown = replace(
        result,
        estimator=result.estimator | how,
        shares={**result.shares, "solver": None},
        looks={},
        monte_carlo=replace(result.monte_carlo, se=None),
    )
    words = Page(page_of(as_read(unknown.to_dict(), "r"))).words
    assert "solver ± unknown RK45 at 1e-05, 98 evaluations of the ODE a point, 110 at most" in words
    assert "Monte Carlo (95 %) ± unknown" in words


def test_the_page_of_any_order_has_both_sides_or_says_what_is_missing(kinds, pages):
    """Kills: a figure from below where it was refused, one side for the other, nats for bits."""
    result, page = kinds["order_bounds"], Page(pages["order_bounds"])
    bits = {"one order": 92.0, "from above": 90.0, "from below": 88.0}
    for name, nats in bits.items():
        value = f"{nats / 64 / 0.6931471805599453:.4f}"
        assert f"{name} {value} ± " in page.words
    assert "is between 1.9837 and 2.0288 bits/dim" in page.words
    few = replace(result, below=None, effective=49.5)
    words = Page(page_of(as_read(few.to_dict(), "r"))).words
    assert "is at most 2.0288 bits/dim" in words
    assert "too few for a figure from below" in words
    assert "from below 1" not in words
    assert "| refused |" in kind_rows([as_read(few.to_dict(), "r")]).written(".md")


def test_the_page_of_several_models_has_each_difference(kinds, pages):
    """Kills: the bound of the first for a difference, a verdict without its model."""
    result, page = kinds["comparisons"], Page(pages["comparisons"])
    for name, verdict, pair in zip(
        result.names[1:], result.verdicts, result.comparisons, strict=True
    ):
        assert f"{name}: {verdict.text}." in page.words
        assert with_half(pair.per_dim, pair.half_width(pair.total), "+") in page.words


def test_the_pages_of_images_have_their_counts(kinds, pages):
    """Kills: rows and columns of the confusion exchanged, the easiest for the hardest."""
    page = Page(pages["classification"])
    assert "80.00 % of the images are right" in page.words
    read = as_read(kinds["classification"].to_dict(), "r")
    assert read.confusion == [[3, 0, 1], [1, 3, 0], [0, 0, 2]]
    ranks = Page(pages["image_ranking"]).words
    tables = [ranks.rindex(f"The {end} What") for end in ("easiest", "hardest")]
    assert tables[0] < ranks.index(" 9 1 ") < tables[1] < ranks.index(" 0 10 ")
    places = kinds["image_ranking"].rows()
    assert [row["id"] for row in places[:2]] == [9, 8]
    assert f" 9 1 {places[0]['rank_low']} to {places[0]['rank_high']} " in ranks


def test_the_page_of_a_plan_has_every_row_and_how_far_neighbours_are_apart(kinds, pages):
    """Kills: the difference with the other sign, a failure that is passed over."""
    plan, page = kinds["plan"], Page(pages["plan"])
    for entry in plan.entries:
        assert " ".join(filter(None, entry.cells[:-1])) in page.words
    assert "a on none failed: none: no such data" in page.words
    (two,) = plan.neighbours
    assert two.figure.value <= 0
    assert f"{two.a} minus {two.b} {with_half(two.figure.value, two.figure.half)}" in page.words
    assert f"{two.verdict.text} (paired by image)" in str(plan)


def test_a_kind_without_a_page_is_refused_in_one_line(kinds):
    """Kills: a traceback, an empty page."""
    read = as_read(json.loads(kinds["inspection"].to_json()), "r")
    with pytest.raises(BadInput, match="no page is made of a result of schema nelbo"):
        page_of(read)


def test_a_table_of_a_kind_has_the_numbers_of_its_results(kinds, tmp_path):
    """Kills: the interval of the bound for that of the difference, a CSV that nelbo does not know.

    Law: the CSV has the numbers of the JSON; what is shown is these numbers, rounded.
    """
    for name in PAGES:
        tree = json.loads(kinds[name].to_json())
        text = paper_table([kinds[name].save(tmp_path / f"{name}.json")], ".csv")
        (tmp_path / "t.csv").write_text(text)
        assert kind_of(tmp_path / "t.csv") == "table of results"
        rows = list(csv.DictReader(text.splitlines()))
        shown = paper_table([tmp_path / f"{name}.json"], ".md")
        last = rows[-1]
        if name in ("comparison", "comparisons"):
            pair = tree if name == "comparison" else tree["against_the_first"][-1]["comparison"]
            assert len(rows) == (2 if name == "comparison" else 3)
            assert float(last["difference"]) == pair["bits_per_dim"]
            low, high = pair["ci95"]
            assert float(last["difference_half_width"]) == pytest.approx(
                (high - low) / 2, rel=1e-12
            )
            assert with_half(pair["bits_per_dim"], (high - low) / 2, "+") in shown
        elif name == "ode":
            assert float(last["ode"]) == tree["bits_per_dim"]
            assert float(last["solver"]) == tree["half_widths"]["solver"]
            assert float(last["ode_minus_bound"]) == tree["ode_minus_bound"]["bits_per_dim"]
            assert "not a bound" in shown
        elif name == "order_bounds":
            sides = [tree[side] for side in ("single_orders", "from_above", "from_below")]
            for key, side in zip(("single_orders", "from_above", "from_below"), sides, strict=True):
                low, high = side["ci95_monte_carlo"]
                assert float(last[key]) == side["bits_per_dim"]
                assert float(last[f"{key}_half_width"]) == pytest.approx((high - low) / 2, rel=1e-9)
        elif name == "classification":
            assert [float(last[key]) for key in ("low", "high")] == tree["accuracy_ci95"]
        elif name == "plan":
            assert [row["model"] for row in rows] == ["a", "b"]
            bounds = [e["result"]["bits_per_dim"] for e in tree["entries"] if e["result"]]
            assert [float(row["bits_per_dim"]) for row in rows] == bounds
            assert "Failed, a on none: none: no such data" in shown
        else:
            assert [int(row["image"]) for row in rows] == [9, 8, 1, 0]
            assert [int(row["rank"]) for row in rows] == [1, 2, 9, 10]
    with pytest.raises(BadInput, match="results of different kinds fit in no one table"):
        paper_table([tmp_path / "ode.json", tmp_path / "classification.json"], ".md")
    with pytest.raises(BadInput, match="columns are of a table of evaluations"):
        paper_table([tmp_path / "ode.json"], ".md", ["model"])


def test_a_figure_of_a_kind_draws_the_numbers_of_its_result(kinds, tmp_path):
    """Kills: bars in another unit, the intervals exchanged, the first place at the bottom.

    Law: what is drawn are the numbers of the JSON object.
    """

    def axes_of(name, kind=None):
        path = kinds[name].save(tmp_path / f"{name}.json")
        return kind_figure(kind, [load(path)], 3.35).axes[0]

    def intervals(axes):
        ends = [np.array(c[2][0].get_segments())[:, :, 0] for c in axes.containers]
        return [c[0].get_xdata().tolist() for c in axes.containers], ends

    plan, (a, b) = axes_of("plan"), [result for _, result in kinds["plan"].measured]
    values, ends = intervals(plan)
    assert values == [[a.per_dim, b.per_dim]] * 2
    for drawn, name in zip(ends, ("ci95", "ci95_monte_carlo"), strict=True):
        assert drawn == pytest.approx(np.array([a.tree[name], b.tree[name]]), rel=1e-9)
    assert [text.get_text() for text in plan.get_yticklabels()] == ["a", "b"]
    assert plan.get_ylim() == (1.5, -0.5)
    pair = json.loads(kinds["comparison"].to_json())
    for name in ("comparison", "comparisons"):
        values, ends = intervals(axes_of(name))
        assert all(value == pair["bits_per_dim"] for own in values for value in own)
        assert ends[0][0] == pytest.approx(pair["ci95"], rel=1e-9, abs=1e-12)
        assert ends[1][0] == pytest.approx(pair["ci95_monte_carlo"], rel=1e-9, abs=1e-12)
    values, ends = intervals(axes_of("order_bounds"))
    assert [[nats * 64 * math.log(2) for nats in own] for own in values] == [
        pytest.approx([92.0, 90.0, 88.0])
    ] * 2
    assert ends[1][1] == pytest.approx(kinds["order_bounds"].to_dict()["ci95_monte_carlo"])
    bill = kinds["compression"]
    bars = [bar.get_width() for bar in axes_of("compression").patches]
    assert bars == [bits / (8 * 64) for _, _, bits in bill.rows()]
    ranks = axes_of("image_ranking").lines[0]
    assert ranks.get_ydata().tolist() == [r["bits_per_dim"] for r in kinds["image_ranking"].rows()]
    model, diagonal = axes_of("classification").lines
    assert model.get_ydata().tolist() == [0.8]
    assert diagonal.get_xydata().tolist() == [[0, 0], [1, 1]]
    solver, _ = axes_of("ode").lines
    assert solver.get_xdata().tolist() == [10, 20, 40]
    assert axes_of("plan", "steps").get_legend() is not None
    assert kinds["ode"].save(tmp_path / "f.svg").read_bytes().startswith(b"<?xml")


def test_a_figure_that_a_kind_has_not_is_refused(kinds, tmp_path):
    """Kills: another figure than the one that was wanted, a traceback."""
    paths = {name: kinds[name].save(tmp_path / f"{name}.json") for name in kinds}
    unlabelled = replace(kinds["classification"], labels=None)
    paths["unlabelled"] = unlabelled.save(tmp_path / "u.json")
    for names, kind, message in (
        (
            ["ode"],
            "bill",
            "--figure bill is of another kind of result; of this one there is solver",
        ),
        (["unlabelled"], None, "there is no figure calibration of this result: the data have no"),
        (["inspection"], None, "no figure is made of a result of schema nelbo.inspection/1"),
        (["ode", "ode"], None, "is of one: make one of each"),
        (["ode", "evaluation"], None, "evaluations and other results fit in no one figure"),
    ):
        with pytest.raises(BadInput, match=message):
            paper_figure([paths[name] for name in names], kind, ".png")


def test_the_page_of_an_evaluation_has_its_baselines(kinds):
    """Kills: baselines in the JSON alone, the best first."""
    result = replace(kinds["evaluation"], baselines={"uniform": 4.0875, "PNG": 14.25})
    words = Page(page(Reported(result))).words
    order = [words.index(f"{text}") for text in ("PNG 14.2500", f"digits {result.per_dim:.4f}")]
    assert order == sorted(order)
    assert "uniform 4.0875" in words
    assert "Beside other codes" not in Page(page(Reported(kinds["evaluation"]))).words
