"""Times of a batch: unbiased whatever they have learnt, by the closed form over all offsets."""

import pytest
import torch

from nelbo.bound.noise import KeyedNoise
from nelbo.training import times as module
from nelbo.training.times import FLOOR, MEMORY, TIMES, Importance, LowDiscrepancy, Uniform

T = 7
LOSSES = torch.tensor([9.0, 0.5, 0.1, 2.0, 0.0, 30.0, 1.0], dtype=torch.float64)


def taught(rounds=MEMORY, losses=LOSSES):
    """Importance that has seen each t so many times, in batches with repeats."""
    times = Importance(T)
    stream = torch.arange(1, T + 1).repeat(rounds)
    for t in stream.split(11):
        times.update(t, losses[t - 1])
    return times


def mean_over_offsets(times, count, monkeypatch, points=4096):
    """E[mean(weight loss)] and E of the share of each t, over a fine grid of the shared offset."""
    total, share = torch.zeros((), dtype=torch.float64), torch.zeros(T, dtype=torch.float64)
    for i in range(points):
        monkeypatch.setattr(module, "_offset", lambda noise, i=i: (i + 0.5) / points)
        t, weight = times.draw(None, count)
        weight = torch.ones(count, dtype=torch.float64) if weight is None else weight
        total += (weight * LOSSES[t - 1]).mean() / points
        share += torch.bincount(t - 1, minlength=T) / count / points
    return total, share


@pytest.mark.parametrize("count", [1, 3, 16])
def test_weighted_losses_are_unbiased_whatever_was_learnt(count, monkeypatch):
    """Exact up to the grid of offsets, at whose edges one row in 4096 may be on either side.

    Kills: weights left out, normalised by their sum, or those of another t; H35.
    """
    times = taught()
    total, share = mean_over_offsets(times, count, monkeypatch)
    chance = times.chances()
    grid = T / 4096
    assert (share - chance).abs().max() <= grid
    assert abs(total - LOSSES.mean()) <= grid * (LOSSES / chance / T).max()


def test_chances_follow_the_root_mean_square_of_the_last_losses():
    """Kills: the mean in place of the second moment, a share that decays to 0, old losses kept."""
    size = LOSSES
    expected = (1 - FLOOR) * size / size.sum() + FLOOR / T
    torch.testing.assert_close(taught().chances(), expected, rtol=1e-14, atol=0)
    assert expected.min() == FLOOR / T  # the t that never had a loss is still drawn
    times = taught()
    for _ in range(MEMORY):  # as many again, of mean 3 and root mean square 5
        t = torch.arange(1, T + 1)
        times.update(t, torch.full((T,), 3.0 + (4.0 if _ % 2 else -4.0), dtype=torch.float64))
    assert (times.memory.square().mean(1) == 25).all()
    torch.testing.assert_close(times.chances(), torch.full((T,), 1 / T, dtype=torch.float64))


def test_until_each_t_was_seen_ten_times_times_are_those_of_low_discrepancy():
    """Kills: a warm-up that ends when the t are seen often on average."""
    noise = KeyedNoise.of(3, torch.tensor([0]))
    plain, none = LowDiscrepancy(T).draw(noise, 20)
    fresh = taught(MEMORY - 1)
    for _ in range(100):
        fresh.update(torch.tensor([1, 1]), torch.ones(2, dtype=torch.float64))
    t, weight = fresh.draw(noise, 20)
    assert none is weight is None
    assert torch.equal(t, plain)
    assert fresh.chances() is None
    assert taught(losses=torch.zeros(T, dtype=torch.float64)).chances() is None


def test_what_is_learnt_does_not_depend_on_how_rows_are_batched():
    """More than 10 rows of a t at once keep the last ten, as row by row.

    Kills: rows of one t in a batch that overwrite each other.
    """
    generator = torch.Generator().manual_seed(0)
    t = torch.randint(1, T + 1, (200,), generator=generator)
    losses = torch.rand(200, generator=generator, dtype=torch.float64)
    by_row = Importance(T)
    for i in range(200):
        by_row.update(t[i : i + 1], losses[i : i + 1])
    for size in (7, 200):
        batched = Importance(T)
        for part in torch.arange(200).split(size):
            batched.update(t[part], losses[part])
        assert torch.equal(batched.memory, by_row.memory)
        assert torch.equal(batched.seen, by_row.seen)


def test_uniform_times_are_uniform_and_independent():
    """Kills: a range that misses 1 or T; |z| < 4 for counts and for neighbours."""
    t, weight = Uniform(T).draw(KeyedNoise.of(1, torch.arange(400)), 50)
    assert weight is None
    t = t.double()
    count = torch.bincount(t.long().flatten() - 1, minlength=T).double()
    n, p = t.numel(), 1 / T
    assert ((count - n * p).abs() / (n * p * (1 - p)) ** 0.5).max() < 4
    pairs = (t[:, 1:] - 4) * (t[:, :-1] - 4)
    assert abs(pairs.mean() / pairs.std() * pairs.numel() ** 0.5) < 4


def test_every_choice_of_a_recipe_has_its_times():
    from typing import get_args

    from nelbo.recipe import Training

    assert set(TIMES) == set(get_args(Training.model_fields["times"].annotation))
