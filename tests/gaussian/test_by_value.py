"""The variance that x0-hat decides: closed forms of data on two points, enumeration, folds."""

import math

import numpy as np
import pytest
import torch

from nelbo.bound.chain import constant_time
from nelbo.errors import BadInput
from nelbo.gaussian.by_value import (
    ByValue,
    ErrorByValue,
    optimal_by_value,
    tables_of,
    variance_of,
)
from nelbo.gaussian.optimal_subchain import optimal_jumps
from nelbo.gaussian.optimal_variance import (
    SquaredError,
    cross_validated,
    cross_validated_dimensions,
    optimal,
)
from nelbo.gaussian.schedule import log_snr_linear
from nelbo.gaussian.variance import Tabulated

SCHEDULE = log_snr_linear(6, 2.0, -3.0)
T = torch.arange(1, 7)


def two_points(images=2000, dims=4, seed=0):
    """x_0 in {-1, 1} and the exact x0-hat, tanh(sqrt(alpha_bar) x_t / (1 - alpha_bar))."""
    draw = torch.Generator().manual_seed(seed)
    x_0 = torch.randint(0, 2, (images, dims), generator=draw).double() * 2 - 1
    eps = torch.randn(6, images, dims, generator=draw, dtype=torch.float64)
    a = SCHEDULE.alpha_bar[1:, None, None]
    return x_0, torch.tanh(a.sqrt() * (a.sqrt() * x_0 + (1 - a).sqrt() * eps) / (1 - a))


def errors_of(x_0, x_0_hat, folds=4):
    return ErrorByValue.measured(T, x_0, x_0_hat - x_0, folds)


def test_the_error_in_an_interval_of_the_exact_denoiser_is_the_variance_that_it_leaves():
    """E[(x_0 - m)^2 | m] = 1 - m^2 where x_0 is -1 or 1: the mean in each interval, by z-score.

    Kills: an interval beside the right one, a mean over other values than those in it.
    """
    x_0, m = two_points()
    error, checked = errors_of(x_0, m), 0
    for row in range(6):
        interval = np.searchsorted(error.edges[row].numpy(), m[row].float().double().numpy())
        for i in range(32):
            here = m[row].numpy()[interval == i]
            assert here.size == error.total[row, i]
            if (1 - here**2).sum() > 40:  # else an error is a rare event
                off = here.size * float(error.whole[row, i]) - (1 - here**2).sum()
                assert abs(off) < 4.5 * math.sqrt((4 * here**2 * (1 - here**2)).sum())
                checked += 1
    assert checked > 120


def test_intervals_hold_as_many_values_each_and_folds_are_of_their_own_images():
    """Kills: quantiles of something else, image i in another fold than i modulo their number."""
    draw = torch.Generator().manual_seed(3)
    m = torch.randn(6, 400, 4, generator=draw, dtype=torch.float64)
    x_0 = m.mean(0)
    error = errors_of(x_0, m)
    assert error.total.tolist() == [[400 * 4 / 32] * 32] * 6
    fold = errors_of(x_0[1::4], m[:, 1::4], folds=1)
    assert float(error.count[1].sum()) == float(fold.count.sum())
    np.testing.assert_allclose(
        (error.count[1] * error.mean[1]).sum(1), (fold.count * fold.mean).sum((0, 2)), rtol=1e-10
    )


def test_what_a_clip_made_equal_lies_in_one_interval():
    """x_0 + (x0-hat - x_0) is not x0-hat to the last bit: x_0 itself would show in the interval.

    Kills: values that are not rounded before they are sorted.
    """
    draw = torch.Generator().manual_seed(1)
    x_0 = torch.rand(500, 4, generator=draw, dtype=torch.float64) * 2 - 1
    error = errors_of(x_0, torch.full((6, 500, 4), -1 / 3, dtype=torch.float64))
    assert (error.total > 0).sum(1).tolist() == [1] * 6


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_log_var_is_that_of_the_interval_where_the_prediction_lies(dtype):
    """Against a loop. At an end it is the lower interval's. Kills: side='right', another row."""
    edges = torch.tensor([[0.0, 0.0], [-0.5, 0.5], [0.25, 0.25]], dtype=torch.float64)
    table = torch.arange(1.0, 10.0, dtype=torch.float64).reshape(3, 3)
    variance = ByValue("found", table, edges)
    x = torch.tensor([[-2.0, -0.5, -0.4], [0.25, 0.3, 0.5]], dtype=dtype).reshape(2, 1, 3)
    got = variance.log_var(x[:, :0], torch.tensor([1, 2]), x)
    want = [[4.0, 4.0, 5.0], [7.0, 9.0, 9.0]]
    assert (got.shape, got.dtype) == (x.shape, dtype)
    torch.testing.assert_close(got.exp().flatten(1), torch.tensor(want, dtype=dtype))
    assert variance.V_1 == 5.0


