"""The pages of results as people meet them: opened from disk, looked at, hovered over, printed."""

import itertools
import json
import re

import numpy as np
import pytest

from browser import SCHEMES, WIDTHS, visiting
from conftest import changed, small_recipe
from nelbo import data, formats
from nelbo.results import per_image
from nelbo.tasks.evaluate import evaluate
from nelbo.tasks.report import comparison, report
from nelbo.tasks.train import train

pytestmark = pytest.mark.browser

TINY = {"training.steps": 2, "training.batch_size": 16, "network.width": 8}
INK = "h1, h2, h3, p, th, td, dt, dd, li, summary, button, figcaption, .plot text"
PLOTS = """[...document.querySelectorAll(".plot")].filter(e => e.checkVisibility())
  .map(e => { const r = e.getBoundingClientRect(); return [r.width, r.height]; })"""
CHART = """id => {
  const chart = document.getElementById(id), plot = chart.querySelector(".plot");
  const paths = [...plot.querySelectorAll("path")].map(e => e.getAttribute("d") ?? "");
  return {
    places: plot.dataset.points.split(" ").map(p => p.split(",").map(Number)),
    rows: [...chart.querySelectorAll("tbody tr")].map(r => [...r.cells].map(c => c.textContent)),
    corners: paths.flatMap(d => [...d.matchAll(/(-?[\\d.]+) (-?[\\d.]+)/g)])
      .map(m => [+m[1], +m[2]]),
  };
}"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """A page of each kind, of small models of 40 images."""
    folder = tmp_path_factory.mktemp("pages")
    images = data.load("digits:test").first(40)
    recipes = {
        "longer": small_recipe(**{"chain.schedule.T": 30}),
        "shorter": changed("digits-d3pm", TINY | {"chain.schedule.T": 20}),
    }
    for name, choices in recipes.items():
        run = train(choices, folder / name)
        command = f"nelbo evaluate {name}"
        result = evaluate(formats.load(run), images, budget=480, distortion=True, command=command)
        (run / "result.json").write_text(result.to_json())
        per_image.write(result.per_image, run / "images.csv")
    made = {
        "report": report(folder / "longer", samples=9),
        "comparison": comparison([folder / name for name in recipes]),
    }
    for name, text in made.items():
        (folder / f"{name}.html").write_text(text)
    return {name: folder / f"{name}.html" for name in made}


@pytest.fixture(params=["report", "comparison"])
def path(request, pages):
    return pages[request.param]


@pytest.fixture
def visit(browser, path):
    """Whatever is done with a page, it asks for nothing and has nothing to complain of."""
    with visiting(browser, path) as opened:
        yield opened
        assert opened.complaints == []


def test_every_chart_is_drawn_and_says_its_numbers_where_the_pointer_is(visit):
    """Kills: a request for a font, a chart of no size, a tooltip that is behind or never goes."""
    sizes = visit.page.evaluate(PLOTS)
    assert len(sizes) >= 4
    assert all(width > 250 and height > 120 for width, height in sizes), sizes
    for plot in visit.page.locator(".plot:visible").all():
        tip = plot.locator("xpath=..").locator(".tip")
        assert not tip.is_visible()
        plot.hover()
        rows = plot.locator("xpath=ancestor::div[@class='chart']").locator("tbody tr")
        cells = rows.evaluate_all("rows => rows.map(r => [...r.cells].map(c => c.textContent))")
        assert tip.is_visible()
        lines = tip.evaluate("e => [...e.children].map(line => line.lastChild.textContent)")
        assert lines in cells
        visit.page.mouse.move(0, 0)
        assert not tip.is_visible()


def test_a_chart_can_be_read_by_keys_alone(visit):
    """Kills: a tooltip for the mouse alone."""
    plot = visit.page.locator(".plot:visible").first
    tip = plot.locator("xpath=..").locator(".tip")
    visit.page.keyboard.press("Tab")
    for _ in range(60):
        if plot.evaluate("e => e === document.activeElement"):
            break
        visit.page.keyboard.press("Tab")
    assert tip.is_visible()
    first = tip.text_content()
    visit.page.keyboard.press("ArrowRight")
    assert tip.text_content() != first
    visit.page.keyboard.press("ArrowLeft")
    assert tip.text_content() == first
    visit.page.keyboard.press("Escape")
    assert not tip.is_visible()


def test_one_view_at_a_time_is_shown_as_its_button_says(visit):
    """Kills: a toggle that hides nothing, or says that another view is shown."""
    group = visit.page.locator("[data-views]")
    charts, buttons = group.locator(".chart"), group.locator(".views button")
    assert buttons.count() == charts.count() >= 2
    for chosen in (1, 0):
        buttons.nth(chosen).press("Enter")
        for number in range(charts.count()):
            assert charts.nth(number).is_visible() == (number == chosen)
            pressed = buttons.nth(number).get_attribute("aria-pressed")
            assert pressed == str(number == chosen).lower()


def line(x, y):
    """Largest distance from the straight line that fits best."""
    return np.abs(np.polyval(np.polyfit(x, y, 1), x) - y).max()


def on_the_axes(chart, values):
    """(which values are drawn, where): only what is too small for the logarithmic axis is not."""
    drawn = np.array([len(place) == 2 for place in chart["places"]])
    assert drawn.sum() > 0.9 * len(drawn)
    assert max(values[~drawn], default=-np.inf) < values[drawn].min()
    return drawn, np.array([place for place in chart["places"] if len(place) == 2])


def test_what_is_drawn_is_what_the_result_says(browser, pages):
    """Kills: a curve of other numbers than its table's, an axis that is not what it says."""
    with visiting(browser, pages["report"]) as visit:
        tree = visit.page.evaluate("JSON.parse(document.getElementById('result').textContent)")
        assert tree == json.loads((pages["report"].parent / "longer/result.json").read_text())
        stated = {step["t"]: step["bits_per_dim"] for step in tree["per_step"]}
        snr = {step["t"]: step["log_snr"] for step in tree["per_step"]}
        for id, over, up in (
            ("bits-log-snr", lambda t: np.array([snr[int(each)] for each in t]), np.asarray),
            ("bits-t", np.asarray, np.log),
            ("bits-log-t", np.log, np.log),
        ):
            chart = visit.page.evaluate(CHART, id)
            t = np.array([int(row[0]) for row in chart["rows"]])
            bits = np.array([stated[int(each)] for each in t])
            assert list(t) == list(stated)
            assert [row[-2] for row in chart["rows"]] == [f"{each:.4g}" for each in bits]
            drawn, places = on_the_axes(chart, bits)
            assert line(over(t[drawn]), places[:, 0]) < 0.1
            assert line(up(bits[drawn]), places[:, 1]) < 0.1
            away = np.abs(np.array(chart["corners"]) - places[:, None]).max(2).min(1)
            assert away.max() < 0.1


