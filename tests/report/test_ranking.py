"""Results beside each other: paired where they can be, named as not where they cannot."""

import itertools
import json
import math

import numpy as np
import pytest
import torch
from results import IMAGES, A, B, C, result_of
from scipy import stats

from nelbo.errors import BadInput
from nelbo.results.neighbours import neighbours
from nelbo.results.ranking import Entry, rank


def difference(*results):
    (only,) = rank(results).differences
    return only


def test_two_results_of_the_same_images_are_paired():
    """Kills: the interval of separate images, a normal quantile, a spread divided by N."""
    change = difference(result_of("a", A), result_of("b", B))
    low, high = stats.ttest_rel(A, B).confidence_interval()
    assert change.paired
    assert change.mean.mean == pytest.approx(A.mean() - B.mean(), rel=1e-12)
    assert change.interval == pytest.approx((low, high), rel=1e-9)


def test_an_image_meets_itself_whatever_the_order_of_its_table():
    """Kills: rows that are paired by place."""
    result, table = result_of("b", B)
    order = torch.randperm(IMAGES, generator=torch.Generator().manual_seed(0))
    shuffled = {name: column[order] for name, column in table.items()}
    expected = difference(result_of("a", A), (result, table)).interval
    assert difference(result_of("a", A), (result, shuffled)).interval == expected


@pytest.mark.parametrize("lacking", ["table", "images", "ids"])
def test_what_cannot_be_paired_says_why_and_has_the_interval_of_separate_images(lacking):
    """Kills: an unpaired interval that is called paired, pooled variances (Student's test)."""
    first, second = result_of("a", A), result_of("b", B[:25], data__sha256="e")
    if lacking != "images":
        second = result_of("b", B)
        table = None if lacking == "table" else second[1] | {"id": torch.arange(IMAGES) + 1}
        second = (second[0], table)
    change, used = difference(first, second), B[:25] if lacking == "images" else B
    welch = stats.ttest_ind(A, used, equal_var=False)
    half = (welch.confidence_interval().high - welch.confidence_interval().low) / 2
    half *= stats.t.ppf(0.975, math.floor(welch.df)) / stats.t.ppf(0.975, welch.df)
    assert not change.paired
    assert {"table": "no per-image table of b", "images": "different images", "ids": "tables"}[
        lacking
    ] in change.why_not
    assert change.mean.half_width() == pytest.approx(half, rel=1e-9)


def test_other_images_of_the_same_data_are_warned_of_and_have_no_interval_for_exactly_these():
    ranking = rank([result_of("a", A), result_of("b", B[:25], data__sha256="e")])
    assert "a: 40, b: 25" in ranking.warnings[0]
    assert ranking.differences[0].half_monte_carlo is None
    assert rank([result_of("a", A), result_of("b", B)]).warnings == []


def test_a_model_against_itself_differs_by_nothing():
    """Kills: a name that stands for two results, the noise of one estimate counted twice."""
    ranking = rank([result_of("a", A), result_of("a", A)])
    assert [entry.name for entry in ranking.entries] == ["a, no. 1", "a, no. 2"]
    (change,) = ranking.differences
    assert (change.mean.mean, change.mean.half_width(), change.half_monte_carlo) == (0, 0, 0)
    assert change.told_apart is False


def test_noise_that_may_be_shared_is_not_taken_to_be_independent():
    """Kills: the root of the sum of squares for two results of one seed."""
    one, own = (
        difference(
            result_of("a", A, half_monte_carlo=3e-3),
            result_of("b", B, seed=s, half_monte_carlo=4e-3),
        )
        for s in (0, 1)
    )
    assert one.at_most
    assert not own.at_most
    assert one.half_monte_carlo == pytest.approx(7e-3)
    assert own.half_monte_carlo == pytest.approx(5e-3)
    large = difference(result_of("a", A, half_monte_carlo=3), result_of("b", B, half_monte_carlo=4))
    assert large.half_monte_carlo == large.mean.half_width()


