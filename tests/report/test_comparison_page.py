"""The page of several results: its figures are the ranking's, equal results make equal bytes."""

import itertools
import json
import re

import pytest
from results import IMAGES, A, B, C, drawn, result_of
from test_page import Page

from nelbo.report.page import comparison_page
from nelbo.results import per_image, rank
from nelbo.results.evaluation import Evaluation

SECTIONS = ["ranking", "differences", "terms", "curves", "settings", "provenance"]


def steps(T, scale=1.0):
    return [{"t": t, "bits_per_dim": scale * t / T**2, "se": 0.01} for t in range(1, T + 1)]


def rates(T):
    return [{"t": t, "bits_per_dim": 1.8 - t / T, "rmse": t / T} for t in range(2, T + 1)]


def measured(name, values, T=10, **changes):
    """A result with curves."""
    own = {"per_step": steps(T), "rate_distortion": rates(T), "model__T": T, "model__steps": T}
    return result_of(name, values, **(own | changes))


def text(*results):
    return comparison_page(rank(results))


@pytest.fixture(scope="module")
def three():
    return [measured("a", A), measured("b", B, T=20), measured("c", C)]


def test_the_page_is_whole(three):
    """Kills: an id of one chart in another, a chart without its table, a reference elsewhere."""
    page = text(*three)
    parsed = Page(page)
    assert len(set(parsed.ids)) == len(parsed.ids)
    assert "http" not in page
    assert all(link.startswith(("#", "data:")) for link in parsed.links)
    assert all(link[1:] in parsed.ids for link in parsed.links if link.startswith("#"))
    assert [id for id in parsed.ids if id in SECTIONS] == SECTIONS
    assert parsed.headings[0] == 1
    assert all(b <= a + 1 for a, b in itertools.pairwise(parsed.headings))
    assert [name for name, _ in parsed.charts] == [
        *("paired-0", "paired-1", "bits", "bits-log", "rate", "rate-distortion"),
    ]
    for name, attributes in parsed.charts:
        assert attributes["aria-label"]
        assert len(attributes["data-points"].split()) == len(parsed.rows[name]) > 0


@pytest.mark.parametrize("order", [(2, 1, 0), (1, 2, 0)])
def test_equal_results_give_equal_bytes_in_whatever_order(three, order):
    """Kills: a date, an id by chance, the order of the command line."""
    assert text(*(three[place] for place in order)) == text(*three)


def test_the_differences_are_those_of_the_ranking_and_their_signs_agree(three):
    """Kills: a row minus a column that is the other way round, the interval of a bound as its."""
    ranking, words = rank(three), Page(text(*three)).words
    for difference in ranking.differences:
        half = f"± {difference.mean.half_width():.2g}"
        assert f"−{-difference.mean.mean:.4f} {half}" in words
        assert f"+{-difference.mean.mean:.4f} {half}" in words
    best, second = ranking.entries[:2]
    one = ranking.between(best, second)
    lead = f"{-one.mean.mean:.4f} ± {one.mean.half_width():.2g} above it (95 %, paired by image)"
    assert lead in words


def test_chains_of_other_lengths_are_laid_over_each_other(three):
    """Kills: terms of 20 steps beside terms of 10 as if they were alike."""
    parsed = Page(text(*three))
    assert "t/T →" in parsed.words
    rows = {(row[0], row[1]): row for row in parsed.rows["bits"]}
    assert rows["a", "5"][2:4] == ["0.5", "0.5"]  # 10 times 5 / 10**2
    assert rows["b", "10"][2:4] == ["0.5", "0.5"]
    assert ("a", "1") not in rows
    same = Page(text(three[0], three[2]))
    assert "t/T →" not in same.words
    assert {(row[0], row[1]): row for row in same.rows["bits"]}["a", "5"][2] == "0.05"


def test_the_rate_ends_with_all_bits_before_the_last_step(three):
    """Kills: a curve that stops where its last group does."""
    rows = [row for row in Page(text(*three)).rows["rate"] if row[0] == "a"]
    L_T, L_mid, _ = three[0][0].figures
    assert [row[1] for row in rows] == [str(t) for t in range(1, 11)]
    assert rows[0][3] == f"{L_T.value + L_mid.value:.4g}"


