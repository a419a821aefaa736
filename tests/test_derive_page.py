"""The page of `nelbo derive --html` and docs/derivation.md, both written from the lines."""

import itertools
import json
import re
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from browser import SCHEMES, WIDTHS, visiting
from nelbo.cli.outputs import kind_of
from nelbo.data import load
from nelbo.derivation import FALSE_LINES, LINES, Status
from nelbo.formats import load as load_model
from nelbo.gaussian.mistakes import CLAMPED
from nelbo.report.derivation import markdown
from nelbo.report.derivation_page import BLUE, GREEN, ORANGE, derivation_page, mathml, typeset
from nelbo.report.derivation_texts import latex, notebook
from nelbo.tasks.derive import derive
from nested import Nested

torch.set_num_threads(1)

DOCUMENT = Path(__file__).parent.parent / "docs" / "derivation.md"
REGENERATE = (
    "docs/derivation.md is stale; write it anew with: python -c 'from pathlib import Path; "
    "from nelbo.report.derivation import markdown; from nelbo.tasks.derive import derive; "
    'Path("docs/derivation.md").write_text(markdown(derive()))\''
)
LABELS = [line.label for line in (*LINES, *FALSE_LINES)]


class Page(Nested):
    """The elements of a page, nested as they should be."""

    def __init__(self, text: str) -> None:
        self.tags, self.labels, self.references = [], [], []
        super().__init__(text)

    def started(self, tag, attrs):
        self.tags.append(tag)
        self.labels += [attrs["data-label"]] if "data-label" in attrs else []
        self.references += [attrs[k] for k in ("src", "href", "xlink:href") if k in attrs]


@pytest.fixture(scope="module")
def exact():
    return derive(command="nelbo derive")


@pytest.fixture(scope="module")
def drawn(run):
    return derive(load_model(run).every(60), load("digits:test", levels=17), images=1, paths=4)


@pytest.fixture(scope="module", params=["exact", "drawn"])
def derivation(request):
    return request.getfixturevalue(request.param)


def test_the_page_has_every_line_every_formula_and_both_pictures_of_each_chain(derivation):
    page = Page(derivation_page(derivation))
    assert page.open == []
    assert page.labels == LABELS
    assert page.tags.count("math") == len(LABELS)
    assert page.tags.count("svg") == 2 * len(derivation.chains)
    assert "munderover" in page.tags
    text = derivation_page(derivation)
    for chain in derivation.chains:
        assert chain.name in text
        for row in chain.valuation.rows:
            estimate = row.status is Status.ESTIMATE  # which has fewer digits to show
            assert (f"≲ {row.value:.3f}" if estimate else f"{row.value:.8f}") in text


def test_the_page_refers_to_nothing_outside_itself(derivation):
    """Kills: a font, a script or a namespace fetched from elsewhere."""
    text = derivation_page(derivation)
    assert "http" not in text
    assert "<script" not in text
    assert all(reference.startswith("#") for reference in Page(text).references)


def test_equal_derivations_give_equal_pages(exact):
    """Kills: a date or a random id in a picture."""
    again = derive(command="nelbo derive")
    pages = [re.sub(r"[\d.]+ s\b", "", derivation_page(each)) for each in (exact, again)]
    assert pages[0] == pages[1]


def test_the_page_says_what_fails_and_what_cannot_be_known(exact, drawn):
    text = derivation_page(exact)
    assert "Every line that must hold holds." in text
    assert "condition-fails" in text
    assert "infinite" in text
    assert "It stops at line (3)" in text
    assert "not exact" in derivation_page(drawn)
    assert "which is not known" in derivation_page(drawn)


def test_every_formula_is_mathml_without_what_was_not_understood():
    """Kills: a LaTeX command that the library leaves as it is."""
    for line in (*LINES, *FALSE_LINES, CLAMPED.line):
        text = mathml(line.latex)
        assert text.startswith("<math")
        assert "\\" not in text
        assert "merror" not in text
        assert line.latex.count("{") == line.latex.count("}")


def test_text_is_escaped_and_its_indices_are_set():
    assert typeset("q(x_t-1|x_0) < x_1:T & L_T") == (
        "q(x<sub>t-1</sub>|x<sub>0</sub>) &lt; x<sub>1:T</sub> &amp; L<sub>T</sub>"
    )


def test_the_document_is_written_from_the_same_lines(exact):
    """Kills: a line changed and its documentation forgotten."""
    assert DOCUMENT.read_text() == markdown(exact), REGENERATE


