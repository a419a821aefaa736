"""The page of a model of text: what it draws is written, and examples are windows."""

import pytest
import torch
from test_page import Page

import nelbo
from browser import visiting
from nelbo.sampling.ancestral import ancestral
from nelbo.sampling.texts import on_its_way, symbols_of
from small_text import TEXT, small_model

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def model():
    return small_model()


@pytest.fixture(scope="module")
def result(model):
    return nelbo.evaluate(model, TEXT, budget=20 * len(TEXT))


@pytest.mark.browser
def test_the_pages_of_text_can_be_read_by_everybody(browser, model, result, tmp_path):
    """With samples and without. Kills: a span of text that no line of a telephone holds."""
    drawn = nelbo.page(model, result, tmp_path / "drawn.html", data=TEXT, samples=2)
    for path, width, scheme in (
        (result.save(tmp_path / "alone.html"), 360, "dark"),
        *((drawn, 390, "light"), (drawn, 1440, "dark")),
    ):
        with visiting(browser, path, width=width, scheme=scheme) as visit:
            assert visit.illegible() == []


def test_the_page_of_text_has_samples_and_their_way_from_masks(model, result, tmp_path):
    """Law: the samples are those of `nelbo.sample`; at t = T every symbol is masked, and one fewer
    at each t before the first end. Kills: text that is called no picture, the way of another
    sample, images said of windows."""
    path = nelbo.page(model, result, tmp_path / "p.html", data=TEXT, samples=3, seed=2)
    page = Page(path.read_text())
    drawn = nelbo.sample(model, 3, seed=2)
    symbols = symbols_of(model.shape, 257, None)
    wanted = [on_its_way(row, 257, symbols) for row in drawn.tolist()]
    for text in wanted:
        assert " ".join(text.split()) in page.words
    states = dict(ancestral(model, 3, seed=2))
    for t in (6, 3, 1):
        levels = [v if v < 257 else 257 for v in model.levels(states[t])[0].tolist()]
        assert levels.count(257) == t
        assert " ".join(on_its_way(levels, 257, symbols).split()) in page.words
    assert "▒" * 6 in page.words
    assert "sampling of windows, 95 %" in page.words
    assert "images" not in page.words.partition("Provenance Everything")[0].lower()


def test_a_text_on_its_way_ends_where_its_end_symbol_is():
    """By hand. Kills: what follows the end shown, a terminal's codes in a page."""
    symbols = symbols_of((6,), 257, None)
    assert on_its_way([104, 257, 257, 105, 256, 120], 257, symbols) == "h▒▒i"
    assert on_its_way([257, 256, 257], 257, symbols) == "▒"
    assert on_its_way([27, 10, 0xC3, 257], 257, symbols) == "\\x1b\n\ufffd▒"