def test_three_looks_need_more_than_one():
    """Kills: a best that was picked by looking, and then tested as if it had not been."""
    noise = np.random.default_rng(5).normal(0, 0.1, IMAGES)
    noise -= noise.mean()
    se = noise.std(ddof=1) / IMAGES**0.5
    near = A + noise + 2.2 * se  # t = 2.2 of 39: beyond 2.02, not beyond the 2.50 of three
    alone = difference(result_of("a", A), result_of("b", near))
    three = rank([result_of("a", A), result_of("b", near), result_of("c", C)])
    assert alone.told_apart
    assert not three.between(three.entries[0], three.entries[1]).told_apart
    assert three.between(three.entries[0], three.entries[2]).told_apart
    low, high = three.between(three.entries[0], three.entries[1]).interval
    assert not low <= 0 <= high


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_the_order_in_which_results_are_given_leaves_no_trace(order):
    results = [result_of("a", A), result_of("b", B), result_of("c", C)]
    ranking = rank([results[place] for place in order])
    assert ranking.to_json() == rank(results).to_json()
    values = [entry.result.per_dim for entry in ranking.entries]
    assert values == sorted(values)
    ab, ac, bc = (change.mean.mean for change in ranking.differences)
    assert ab + bc == pytest.approx(ac, rel=1e-12)


def test_names_say_what_tells_the_models_apart():
    results = [
        result_of("a", A, steps=50),
        result_of("a", B),
        result_of("c", C, model__weights="raw"),
    ]
    assert {entry.name for entry in rank(results).entries} == {"a, 50 steps", "a, 1000 steps", "c"}
    weights = [result_of("a", A), result_of("a", B, model__weights="raw")]
    assert {entry.name for entry in rank(weights).entries} == {"a, ema weights", "a, raw weights"}


def test_the_json_holds_every_result_as_it_is_and_every_difference():
    results = [result_of("a", A), result_of("b", B), result_of("c", C)]
    tree = json.loads(rank(results).to_json())
    assert tree["schema"] == "nelbo.ranking/1"
    assert [one["result"] for one in tree["models"]] == [result.tree for result, _ in results]
    assert [(d["a"], d["b"]) for d in tree["differences"]] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert all(d["paired"] and d["why_not_paired"] is None for d in tree["differences"])


NATS = {"bits_per_dim": None, "nats_per_dim": 1.8, "unit": "nats/dim, density of latents"}
NATS_TERMS = {"nats_per_dim": 1.0, "se": None}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({**NATS, "terms": dict.fromkeys(("L_T", "L_mid", "L_0"), NATS_TERMS)}, "nats/dim"),
        ({"dims": 784}, "dimensions, 64 and 784"),
        ({"data__levels": 256}, "levels, 17 and 256"),
        ({"data__encoded": {"latent": "mean"}}, "latents"),
        ({"data__sha256": "e", "data__name": "faces"}, "digits and faces"),
    ],
)
def test_what_is_no_comparison_is_refused_in_one_line(changes, message):
    with pytest.raises(BadInput, match=message) as refused:
        rank([result_of("a", A), result_of("b", B, **changes)])
    assert "\n" not in str(refused.value)
    assert "a and b" in str(refused.value)


def test_one_result_is_no_comparison():
    with pytest.raises(BadInput, match="two results or more"):
        rank([result_of("a", A)])


def test_neighbours_follow_each_other_by_their_bounds_and_are_of_one_data_set():
    """Kills: neighbours in the order of the plan, differences of other data, each interval alone.

    Law: the differences of neighbours are those of `rank`; all at once they are as many as there
    are neighbours, one less than models, and not as many as there are pairs.
    """
    results = {"c": result_of("c", C), "a": result_of("a", A), "b": result_of("b", B)}
    other = result_of("o", A, data__sha256="e")
    rows = [Entry(f"row {name}", *one) for name, one in (results | {"o": other}).items()]
    links = neighbours("d", rows)
    assert [(two.data, two.a, two.b) for two in links] == [
        ("d", "row a", "row b"),
        ("d", "row b", "row c"),
    ]
    ranking = rank(list(results.values()))
    for two, (a, b) in zip(links, ("ab", "bc"), strict=True):
        own = next(d for d in ranking.differences if (d.a, d.b) == (a, b))
        assert two.figure.value == own.mean.mean
        assert two.figure.half == pytest.approx(own.mean.half_width(), rel=1e-12)
        paired = stats.ttest_rel(*(results[name][1]["bits_per_dim"] for name in (a, b)))
        low, high = paired.confidence_interval(1 - 0.05 / 2)
        assert two.apart == (not low <= 0 <= high)
        assert two.why_not is None