def test_the_document_has_every_line():
    text = DOCUMENT.read_text()
    for line in (*LINES, *FALSE_LINES):
        assert f"\n### {line.label}\n\n$$\n{line.latex}\n$$\n" in text


SIZES = """selector => [...document.querySelectorAll(selector)]
  .map(e => e.getBoundingClientRect()).map(r => [r.width, r.height])"""
CLIPPED = """[...document.querySelectorAll("td.value *")]
  .filter(e => e.getBoundingClientRect().right > innerWidth).length"""


@pytest.fixture
def opened(derivation, browser, tmp_path):
    path = tmp_path / "page.html"
    path.write_text(derivation_page(derivation))
    with visiting(browser, path) as visit:
        yield visit


@pytest.mark.browser
def test_a_browser_draws_formulas_values_and_pictures(opened):
    """Kills: MathML that a browser does not know, pictures of no size, a value cut off."""
    sizes = {name: opened.page.evaluate(SIZES, name) for name in ("math", "munderover", "svg")}
    assert opened.complaints == []
    assert len(sizes["math"]) == len(LABELS)
    assert all(width > 60 and height > 12 for width, height in sizes["math"])
    # a fraction is two lines high: it is set, not run together
    assert sum(height > 30 for _, height in sizes["math"]) >= 15
    assert all(height > 20 for _, height in sizes["munderover"])
    assert all(width > 300 and height > 150 for width, height in sizes["svg"])
    assert opened.page.evaluate(CLIPPED) == 0


@pytest.mark.browser
def test_everybody_can_read_it_wide_or_narrow_in_the_light_or_in_the_dark(opened):
    """Kills: a table wider than a telephone, black ink on black, a formula no key can scroll."""
    for width, scheme in itertools.product(WIDTHS, SCHEMES):
        opened.resize(width)
        opened.page.emulate_media(color_scheme=scheme)
        assert opened.overflow() <= 0
        assert min(opened.contrast("svg text").values()) > 4.5
        if (width, scheme) in zip(WIDTHS, SCHEMES, strict=True):  # axe takes seconds; each once
            assert opened.violations() == []
    assert opened.complaints == []


@pytest.mark.browser
def test_a_screenshot_shows_colour_and_ink(exact, browser, tmp_path):
    """Kills: a page that is blank without a network or without scripts."""
    path = tmp_path / "page.html"
    path.write_text(derivation_page(exact))
    with visiting(browser, path, javascript=False) as visit:
        shot = visit.page.screenshot(full_page=True)
    pixels = np.asarray(Image.open(BytesIO(shot)).convert("RGB")).astype(int)
    assert pixels.shape[1] == 1440
    assert (pixels.max(2) < 120).sum() > 20_000
    for colour in (BLUE, ORANGE, GREEN):  # the pictures
        wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
        assert (np.abs(pixels - wanted).max(2) < 8).sum() > 500, colour


def test_as_latex_it_has_every_line_in_letters_that_any_tex_reads(derivation, tmp_path):
    """Kills: a line left out, a symbol that pdflatex lacks, a row of fewer cells than columns."""
    text = latex(derivation)
    assert text.isascii()
    labels = [row.line.label for v in valuations(derivation) for row in (*v.rows, *v.false)]
    for line in (line for line in (*LINES, *FALSE_LINES) if line.label in labels):
        assert f"\\nelboformula{{{line.label.strip('()')}}}{{{line.latex}}}" in text
    rows = re.findall(r"^(\S+) & (.*) \\\\$", text, re.MULTILINE)
    assert [label for label, _ in rows] == list(dict.fromkeys(labels))
    assert all(cells.count("&") == len(derivation.chains) - 1 for _, cells in rows)
    assert text.count("{") == text.count("}")
    file = tmp_path / "a.tex"
    file.write_text(text)
    assert kind_of(file) == "derivation text"


def valuations(derivation):
    return [chain.valuation for chain in derivation.chains]


def test_as_a_notebook_it_has_a_cell_for_each_line_and_the_command(exact, tmp_path):
    """Kills: a line left out; JSON that is no notebook; a file that is not known again."""
    file = tmp_path / "a.ipynb"
    file.write_text(notebook(exact))
    assert kind_of(file) == "derivation notebook"
    tree = json.loads(file.read_text())
    assert (tree["nbformat"], tree["nbformat_minor"]) == (4, 4)
    heads = [cell["source"].partition("\n")[0] for cell in tree["cells"]]
    assert [head.removeprefix("### ") for head in heads if head.startswith("### ")] == LABELS
    *_, last = tree["cells"]
    assert (last["cell_type"], last["source"], last["outputs"]) == ("code", "!nelbo derive", [])
