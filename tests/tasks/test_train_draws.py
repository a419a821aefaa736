"""What a step sees follows from the step: not from where a run began, nor what else is made."""

import pytest
import torch

from nelbo.bound import noise as module
from nelbo.bound.noise import KeyedNoise
from nelbo.training.batches import Batches
from nelbo.training.draws import Draws
from nelbo.training.times import TIMES

T, STEPS, SIZE, DIMS = 20, 12, 6, 4
PARTS = [slice(2, 4), slice(4, 6)]  # of the second of two processes, in two parts


def draws(kind, parts=PARTS):
    return Draws(
        Batches(10, SIZE, 3),
        TIMES[kind](T),
        KeyedNoise.of(3, torch.arange(10)),
        3,
        STEPS,
        parts,
        DIMS,
    )


def seen(draw):
    """All of a draw, as tensors."""
    like = torch.zeros(2, DIMS)
    normals = [part.at(part.t).normal(like) for _, part in draw.parts]
    return [draw.index, draw.t, *normals]


@pytest.mark.parametrize("kind", sorted(TIMES))
def test_a_step_sees_the_same_whatever_is_made_with_it(kind, monkeypatch):
    """A run that is resumed at any step goes on as it would have.

    Kills: a block that starts at step 0 wherever the run does; noise of the place in the block;
    rows of another part; blocks where times follow the losses.
    """
    whole = draws(kind)
    together = [seen(whole.at(step)) for step in range(STEPS)]
    assert whole.length == (1 if kind == "importance" else module.TOGETHER // (4 * DIMS))
    monkeypatch.setattr(module, "TOGETHER", 3 * 4 * DIMS)
    for first in range(STEPS):
        later = draws(kind)
        for step in range(first, STEPS):
            for got, want in zip(seen(later.at(step)), together[step], strict=True):
                assert torch.equal(got, want)


def test_the_noise_of_a_row_is_that_of_its_image_and_step():
    """Kills: the number of the draw for the step; the place in the batch for the image."""
    draw = draws("uniform").at(7)
    for rows, part in draw.parts:
        own = KeyedNoise.of(3, draw.index[rows]).draw(torch.full((2,), 7))
        like = torch.zeros(2, DIMS)
        assert torch.equal(part.t, draw.t[rows])
        assert torch.equal(part.at(part.t).normal(like), own.at(draw.t[rows]).normal(like))
