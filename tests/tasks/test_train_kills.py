"""kill -9 of training: the short version of kill_training.py."""

from kill_training import CHOICES, survive
from training import recipe, same, together


def test_a_run_that_is_killed_again_and_again_ends_as_if_it_had_not_been(tmp_path):
    """Kills: R1; a checkpoint written in place, a log that keeps what a dead life wrote."""
    choices = recipe(**CHOICES, **{"training.steps": 60})
    assert together(tmp_path / "whole", choices, 1) == ["done"]
    survive(tmp_path / "run", choices, kills=4, inside=2, processes=1, seed=0)
    assert same(tmp_path / "run", tmp_path / "whole", 60)
