"""Images in the order of their bounds: intervals that hold, ranks, and no winner's curse."""

import csv
import json
import math
from dataclasses import replace
from io import StringIO

import pytest
import torch

import labelled
import nelbo
from nelbo.bound.statistics import Mean
from nelbo.data import Images
from nelbo.errors import BadInput
from nelbo.results.image_ranking import ImageBounds, ImageRanking
from nelbo.tasks.evaluate import evaluate
from nelbo.tasks.rank import rank


def ranking(values, se=0.0, dof=math.inf, again=None):
    """Of these bounds in nats of one dimension, whose ids are their places and 100."""
    values = torch.tensor(values, dtype=torch.float64)
    places = torch.arange(len(values))
    column = torch.as_tensor(se, dtype=torch.float64).expand(len(values))
    bounds = ImageBounds(
        places + 100,
        values,
        column,
        torch.full_like(values, dof),
        torch.zeros(len(values), dtype=torch.bool) if again is None else torch.tensor(again),
    )
    order = values.argsort()
    mean = Mean(float(values.mean()), None, 1)
    about = {"estimator": {"name": "", "seed": 0}, "model": {"name": "m"}, "data": {"name": "d"}}
    return ImageRanking(
        bounds=bounds,
        easiest=order[:1],
        hardest=order[-1:],
        total=mean,
        monte_carlo=mean,
        dims=1,
        network_evaluations=0,
        seconds=0.0,
        environment={},
        command="",
        **about,
    )


def test_ranks_are_those_of_every_pair():
    """Against the definition, pair by pair: who lies below, and above, with the whole interval.

    Kills: an image that beats itself, an end counted once too often, the ends exchanged.
    """
    generator = torch.Generator().manual_seed(0)
    ranks = ranking(
        (6 * torch.rand(40, generator=generator)).tolist(), torch.rand(40, generator=generator)
    )
    half = ranks.bounds.half(40)
    low, high = ranks.bounds.values - half, ranks.bounds.values + half
    lowest, highest = ranks.ranks
    assert lowest.tolist() == [1 + int((high < x).sum()) for x in low]
    assert highest.tolist() == [40 - int((low > x).sum()) for x in high]
    assert (lowest < highest).any()
    for row in ranks.rows():
        assert row["rank_low"] <= row["rank"] <= row["rank_high"]


def test_exact_bounds_have_one_rank_each():
    """Kills: ranks by the place in the set, intervals of what has no error."""
    ranks = ranking([3.0, 1.0, 2.0])
    assert [row["id"] for row in ranks.rows()] == [101, 102, 100]
    assert all(row["rank"] == row["rank_low"] == row["rank_high"] for row in ranks.rows())


def test_ranks_hold_at_once_for_every_image_and_look():
    """Kills: ranks from intervals that hold one at a time, or for one look of two."""
    ranks = ranking([0.0, 1.0, 2.0], se=1.0, again=[True, False, True])
    one = float(ranks.bounds.half()[0])
    assert one == pytest.approx(1.959964, abs=1e-6)
    assert float(ranks.bounds.half(5)[0]) == pytest.approx(2.575829, abs=1e-6)
    assert torch.equal(ranks._together, ranks.bounds.half(5))


def test_an_image_is_unlike_the_rest_only_with_its_whole_interval():
    """Kills: a spread that the odd image makes itself, an odd image by Monte Carlo error alone."""
    normal = torch.special.ndtri((torch.arange(99, dtype=torch.float64) + 0.5) / 99).tolist()
    errors = torch.full((100,), 0.01)
    ranks = ranking([*normal, 9.0], errors)
    assert ranks.fence.spread * math.log(2) == pytest.approx(1.0, abs=0.05)
    assert ranks.bounds.ids[ranks.unlike].tolist() == [199]
    errors[-1] = 2.0
    assert not ranking([*normal, 9.0], errors).unlike.any()
    assert ranking(normal[:7]).fence is None