def test_the_optimal_table_makes_the_kl_least(monkeypatch):
    """(log(V / beta-tilde) + (beta-tilde + c^2 e^2) / V - 1) / 2 on the values that it was made of:
    less than with any table near it, and log(V / beta-tilde) / 2 in the mean.

    Kills: c in place of c^2, beta-tilde of another t, a row too far.
    """
    monkeypatch.setattr("nelbo.gaussian.optimal_variance.PSEUDO_IMAGES", (1e-12,))  # none
    x_0, m = two_points()
    error = errors_of(x_0, m)
    best = optimal_by_value(SCHEDULE, error, 0.1)
    assert float(best.table[1, 0]) == 0.1

    def nats(table):
        total = torch.zeros(())
        for t in range(2, 7):
            bt, c = SCHEDULE.posterior_variance[t], SCHEDULE.posterior_x_0[t]
            V = (
                ByValue("x", table, best.edges)
                .log_var(m[t - 1], constant_time(t, x_0), m[t - 1])
                .exp()
            )
            square = bt + (c * (x_0 - m[t - 1])) ** 2
            total = total + 0.5 * ((V / bt).log() + square / V - 1).sum()
        return float(total)

    least = nats(best.table)
    for factor in (0.97, 1.03):
        for columns in (slice(0, 16), slice(16, 32)):
            other = best.table.clone()
            other[2:, columns] *= factor
            assert nats(other) > least
    posterior = SCHEDULE.posterior_variance[2:, None]
    closed = 0.5 * (best.table[2:] / posterior).log() * error.total[1:]
    np.testing.assert_allclose(least, float(closed.sum()), rtol=1e-6)


def test_jumps_cost_no_more_than_by_one_variance_for_each_t_and_the_sum_is_over_all_values():
    """Jensen: the mean of log(1 + fall M) is below log(1 + fall mean M). With one value for all t
    and intervals both are the same. Kills: shares that do not add up to 1.
    """
    x_0, m = two_points()
    error = errors_of(x_0, m)
    mean = torch.stack([(x_0 - row).square().mean() for row in m])
    whole = optimal_jumps(SCHEDULE, SquaredError(T, mean, 4, 2000))
    by_value = optimal_jumps(SCHEDULE, error)
    below = whole.isfinite()
    assert (by_value[below] < whole[below]).all()
    flat = ErrorByValue(T, error.edges, error.count, torch.full_like(error.mean, 0.3), 4)
    same = optimal_jumps(
        SCHEDULE, SquaredError(T, torch.full((6,), 0.3, dtype=torch.float64), 4, 1)
    )
    np.testing.assert_allclose(optimal_jumps(SCHEDULE, flat)[below], same[below], rtol=1e-12)


def test_errors_for_the_choice_of_steps_are_the_mean_of_three_neighbours():
    """exp of the mean logarithm, the ends twice. Kills: a row beside, an arithmetic mean."""
    count = torch.full((1, 6, 32), 1e12, dtype=torch.float64)
    mean = (2.0 ** torch.arange(6.0, dtype=torch.float64)).square()[None, :, None].expand(1, 6, 32)
    error = ErrorByValue(T, torch.zeros(6, 31, dtype=torch.float64), count, mean, 4)
    exponents = [1 / 3, 1, 2, 3, 4, 14 / 3]
    want = torch.tensor([4.0**x for x in exponents], dtype=torch.float64)
    np.testing.assert_allclose(error.columns(T)[:, 0], want, rtol=1e-10)
    np.testing.assert_allclose(error.columns(T[2:4])[:, 5], want[2:4], rtol=1e-10)


