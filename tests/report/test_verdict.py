"""What a comparison says first, and its page: the sentence is true of the intervals it has."""

import itertools
import json
from dataclasses import replace

import pytest
from test_page import Page

from browser import SCHEMES, WIDTHS, visiting
from nelbo.bound.statistics import Mean
from nelbo.errors import BadInput
from nelbo.report.page.difference import difference_page
from nelbo.results import Comparison, Side
from nelbo.results.verdict import verdict

NATS = 64 * 0.6931471805599453  # of 1 bit/dim of 64 dims


def comparison(difference=-0.0236, half=0.0078, monte_carlo=0.002, **changes):
    """A of 1.8 bits/dim + difference minus B of 1.8; halves are of normal intervals."""

    def mean(value, half):
        return Mean(value * NATS, None if half is None else half * NATS / 1.959963984540054, 10**9)

    model = {"name": "digits", "sha256": "aa" * 32, "weights": "ema", "steps": 1000, "T": 1000}
    sides = [
        Side(mean(1.8 + difference, 0.03), mean(1.8 + difference, 0.01), model),
        Side(mean(1.8, 0.03), mean(1.8, 0.01), model | {"weights": "raw", "sha256": "bb" * 32}),
    ]
    result = Comparison(
        total=mean(difference, half),
        monte_carlo=mean(difference, monte_carlo),
        a=sides[0],
        b=sides[1],
        images=500,
        dims=64,
        network_evaluations=5000,
        seconds=1.0,
        estimator={
            "name": "adaptive stratified",
            "seed": 0,
            "paired": ["images", "times", "noise"],
        },
        data={"name": "digits", "split": "test", "sha256": "d"},
        environment={},
        command="nelbo compare a b",
    )
    return replace(result, **changes)


@pytest.mark.parametrize(
    ("difference", "half", "monte_carlo", "better", "text"),
    [
        (-0.0236, 0.0078, 0.002, "A", "A is better by 0.0236 ± 0.0078 bits/dim"),
        (0.0236, 0.0078, 0.002, "B", "B is better by 0.0236 ± 0.0078 bits/dim"),
        (0.0236, 0.0236, 0.002, "B", "B is better on these images by 0.0236 ± 0.0020 bits/dim; for "
         "new images of this kind the two are not told apart (0.0236 ± 0.0236)"),
        (-0.01, None, 0.002, "A", "A is better on these images by 0.0100 ± 0.0020 bits/dim; for "
         "new images of this kind the two are not told apart (unknown)"),
        (0.001, 0.02, 0.002, None,
         "no difference beyond Monte Carlo error: A minus B is +0.0010 ± 0.0020 bits/dim"),
        (-0.001, 0.02, None, None, "not told apart: A minus B is -0.0010 ± 0.0200 bits/dim"),
        (-0.001, None, None, None, "not told apart: A minus B is -0.0010 ± unknown bits/dim"),
        (0.0, 0.0, 0.0, None, "no difference: A and B have the same bound"),
        (0.0, None, None, None, "no difference: A and B have the same bound"),
        (0.00012, 0.00005, 0.00002, "B", "B is better by 0.000120 ± 0.000050 bits/dim"),
    ],
)  # fmt: skip
def test_the_verdict_says_what_the_intervals_say(difference, half, monte_carlo, better, text):
    """Kills: the worse model called better, one told apart by the Monte Carlo interval alone."""
    result = verdict(difference, half, monte_carlo, "bits/dim")
    assert (result.text, result.better) == (text, better)
    assert result.these_alone == ("on these images" in text)


def test_a_comparison_begins_with_its_verdict_and_names_what_differs():
    """Kills: two models that are both called digits."""
    lines = str(comparison()).splitlines()
    assert lines[0] == "A is better by 0.0236 ± 0.0078 bits/dim"
    assert lines[1].startswith("  A  1.7764 ")
    assert lines[1].endswith("digits, ema weights")
    assert lines[2].endswith("digits, raw weights")
    tree = comparison().to_dict()
    assert (tree["verdict"], tree["better"]) == (lines[0], "A")