def exactly(model, images, seeds):
    """(the bound of each image, its variance), from every t by many seeds."""
    values = torch.stack(
        [
            evaluate(model, images, exhaustive=True, seed=1000 + seed, check=False).per_image.total
            for seed in range(seeds)
        ]
    )
    return values.mean(0), values.var(0) / seeds


def test_the_interval_of_an_image_holds():
    """z = (hits - 0.95 n) / sqrt(0.95 0.05 n) over images, first and second look, |z| < 4.

    Kills: the error of all images as that of one, a normal quantile for few rows.
    """
    model, images = labelled.model_of(labelled.Tilted(1)), labelled.images(150)
    truth, variance = exactly(model, images, 24)
    hits = []
    for seed in range(3):
        ranks = rank(model, images, first=12, again=12, count=40, seed=seed).bounds
        wide = (ranks.half().square() + 1.96**2 * variance).sqrt()
        hits.append((ranks.values - truth).abs() <= wide)
    hits = torch.stack(hits).double()
    assert hits.numel() == 450
    assert abs(float(hits.sum()) - 0.95 * 450) / math.sqrt(0.95 * 0.05 * 450) < 4


def test_chance_that_chose_an_image_does_not_flatter_it():
    """Sixty-four times the same image: the listed ones are as the others are, |z| < 4.

    Kills: the figure of the first look kept, a second look by the noise of the first.
    """
    model = labelled.model_of(labelled.Tilted(1))
    one = labelled.images(1).levels
    images = Images("copies", None, one.repeat(64, 1, 1, 1), labelled.GRID.n)
    truth = exactly(model, images, 6)[0].mean()
    listed, chosen = [], []
    for seed in range(3):
        ranks = rank(model, images, first=8, again=8, count=16, seed=seed)
        of_first = evaluate(model, images, budget=8 * 64, seed=seed).per_image.total
        listed.append(ranks.bounds.values[ranks.hardest] - truth)
        chosen.append(of_first[ranks.hardest] - truth)
    mean, se = (x(torch.cat(listed)) for x in (torch.mean, torch.std))
    assert abs(mean) < 4 * se / 48**0.5
    assert torch.cat(chosen).mean() > 8 * se / 48**0.5  # chance did choose them


def test_the_command_lists_both_ends_and_writes_both_tables(nelbo, run, tmp_path, monkeypatch):
    """Kills: a list that is empty, a CSV that is not the JSON, a table over another's file."""
    monkeypatch.chdir(tmp_path)
    options = ("--max-images", 24, "--first", 8, "--again", 8, "--top", 3)
    code, out, _ = nelbo("rank", run, *options, "--json", "r.json", "--csv", "r.csv")
    assert code == 0
    assert out.count("  image ") >= 6
    tree = json.loads((tmp_path / "r.json").read_text())
    rows = list(csv.DictReader(StringIO((tmp_path / "r.csv").read_text())))
    assert [int(row["id"]) for row in rows] == [row["id"] for row in tree["per_image"]]
    assert len(tree["easiest"]) == len(tree["hardest"]) == 3
    assert sum(row["again"] for row in tree["per_image"]) == 6
    (tmp_path / "other.csv").write_text("a,b\n")
    code, _, err = nelbo("rank", run, "--csv", "other.csv", "--json", "r.json")
    assert code == 2
    assert "no table of ranks" in err


def test_a_result_in_python_is_saved_and_shown(run, tmp_path):
    """Kills: files without their names, a result that a notebook cannot show."""
    images = nelbo.data.load("digits:test").first(12)
    ranks = nelbo.rank(run, images, first=8, again=0, count=2)
    assert not ranks.bounds.again.any()
    named = replace(
        ranks, bounds=replace(ranks.bounds, sources=tuple(map("{}.png".format, range(12))))
    )
    assert all(f"{i}.png" in str(named) and f"{i}.png" in named.to_csv() for i in named.easiest)
    assert "hardest" in ranks._repr_html_()
    assert len(repr(ranks)) < 200
    assert ranks.save(tmp_path / "r.csv").read_text() == ranks.to_csv()
    with pytest.raises(BadInput, match="at least 8"):
        nelbo.rank(run, images, first=4)
