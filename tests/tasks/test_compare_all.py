"""Three models and more against the first: signs, names, and all verdicts at once."""

import json
from dataclasses import replace

import pytest
from test_compare import digits, scaled, truth

from nelbo.bound.statistics import Mean
from nelbo.errors import BadInput
from nelbo.results.comparisons import Comparisons
from nelbo.tasks.compare import compare
from nelbo.tasks.compare_all import compare_all


@pytest.fixture(scope="module")
def three():
    models = [scaled(0.9, name="plain"), scaled(0.7), scaled(0.3, name="plain")]
    return compare_all(models, digits(), budget=2 * 30 * 2 * 12, seed=1)


def test_each_is_the_other_minus_the_first(three):
    """z against the closed form of each difference, |z| < 4; a negative one is better.

    Kills: the first minus the other, each against the one before it.
    """
    first = truth(0.9)
    for one, other in zip(three.comparisons, (truth(0.7), truth(0.3)), strict=True):
        exact = (other - first).mean()
        assert abs(one.total.mean - exact) < 4 * one.monte_carlo.se
        assert abs(exact) > 8 * one.monte_carlo.se
    assert three.network_evaluations <= 2 * 30 * 2 * 12


def test_a_pair_is_as_two_models_are(three):
    """Kills: a pair by other noise than that of the same seed."""
    alone = compare(scaled(0.7), scaled(0.9), digits(), budget=30 * 2 * 12, seed=1)
    assert alone.total.mean == three.comparisons[0].total.mean
    assert alone.monte_carlo == three.comparisons[0].monte_carlo


def test_names_verdicts_and_the_json_go_together(three):
    """Kills: a verdict with the sign of the other order, A and B for names, two of one name."""
    assert len(set(three.names)) == 3
    tree = json.loads(three.to_json())
    assert tree["first"] == three.names[0]
    assert [row["name"] for row in tree["against_the_first"]] == three.names[1:]
    for row, one in zip(tree["against_the_first"], three.comparisons, strict=True):
        better = row["name"] if one.total.mean < 0 else tree["first"]
        assert row["better"] == better
        assert row["verdict"].startswith(f"{better} is better")
        assert row["comparison"]["schema"] == "nelbo.comparison/1"
    assert str(three).splitlines()[:2] == [row["verdict"] for row in tree["against_the_first"]]


def test_several_looks_need_wider_intervals():
    """A difference of 2.1 standard errors is told apart alone and not as one of two.

    Kills: each tested as if it were the only one.
    """
    one = compare(scaled(0.7), scaled(0.6), digits(), budget=600)
    apart = replace(one, total=Mean(2.1, 1.0, 1000), monte_carlo=Mean(2.1, 0.1, 1000))
    assert Comparisons([apart]).told_apart == [True]
    assert Comparisons([apart, apart]).told_apart == [False, False]
    warned = replace(apart, warnings=["A: old", "B: odd"])
    result = Comparisons([warned, warned])
    assert result.warnings == [
        f"{result.names[1]}: old",
        f"{result.names[0]}: odd",
        f"{result.names[2]}: old",
    ]


def test_the_command_takes_three(nelbo, run, zero_run, tmp_path):
    """Kills: a third model that is left out, a JSON of two where three were given."""
    path, few = tmp_path / "c.json", ("--budget", 900, "--max-images", 20)
    code, out, _ = nelbo(
        *("compare", run, run, zero_run, *few, "--json", path, "--record", tmp_path / "r")
    )
    assert code == 0
    assert "minus the first" in out
    assert json.loads(path.read_text())["schema"] == "nelbo.comparisons/1"
    assert {x.name for x in (tmp_path / "r").iterdir()} == {"1", "2"}
    for arguments, message in (
        ((run,), "two models or more"),
        ((run, run, run, "--weights-b", "raw"), "--weights-b is of two models"),
    ):
        code, _, err = nelbo("compare", *arguments, *few)
        assert code == 2
        assert message in err
    with pytest.raises(BadInput, match="two models or more"):
        compare_all([run], "digits:test")
