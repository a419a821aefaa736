"""The bill of a compression as a page and a table: its figures are those of the file itself."""

import csv
import json
import re
from pathlib import Path

import pytest
import torch
from twins import float_model, random_images

import nelbo
from nelbo.errors import BadInput
from nelbo.results.read_compression import parse_compression
from nelbo.results.saved import sealed
from nelbo.tasks.compress import compress
from nelbo.tasks.integers import integer_twin
from nelbo.tasks.report import paper_table, report

TWIN = Path(__file__).parent.parent / "golden" / "twin.safetensors"


@pytest.fixture(scope="module")
def bills(tmp_path_factory):
    """(folder, the bytes of the file, its bill) of two orders of the same images."""
    folder, images = tmp_path_factory.mktemp("bills"), nelbo.data.load("digits:test").first(4)
    made = [compress(str(TWIN), images, calls=calls, verify=False) for calls in (8, 4)]
    for number, one in enumerate(made):
        (folder / f"{number}.json").write_text(one.bill.to_json())
    return folder, made


def test_a_bill_reads_back_and_its_page_has_the_bytes_of_the_file(bills):
    """Kills: bits for bytes, codes for the file, a page of rounded figures alone."""
    folder, (made, _) = bills
    tree = json.loads(made.bill.to_json())
    again = parse_compression(tree)
    assert again.to_json() == made.bill.to_json()
    page = report(folder / "0.json")
    words = " ".join(re.sub(r"<[^>]*>", " ", page).split())
    assert (
        f"the whole file {len(made.content) / 4:,.1f} {8 * len(made.content) / 4 / 64:.4f}" in words
    )
    assert f"{made.bill.bits_per_dim:.4f} bits/dim" in words
    assert "The codes were not decoded again" in words
    assert "http" not in page
    assert page == report(folder / "0.json")
    stored = re.search(r'<script type="application/json" id="result">(.*?)</script>', page)[1]
    assert json.loads(stored) == tree


def test_tables_of_bills_have_a_line_for_each_and_the_same_figures(bills):
    """Kills: a bill's figures in another's line, a column of another way to count."""
    folder, made = bills
    sources = [folder / "0.json", folder / "1.json"]
    rows = list(csv.DictReader(paper_table(sources, ".csv").splitlines()))
    for row, one in zip(rows, made, strict=True):
        assert int(row["file bits"]) == 8 * len(one.content)
        assert float(row["ideal bits"]) == one.bill.ideal
        assert int(row["calls"]) == one.bill.calls
    for suffix, comma in ((".md", "|"), (".tex", "&")):
        lines = [x for x in paper_table(sources, suffix).splitlines() if "golden, dispersed" in x]
        for line, one in zip(lines, made, strict=True):
            figures = [cell.strip(" $\\") for cell in line.split(comma)]
            assert f"{one.bill.bits_per_dim:.4f}" in figures
            assert f"{one.bill.file / 4 / 64:.4f}" in figures


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schema": "nelbo.compression/9"}, "is of schema nelbo.compression/9"),
        ({"bits_per_dim": 1.0}, "damaged or was edited"),
        ({"bits": {"ideal": 1}}, "lacks 'likelihood'"),
        ({"images": 0}, "whole numbers from 1"),
        ({"model": {"name": 3}}, "a name or the order is no text"),
    ],
)
def test_a_damaged_bill_is_refused_in_one_line(bills, change, words):
    tree = json.loads(bills[1][0].bill.to_json()) | change
    with pytest.raises(BadInput, match=words):
        parse_compression(tree)


def test_bills_beside_other_results_and_of_other_images_are_refused(bills, tmp_path):
    folder, (made, _) = bills
    sources = [folder / "0.json", folder / "1.json"]
    with pytest.raises(BadInput, match="leave them out"):
        paper_table(sources, ".md", ["model"])
    (tmp_path / "other.json").write_text(json.dumps({"schema": "nelbo.ranking/1"}))
    with pytest.raises(BadInput, match="of different kinds fit in no one table"):
        paper_table([sources[0], tmp_path / "other.json"], ".md")
    tree = json.loads(made.bill.to_json())
    tree["data"]["sha256"] = "0"
    (tmp_path / "others.json").write_text(json.dumps(sealed(tree)))
    with pytest.raises(BadInput, match="bills of other images"):
        paper_table([sources[0], tmp_path / "others.json"], ".md")


def test_text_is_not_coded_and_the_line_says_why():
    """Kills: a text that another machine decodes otherwise."""
    options = {"vocabulary": 257, "mask": 257, "time_input": None, "shape": (6,)}
    model = nelbo.wrap_categorical(lambda ids: torch.zeros(*ids.shape, 257), **options)
    for act in (
        lambda: compress(model, "topics:test"),
        lambda: integer_twin(model, random_images()),
    ):
        with pytest.raises(BadInput, match="no transformer has an integer twin"):
            act()
    with pytest.raises(BadInput, match="improve --integers"):
        compress(float_model(), random_images())