def test_the_folds_tell_which_variance_serves_other_images():
    """Two points: the value tells all and the dimension nothing. Noise as wide as its dimension
    that x0-hat = 0 does not see: the other way round. And each k is measured on other images.

    Kills: a fold that is held to itself, which finds no shrinkage useful.
    """
    x_0, m = two_points(images=240, dims=16)

    def costs(x_0, m):
        error = errors_of(x_0, m)
        square = (m - x_0).square()
        folds = [SquaredError(T, square[:, fold::4].mean(1), 16, 60) for fold in range(4)]
        return error.cross_validated(SCHEDULE).cost, cross_validated_dimensions(
            SCHEDULE, folds
        ).cost

    value, dimension = costs(x_0, m)
    assert value < dimension - 0.01
    draw = torch.Generator().manual_seed(2)
    wide = torch.randn(240, 16, generator=draw, dtype=torch.float64) * torch.linspace(0.1, 2, 16)
    value, dimension = costs(wide, 1e-3 * torch.randn(6, 240, 16, generator=draw).double())
    assert dimension < value - 0.01
    same = torch.randn(4, 1, 500, generator=draw, dtype=torch.float64).square()
    assert cross_validated(log_snr_linear(2, 1.0, 0.0), same, torch.ones(4, 1, 1).double()).k > 30


def test_a_sub_chain_keeps_its_rows():
    x_0, m = two_points(images=100)
    error = errors_of(x_0, m)
    kept = error.subchain([2, 5])
    assert kept.t.tolist() == [1, 2]
    for name in ("edges", "total", "whole"):
        assert getattr(kept, name).tolist() == getattr(error, name)[[1, 4]].tolist()


def test_a_checkpoint_has_the_tables_of_either_kind():
    """Kills: ends that are not kept."""
    x_0, m = two_points(images=100)
    best = optimal_by_value(SCHEDULE, errors_of(x_0, m), 0.1)
    mean = SquaredError(T, torch.rand(6, dtype=torch.float64), 4, 1)
    for variance in (best, optimal(SCHEDULE, mean, 0.1)):
        again = variance_of(variance.name, tables_of(variance))
        x = m[3].float()
        got, want = (v.log_var(x, constant_time(3, x), x) for v in (again, variance))
        assert (type(again), got.tolist()) == (type(variance), want.tolist())
    assert isinstance(variance_of("optimal", {"variance": mean.mean}), Tabulated)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"variance": torch.zeros(3, 4)}, "has an entry that is no positive number"),
        ({"variance": torch.full((3, 4), math.nan)}, "has an entry that is no positive number"),
        ({"variance": torch.ones(3, 4, dtype=torch.int64)}, "has an entry that is no positive"),
        ({"edges": None}, "are not those of variance optimal-per-value"),
    ],
)
def test_damaged_tables_of_a_variance_are_refused(change, message):
    """Kills: a network that is blamed for what a checkpoint lacks."""
    tables = {"variance": torch.ones(3, 4), "edges": torch.zeros(3, 3)} | change
    with pytest.raises(BadInput, match=message):
        variance_of("optimal-per-value", {name: x for name, x in tables.items() if x is not None})
    with pytest.raises(BadInput, match="the tables variance, edges are not those of variance opt"):
        variance_of("optimal", {"variance": torch.ones(3, 4), "edges": torch.zeros(3, 3)})


@pytest.mark.parametrize(
    ("table", "edges"),
    [
        (torch.ones(3, 4), torch.zeros(3, 4)),
        (torch.ones(3, 4), torch.zeros(2, 3)),
        (torch.ones(3), torch.zeros(3, 0)),
        (torch.ones(3, 0), torch.zeros(3, 0)),
        (torch.ones(3, 3), torch.tensor([[0.0, 1.0], [0.0, 1.0], [1.0, 0.0]])),
        (torch.ones(3, 3), torch.tensor([[0.0, 1.0], [0.0, math.nan], [0.0, 1.0]])),
    ],
)
def test_tables_that_do_not_belong_together_are_refused(table, edges):
    with pytest.raises(BadInput, match="interval"):
        ByValue("found", table.double(), edges.double())