def test_a_comparison_is_read_back_as_it_was():
    """Kills: A and B interchanged, the one interval read for the other."""
    result = Comparison.from_dict(json.loads(comparison().to_json()))
    assert result.per_dim == pytest.approx(-0.0236, rel=1e-12)
    assert result.half == pytest.approx(0.0078, rel=1e-6)
    assert result.half_monte_carlo == pytest.approx(0.002, rel=1e-6)
    a, b = result.bounds
    assert a.value == pytest.approx(1.7764, rel=1e-12)
    assert (a.name, b.name) == ("digits, ema weights", "digits, raw weights")
    assert str(result) == str(comparison())
    assert result.verdict_of(a.name, b.name).text.startswith(f"{a.name} is better by 0.0236")


@pytest.mark.parametrize("monte_carlo", [0.002, None])
def test_the_page_says_the_difference_and_what_makes_it(monte_carlo):
    """Kills: a page that asks for something, a number of another model, settings that are alike."""
    result = comparison(monte_carlo=monte_carlo)
    text = difference_page(result)
    page = Page(text)
    assert "http" not in text
    assert all(link[1:] in page.ids for link in page.links if link.startswith("#"))
    assert page.headings == [1, 2, 3, 3, 2, 3, 3, 2, 2]
    assert "digits, ema weights is better by 0.0236 ± 0.0078 bits/dim." in page.words
    assert "-0.0236 ± 0.0078 bits/dim" in page.words
    assert ("-0.0236 ± 0.0020" in page.words) == (monte_carlo is not None)
    assert "1.7764 ± 0.0300" in page.words
    assert "weights ema raw" in page.words
    assert "1000" not in page.words
    assert text == difference_page(result)


def test_names_are_no_markup():
    side = comparison().a
    named = Side(side.total, side.monte_carlo, {**side.model, "name": "<script>x</script>"})
    assert "<script>x" not in difference_page(comparison(a=named))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": "nelbo.comparison/9"}, "nelbo.comparison/9"),
        ({"a": None}, "does not keep to"),
        ({"ci95": ["x", 1]}, "does not keep to"),
        ({"data": {}}, "lacks 'name'"),
        ({"ci95": [2.0, 4.0]}, "was edited"),
        ({"bits_per_dim": 3.0}, "is not round the difference"),
    ],
)
def test_what_is_no_comparison_is_refused(nelbo, tmp_path, changes, message):
    tree = comparison().to_dict() | changes
    (tmp_path / "d.json").write_text(json.dumps(tree))
    with pytest.raises(BadInput, match=message):
        Comparison.from_dict(tree)
    code, out, err = nelbo("report", tmp_path / "d.json", "-o", tmp_path / "d.html")
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert message in err


def test_report_makes_the_page_of_a_difference(nelbo, tmp_path):
    (tmp_path / "d.json").write_text(comparison().to_json())
    code, _, err = nelbo("report", tmp_path / "d.json", "-o", tmp_path / "d.html")
    assert code == 0, err
    expected = difference_page(comparison())
    assert (tmp_path / "d.html").read_text() == expected


@pytest.mark.browser
def test_the_page_can_be_read_by_everybody(browser, tmp_path):
    """Kills: a table wider than a telephone, ink on its own colour, a page that asks for more."""
    path = tmp_path / "d.html"
    path.write_text(difference_page(comparison()))
    with visiting(browser, path) as visit:
        for width, scheme in itertools.product(WIDTHS, SCHEMES):
            visit.resize(width)
            visit.page.emulate_media(color_scheme=scheme)
            assert visit.overflow() <= 0
            assert visit.violations() == []
            assert min(visit.contrast("h1, h2, h3, p, th, td, li").values()) >= 4.5
        assert visit.complaints == []