def test_the_comparison_draws_every_model_over_one_axis(browser, pages):
    """Kills: chains of other lengths over t, a term that is not taken T times, names swapped."""
    folder = pages["comparison"].parent
    results = [
        json.loads((folder / name / "result.json").read_text()) for name in ("longer", "shorter")
    ]
    stated = {
        (result["model"]["name"], step["t"]): (result["model"]["steps"], step["bits_per_dim"])
        for result in results
        for step in result["per_step"]
        if step["t"] > 1
    }
    with visiting(browser, pages["comparison"]) as visit:
        chart = visit.page.evaluate(CHART, "bits")
        tree = visit.page.evaluate("JSON.parse(document.getElementById('result').textContent)")
        shown = visit.page.locator("#ranking tbody tr").all_text_contents()
    assert sorted((row[0], int(row[1])) for row in chart["rows"]) == sorted(stated)
    values = [stated[row[0], int(row[1])] for row in chart["rows"]]
    t = np.array([int(row[1]) for row in chart["rows"]])
    steps, bits = np.array(values).T
    assert [row[3] for row in chart["rows"]] == [f"{each:.4g}" for each in steps * bits]
    drawn, places = on_the_axes(chart, steps * bits)
    x, y = places.T
    assert line((t / steps)[drawn], x) < 0.1
    assert line(np.log(steps * bits)[drawn], y) < 0.1
    assert [one["result"] for one in tree["models"]] == sorted(
        results, key=lambda r: r["bits_per_dim"]
    )
    (difference,) = tree["differences"]
    assert difference["paired"]
    half = (difference["ci95"][1] - difference["ci95"][0]) / 2
    assert f"+{-difference['bits_per_dim']:.4f} ± {half:.2g}" in shown[1]


def test_wide_or_narrow_light_or_dark_it_can_be_read_by_everybody(visit):
    """Kills: a table wider than a telephone, ink on its own colour, a chart without a name."""
    papers = {}
    for width, scheme in itertools.product(WIDTHS, SCHEMES):
        visit.resize(width)
        visit.page.emulate_media(color_scheme=scheme)
        papers[scheme] = visit.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert visit.overflow() <= 0
        if (width, scheme) in zip(WIDTHS, SCHEMES, strict=True):  # axe takes seconds; each once
            assert visit.violations() == []
        faint = {text: x for text, x in visit.contrast(INK).items() if x < 4.5}
        assert faint == {}
    assert papers["light"] != papers["dark"]


def test_with_everything_open_it_can_still_be_read_by_everybody(visit):
    """Kills: a table behind a chart, or a tooltip, that nobody judged."""
    visit.page.evaluate("document.querySelectorAll('details').forEach(e => e.open = true)")
    visit.page.locator(".plot:visible").first.hover()
    visit.resize(WIDTHS[0])
    assert visit.overflow() <= 0
    assert visit.violations() == []


def test_on_paper_it_is_all_there_and_dark_on_light(visit):
    """Kills: ink that is white on paper, a chart that is not printed, buttons that are."""
    visit.page.emulate_media(media="print", color_scheme="dark")
    assert not visit.page.locator("nav").is_visible()
    assert not visit.page.locator(".views").first.is_visible()
    assert all(section.is_visible() for section in visit.page.locator("section").all())
    assert len(visit.page.evaluate(PLOTS)) >= 4
    style = "(({color, backgroundColor: paper}) => [color, paper])(getComputedStyle(document.body))"
    colours = [re.findall(r"\d+", colour)[:3] for colour in visit.page.evaluate(style)]
    ink, paper = (sum(map(int, colour)) for colour in colours)
    assert ink < 200 < 700 < paper
    assert min(visit.contrast(INK).values()) >= 4.5


def test_without_scripts_everything_is_there(browser, path):
    """Kills: a chart or a table that a script makes."""
    with visiting(browser, path, javascript=False) as visit:
        views = visit.page.locator(".plot").count()
        assert not visit.page.locator(".views").count()
        for summary in visit.page.locator("summary:visible").all():
            summary.click()
        for summary in visit.page.locator("summary:visible").all():  # those inside of others
            if not summary.locator("xpath=..").get_attribute("open") is not None:
                summary.click()
        assert visit.page.locator(".plot:visible").count() == views
        assert visit.page.locator("table:visible").count() == visit.page.locator("table").count()
        assert visit.complaints == []
