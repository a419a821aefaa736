"""Results in Python where a person looks: a line, a cell, a table, a figure, a file."""

import re
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
from matplotlib import pyplot
from matplotlib.figure import Figure

from nelbo import compare, evaluate, load
from nelbo.data import load as load_data
from nelbo.errors import BadInput
from nelbo.report import tables
from nelbo.results import per_image
from nelbo.results.reading import read
from nested import Nested


@pytest.fixture(scope="module")
def images():
    return load_data("digits:test").first(24)


@pytest.fixture(scope="module")
def result(run, images):
    return evaluate(load(run), images, budget=600, distortion=True)


@pytest.fixture(scope="module")
def difference(run, images):
    return compare(load(run), load(run, weights="raw"), images, budget=600)


def test_a_result_a_model_and_images_are_one_short_line(run, result, difference, images):
    """Kills: 38,000 letters in a notebook's cell."""
    shown = [repr(x) for x in (result, difference, load(run), images)]
    assert all(len(text) < 200 and "\n" not in text for text in shown)
    assert shown[0].startswith(f"<Evaluation: {result.bits_per_dim:.4f} ± ")
    assert shown[0].endswith("bits/dim, digits on 24 of digits:test>")
    assert shown[1].endswith("; A is digits, ema weights, B is digits, raw weights>")
    assert shown[2] == "<Model digits: gaussian, 1,000 steps, 1 x 8 x 8 of 17 levels, ema weights>"
    assert shown[3] == "<Images digits:test: 24 of 1 x 8 x 8>"


def test_a_cell_is_the_head_of_the_page(result, difference):
    """Kills: a name that is markup, the one interval in the place of the other, a long cell."""
    named = replace(result, model={**result.model, "name": "<script>x</script>"}, warnings=["<b>"])
    for one in (result, difference, named):
        cell = one._repr_html_()
        Nested(cell)
        text = re.sub("<[^>]+>", "", cell)
        assert len([line for line in text.splitlines() if line.strip()]) <= 40
        assert "<script" not in cell
    cell = result._repr_html_()
    assert f"{result.bits_per_dim:.4f} bits/dim" in cell
    for mean in (result.total, result.monte_carlo):
        assert f"± {result.half_width(mean):.4f}" in cell
    assert difference.verdict.text.partition(" is better")[0] in "AB"
    assert "digits, raw weights" in difference._repr_html_()


def test_a_result_is_a_line_of_a_table(result):
    assert result.to_latex() == tables.latex([result])
    assert result.to_markdown(["model", "bound"]) == tables.markdown([result], ["model", "bound"])


def test_a_result_is_drawn_on_axes_of_ones_own(result):
    """Kills: a figure of its own where axes are given."""
    axes = Figure().subplots()
    for figure in ("steps", "rate", "distortion", "histogram"):
        before = len(axes.lines)
        assert result.plot(axes, figure) is axes
        assert len(axes.lines) > before
    with pytest.raises(BadInput, match="a figure is one of"):
        result.plot(axes, "pie")
    drawn = result.plot(figure="histogram")
    assert drawn.get_figure().number in pyplot.get_fignums()
    assert drawn.get_xlabel() == "bits/dim of an image"
    pyplot.close(drawn.get_figure())


def test_a_data_frame_has_a_row_for_each_image(result, monkeypatch):
    class Frame(dict):
        def set_index(self, name):
            return name, self

    monkeypatch.setitem(sys.modules, "pandas", SimpleNamespace(DataFrame=Frame))
    name, columns = result.to_dataframe()
    assert name == "id"
    assert columns["bits_per_dim"].mean() == pytest.approx(result.bits_per_dim, rel=1e-12)
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(BadInput, match="pip install pandas"):
        result.to_dataframe()


def test_save_writes_what_the_suffix_names(result, difference, tmp_path):
    """Kills: a page in a .json, a table of other images than the result's."""
    starts = {".html": b"<!doctype", ".tex": b"% Made", ".md": b"<!-- Made", ".pdf": b"%PDF"}
    starts |= {".svg": b"<?xml", ".png": b"\x89PNG", ".parquet": b"PAR1"}
    for suffix, start in starts.items():
        path = result.save(tmp_path / f"r{suffix}")
        assert path.read_bytes()[: len(start)].lower() == start.lower()
    actual = read(result.save(tmp_path / "r.json"))
    columns = per_image.read(result.save(tmp_path / "r.csv"))
    assert actual.tree == result.to_dict()
    assert per_image.digest(columns) == actual.tree["per_image_sha256"]
    assert difference.save(tmp_path / "d.html").read_text().startswith("<!DOCTYPE html>")
    assert difference.save(tmp_path / "d.json").read_text() == difference.to_json()
    for one, name in ((result, "r.docx"), (difference, "d.docx"), (result, "r")):
        with pytest.raises(BadInput, match=r"written as \.json"):
            one.save(tmp_path / name)
