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


def test_without_a_gpu_nothing_is_measured(case, monkeypatch, capsys):
    """Kills: figures of a CPU written down as a GPU's."""
    import gpu
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr("sys.argv", ["gpu.py"])
    assert gpu.main() == 2
    assert capsys.readouterr() == ("", "no CUDA device here: nothing was measured\n")