def test_only_what_differs_is_beside_each_other(three):
    """Kills: every setting, or none."""
    page_text = text(*three)
    table = page_text[page_text.index('id="settings"') : page_text.index('id="provenance"')]
    names = re.findall(r'<th scope="row">(.*?)</th>', table)
    assert names == ["T", "steps"]
    same = text(measured("a", A), measured("b", B, model__clip=True))
    table = same[same.index('id="settings"') : same.index('id="provenance"')]
    assert re.findall(r'<th scope="row">(.*?)</th>', table) == ["clip"]
    assert re.findall(r'<td class="any">(.*?)</td>', table) == ["—", "yes"]


def test_what_is_not_paired_says_so_and_why(three):
    """Kills: an unpaired interval under the name of a paired one."""
    words = Page(text(three[0], (three[1][0], None))).words
    assert "as of separate images" in words
    assert "not paired, sampling of images" in words
    assert "there is no per-image table of b" in words
    assert "image by image, minus" not in words


def test_results_without_curves_and_names_that_are_markup_have_a_page():
    """Kills: a name that is markup, a chart of nothing."""
    page = text(result_of("<script>alert(1)</script>", A), result_of("b & c", B))
    assert "<script>alert" not in page
    assert "No result tells its terms by t." in page
    assert Page(page).open == []


def test_of_many_models_there_is_no_matrix(three):
    """Kills: a table of 49 cells."""
    seven = [(result_of(f"m{n}", drawn(n, 0.02 * n))[0], None) for n in range(7)]
    assert "Every pair" not in text(*seven)
    assert "Every pair" in text(*seven[:6])
    assert "all 21 differences" in Page(text(*seven)).words


def test_negative_terms_have_no_bar():
    """Kills: shares of a density's terms."""
    term = {"bits_per_dim": 1.0, "se": None}
    terms = {"L_T": term, "L_mid": term, "L_0": {"bits_per_dim": -0.2, "se": None}}
    assert "no shares to draw" in text(measured("a", A, terms=terms), measured("b", B))


def written(folder, name, values, **changes):
    """A result file with its table beside it."""
    result, columns = measured(name, values, **changes)
    path = folder / f"{name}.json"
    path.write_text(json.dumps(result.tree))
    rows = [f"{i},{x!r},,0.0,{x!r},0.0" for i, x in enumerate(columns["bits_per_dim"].tolist())]
    path.with_suffix(".csv").write_text("\n".join([",".join(per_image.COLUMNS), *rows]) + "\n")
    return path


def test_the_command_writes_the_page_of_its_files(nelbo, tmp_path):
    paths = [written(tmp_path, name, values) for name, values in (("b", B), ("a", A))]
    output = tmp_path / "page.html"
    code, out, err = nelbo("report", *paths, "-o", output)
    assert (code, out) == (0, f"{output}\n")
    assert all("has no digest of its" in line for line in err.splitlines())
    assert output.read_text() == text(measured("a", A), measured("b", B))
    paths[0].with_suffix(".csv").unlink()
    assert nelbo("report", *paths, "-o", output)[0] == 0
    assert "no per-image table of b" in output.read_text()


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({"data__levels": 256}, (), "levels, 17 and 256"),
        ({"data__sha256": "e", "data__name": "faces"}, (), "digits and faces"),
        ({}, ("--samples", 3), "are of one result"),
        ({"schema": "nelbo.comparison/1"}, (), "nelbo.comparison/1"),
    ],
)
def test_what_does_not_compare_is_refused(nelbo, tmp_path, changes, options, message):
    a = written(tmp_path, "a", A)
    b = tmp_path / "b.json"
    tree = json.loads(json.dumps(measured("b", B)[0].tree))
    for key, value in changes.items():
        part, _, name = key.rpartition("__")
        (tree[part] if part else tree)[name] = value
    b.write_text(json.dumps(tree))
    code, out, err = nelbo("report", a, b, "-o", tmp_path / "page.html", *options)
    assert (code, out) == (2, "")
    assert message in err
    assert len([line for line in err.splitlines() if line.startswith("nelbo:")]) == 1
    assert not (tmp_path / "page.html").exists()


def test_the_number_of_images_is_shown(three):
    assert f"{IMAGES} images" in Page(text(*three)).words
    assert Evaluation.from_dict(three[0][0].tree).images == IMAGES
