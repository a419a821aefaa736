"""The benchmarks' parts run, on a network too small to say anything: no figure is looked at."""

import math
from functools import partial
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture
def case(monkeypatch):
    """64 numbers, 2 steps a turn, a chain of 5 steps."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from networks import Case, Perceptron

    return Case("tiny", partial(Perceptron, 8), 8, 4, 2, 5)


def test_each_way_to_make_a_training_step_is_set_beside_the_floor(case):
    """Kills: a turn that is never timed; a peer that is not there taken for one that failed."""
    import train

    result = train.measured(case, 1)
    rows = result["over the floor"]
    assert {"ours, simple", "ours, bound", "floor with clipping", "diffusers"} < set(rows)
    for name, ratio in rows.items():
        assert ratio is None if "not measured" in name else ratio > 0
    assert result["floor, ms a step"] > 0


def test_each_loop_draws_as_many_samples(case):
    """Kills: another number of forwards in the floor than in the loops."""
    import sample
    from timing import ratio

    network = case.network().eval()
    calls = []
    network.register_forward_hook(lambda *arguments: calls.append(1))
    sample.bare(case, network)()
    assert len(calls) == case.steps
    for name, loop in sample.loops(case, network):
        if loop is None:
            assert "not measured" in name
            continue
        assert math.isfinite(ratio(loop, sample.bare(case, network), 1)["ratio"])


def test_evaluations_by_the_ode_are_simulated(case, capsys):
    """Two of each mode. Kills: a toy that the model no longer takes; rows that are not stored."""
    import ode

    for row in ode.coverage(2).values():
        assert row["evaluations"] == 2
        assert math.isfinite(row["mean of z"])
    assert "as many as it takes" in capsys.readouterr().out


def test_without_a_gpu_nothing_is_measured(case, monkeypatch, capsys):
    """Kills: figures of a CPU written down as a GPU's."""
    import gpu
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr("sys.argv", ["gpu.py"])
    assert gpu.main() == 2
    assert capsys.readouterr() == ("", "no CUDA device here: nothing was measured\n")


def test_what_grew_by_more_than_its_spread_is_named(monkeypatch):
    """Kills: one of two spreads alone; a figure without a spread; a figure that fell."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from tables import grown

    def result(alone, a, b, bare=1.0):
        return {
            "case": {
                "alone": alone,
                "alone, spread": 0.02,
                "over the floor": {"a": a, "b": b, "not there": None},
                "over the floor, spread": {"a": 0.01, "b": 0.1, "not there": None},
                "bare": bare,
            }
        }

    old = result(1.0, 1.0, 1.0)
    assert list(grown(old, old)) == []
    assert list(grown(old, result(1.03, 1.01, 1.19, bare=9.0))) == []
    assert list(grown(old, result(0.5, 0.5, 0.5))) == []
    assert list(grown(old, result(1.05, 1.03, 1.19))) == [
        "case: alone: 1.0 ± 0.02 -> 1.05 ± 0.02",
        "case: over the floor: a: 1.0 ± 0.01 -> 1.03 ± 0.01",
    ]


def test_every_script_that_makes_a_table_is_there_and_the_last_result_is_the_newest_before(
    monkeypatch, tmp_path
):
    """Kills: today's result set beside itself; a table of another name that begins alike."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from tables import LONG, TIMINGS, last_before

    assert all((BENCHMARKS / table.script).exists() for table in (TIMINGS | LONG).values())
    for name in ("2026-01-02-train", "2026-01-03-train", "2026-01-04-train", "2026-01-03-train-x"):
        (tmp_path / f"{name}.json").touch()
    assert last_before("train", "2026-01-04", tmp_path).name == "2026-01-03-train.json"
    assert last_before("train", "2026-01-02", tmp_path) is None


def test_simulated_estimators_of_a_masked_model_have_the_mean_of_what_is_stored(monkeypatch):
    """Each rule of drawing k, |z| < 5. Kills: k off by one, the weight 1 / t of exact counts."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from types import SimpleNamespace

    import torch
    from masked_cells import Plain, by_rows, spread

    draw = torch.Generator().manual_seed(0)
    cells = torch.rand(3, 9, 4, generator=draw, dtype=torch.float64) + torch.arange(9)[:, None]
    world = SimpleNamespace(all={"first": cells[:, 0], "terms": cells[:, 1:]})
    plain, truth = Plain(world, 16), float(cells.mean(0).sum(0).mean())
    for rule in (plain.bernoulli, plain.uniform, plain.even, plain.by_spread):
        estimates, half = by_rows(rule, 200)
        assert abs(estimates.mean() - truth) < 5 * estimates.std() / 200**0.5
        assert (half > 0).all()
    torch.testing.assert_close(spread(cells).mean(0), cells.mean(0))
    torch.testing.assert_close(spread(cells).var(0, correction=0), cells.var(0))
