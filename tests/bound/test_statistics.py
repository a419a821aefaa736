"""Means, standard errors and intervals: exact against numpy and scipy, coverage by simulation."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from nelbo.bound.statistics import Mean, Moments, clustered_means, mean_over_images

torch.set_num_threads(1)

exactly = settings(max_examples=100, deadline=None, derandomize=True, database=None)

GROUPS = 4
observations = st.lists(
    st.tuples(st.integers(0, GROUPS - 1), st.floats(-10, 10)), min_size=1, max_size=40
)


def tensors(rows) -> tuple[torch.Tensor, torch.Tensor]:
    group = torch.tensor([group for group, _ in rows], dtype=torch.int64)
    return group, torch.tensor([value for _, value in rows], dtype=torch.float64)


def streamed(rows, cuts) -> Moments:
    moments = Moments(GROUPS)
    edges = [0, *sorted(min(cut, len(rows)) for cut in cuts), len(rows)]
    for start, end in itertools.pairwise(edges):
        moments.update(*tensors(rows[start:end]))
    return moments


def check(moments: Moments, rows, tolerance: float = 1e-12) -> None:
    """Count, mean and standard error of each group are numpy's."""
    error = moments.standard_error()
    for group in range(GROUPS):
        values = np.array([value for number, value in rows if number == group])
        assert moments.count[group] == len(values)
        if len(values):
            assert abs(float(moments.mean[group]) - values.mean()) <= tolerance * 10
        if len(values) > 1:
            expected = values.std(ddof=1) / math.sqrt(len(values))
            assert abs(float(error[group]) ** 2 - expected**2) <= tolerance * (1 + expected**2)
        else:
            assert math.isnan(float(error[group]))


@exactly
@given(rows=observations, cuts=st.lists(st.integers(0, 40), max_size=6), data=st.data())
def test_moments_are_numpys_in_any_order_and_batches(rows, cuts, data):
    """H31. Kills: mean of batch means."""
    check(streamed(data.draw(st.permutations(rows)), cuts), rows)


@exactly
@given(rows=observations, first=observations, cuts=st.lists(st.integers(0, 40), max_size=3))
def test_merged_streams_are_one_stream(rows, first, cuts):
    """H31, over processes. Kills: merge that forgets the shift between the means."""
    moments = streamed(first, cuts)
    moments.merge(streamed(rows, []))
    check(moments, [*first, *rows])
    moments.merge(Moments(GROUPS))
    check(moments, [*first, *rows])
    empty = Moments(GROUPS)
    empty.merge(moments)
    check(empty, [*first, *rows])


def test_moments_do_not_cancel_far_from_zero():
    """Kills: mean of squares less square of mean."""
    values = 1e8 + torch.sin(torch.arange(1000, dtype=torch.float64))
    moments = Moments(1)
    for part in values.split(7):
        moments.update(torch.zeros(len(part), dtype=torch.int64), part)
    variance = float(moments.squares[0]) / 999
    assert abs(variance / np.sin(np.arange(1000)).var(ddof=1) - 1) < 1e-6


@pytest.mark.parametrize("world", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("batch", [1, 3, 64])
@pytest.mark.parametrize("count", [10, 97, 100])
def test_the_mean_over_images_is_one_for_any_processes_and_batches(world, batch, count):
    """H31: each image counts once, however they are dealt out."""
    value = torch.arange(count, dtype=torch.float64)
    total = Moments(1)
    for rank in range(world):
        own = Moments(1)
        for part in value[rank::world].split(batch):
            own.update(torch.zeros(len(part), dtype=torch.int64), part)
        total.merge(own)
    assert int(total.count[0]) == count
    assert abs(float(total.mean[0]) - (count - 1) / 2) <= 1e-12 * count


@exactly
@given(
    mean=st.floats(-5, 5),
    se=st.floats(1e-3, 5),
    dof=st.integers(1, 500),
    level=st.sampled_from([0.5, 0.9, 0.95, 0.99]),
)
def test_an_interval_is_students(mean, se, dof, level):
    """Kills: normal quantile, one-sided quantile."""
    low, high = Mean(mean, se, dof).interval(level)
    expected = stats.t.interval(level, dof, mean, se)
    slack = 1e-9 * (1 + abs(expected[0]) + abs(expected[1]))
    assert abs(low - expected[0]) < slack
    assert abs(high - expected[1]) < slack
    half = Mean(mean, se, dof).half_width(level)
    assert abs(half - (high - low) / 2) < slack


@exactly
@given(
    rows=st.lists(
        st.tuples(st.floats(-10, 10), st.floats(0, 10)),
        min_size=2,
        max_size=12,
    ),
    dof=st.integers(1, 500),
)
def test_the_two_errors_are_the_formulas_of_hazards_2_5(rows, dof):
    """SE^2 = var(image values)/N for sampling of images, sum of var_i / N^2 for these images."""
    values, variance = np.array(rows).T
    count = len(rows)
    data, noise = mean_over_images(torch.from_numpy(values), torch.from_numpy(variance), dof)
    assert abs(data.mean - values.mean()) < 1e-12
    assert data.mean == noise.mean
    expected = values.var(ddof=1) / count
    assert abs(data.se**2 - expected) <= 1e-12 * (1 + expected)
    expected = variance.sum() / count**2
    assert abs(noise.se**2 - expected) <= 1e-12 * (1 + expected)
    assert (data.dof, noise.dof) == (count - 1, dof)


def test_what_cannot_be_known_is_none_and_never_nan():
    """One image has no spread, an unknown noise no error: None, so that nothing prints a number."""
    one = torch.ones(1, dtype=torch.float64)
    data, noise = mean_over_images(1.5 * one, 0.25 * one, 1)
    assert data.mean == 1.5
    assert data.se is None
    assert data.interval() is None
    assert data.half_width() is None
    assert abs(noise.se - 0.5) < 1e-15
    two = torch.tensor([1.0, 2.0], dtype=torch.float64)
    data, noise = mean_over_images(two, torch.tensor([0.5, math.nan], dtype=torch.float64), 1)
    assert data.se is not None
    assert noise.se is None
    assert noise.interval() is None


@exactly
@given(
    rows=st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 3), st.floats(-10, 10)), min_size=1, max_size=30
    )
)
def test_clustered_means_average_within_an_image_first(rows):
    """H36. Kills: (image, t, draw) triples as if independent."""
    group, cluster = (torch.tensor([row[i] for row in rows]) for i in (0, 1))
    value = torch.tensor([row[2] for row in rows], dtype=torch.float64)
    result = clustered_means(group, cluster, value)
    assert [number for number, _, _ in result] == sorted({row[0] for row in rows})
    for number, mean, error in result:
        mine = [row for row in rows if row[0] == number]
        images = sorted({row[1] for row in mine})
        by_image = np.array([np.mean([r[2] for r in mine if r[1] == image]) for image in images])
        assert abs(mean - by_image.mean()) < 1e-12
        if len(images) == 1:
            assert error is None
        else:
            assert abs(error**2 - by_image.var(ddof=1) / len(images)) < 1e-12 * 100


# Coverage of the nominal 95 %, at the toy of hazards 2.5.

SIMULATIONS, IMAGES, REPLICATES = 2000, 200, 4


@pytest.fixture(scope="module")
def toy() -> tuple[torch.Tensor, torch.Tensor, float]:
    """(values (S, N, R), exact bound of each image (S, N), E NELBO): T = 10, m = -.2, s = .3.

    The bound of one image is a constant + sum over t of (a_t (x_0 - m) + b_t eps_t)^2 / (2 V_t),
    with V_t the optimal variance; every number from the formulas of hazards 2.2.
    """
    m, s, T = -0.2, 0.3, 10
    beta = np.linspace(0.02, 0.5, T)
    bar = np.cumprod(1 - beta)
    before, om = np.concatenate([[1.0], bar[:-1]]), 1 - bar
    v = bar * s * s + om
    c_1 = np.sqrt(before) * beta / om
    V = beta * (1 - before) / om + c_1**2 * s * s * om / v
    ratio = beta * (1 - before) / om / V
    a, b = c_1 * om / v, -c_1 * np.sqrt(bar) * s * s / v * np.sqrt(om)
    constant = 0.5 * np.log(2 * np.pi * V[0]) + 0.5 * (ratio[1:] - 1 - np.log(ratio[1:])).sum()
    draw = np.random.default_rng(0)
    x_0 = m + s * draw.standard_normal((SIMULATIONS, IMAGES))
    constant = constant + 0.5 * (bar[-1] * x_0**2 + om[-1] - 1 - np.log(om[-1]))
    exact = constant + sum((a[t] ** 2 * (x_0 - m) ** 2 + b[t] ** 2) / (2 * V[t]) for t in range(T))
    values = np.repeat(constant[..., None], REPLICATES, axis=2)
    for t in range(T):
        noise = draw.standard_normal(values.shape)
        values += (a[t] * (x_0 - m)[..., None] + b[t] * noise) ** 2 / (2 * V[t])
    return torch.tensor(values), torch.tensor(exact), 0.216082991582


def z_of_mean(values: np.ndarray, expected: float) -> float:
    return float((values.mean() - expected) / (values.std(ddof=1) / math.sqrt(len(values))))


def z_of_coverage(covered: list[bool]) -> float:
    """Standard errors between the coverage and the nominal 95 %."""
    count = len(covered)
    return (sum(covered) - 0.95 * count) / math.sqrt(count * 0.95 * 0.05)


def covers(mean: Mean, truth: float) -> bool:
    low, high = mean.interval()
    return low <= truth <= high


def test_the_toy_has_the_variances_of_hazards_2_5(toy):
    values, exact, truth = toy
    assert abs(z_of_mean(exact.mean(1).numpy(), truth)) < 4
    assert abs(z_of_mean(exact.var(1).numpy(), 0.499873732581)) < 4
    assert abs(z_of_mean(values.var(2).mean(1).numpy(), 0.656663922526)) < 4


def errors_of(values: torch.Tensor) -> tuple[Mean, Mean]:
    """Of one simulation's replicates: an image's noise is seen in the spread between them."""
    count, replicates = values.shape
    noise_variance = values.var(1) / replicates
    return mean_over_images(values.mean(1), noise_variance, count * (replicates - 1))


def test_both_standard_errors_are_unbiased(toy):
    """Their mean squares are the exact variances of the two errors, by z-score.

    Kills: the spread between images for the noise, N for N^2.
    """
    values, _, _ = toy
    pairs = [errors_of(simulation) for simulation in values]
    between, within = 0.499873732581, 0.656663922526
    data = np.array([data.se**2 for data, _ in pairs])
    assert abs(z_of_mean(data, (between + within / REPLICATES) / IMAGES)) < 4
    noise = np.array([noise.se**2 for _, noise in pairs])
    assert abs(z_of_mean(noise, within / (IMAGES * REPLICATES))) < 4


def test_both_intervals_cover_what_they_are_for_at_the_nominal_rate(toy):
    """Figure C6: 93.0 to 96.5 %, and within 4 standard errors of 95 %.

    Kills: an error too small by sqrt(R), N R in place of N, noise variance for data variance.
    """
    values, exact, truth = toy
    pairs = [errors_of(simulation) for simulation in values]
    data = [covers(mean, truth) for mean, _ in pairs]
    these = [covers(mean, float(e.mean())) for (_, mean), e in zip(pairs, exact, strict=True)]
    for covered in (data, these):
        assert 0.930 <= np.mean(covered) <= 0.965
        assert abs(z_of_coverage(covered)) < 4


def test_each_interval_fails_for_the_other_question(toy):
    """The two numbers to keep apart: neither may be printed as the other."""
    values, exact, truth = toy
    pairs = [errors_of(simulation) for simulation in values]
    assert z_of_coverage([covers(noise, truth) for _, noise in pairs]) < -10
    wide = [covers(data, float(e.mean())) for (data, _), e in zip(pairs, exact, strict=True)]
    assert z_of_coverage(wide) > 4


def test_pairs_taken_as_independent_would_not_cover(toy):
    """H36: the law above has the power to tell. (image, draw) pairs claim 95 % and give 80 %."""
    values, _, truth = toy
    none = torch.zeros(IMAGES * REPLICATES, dtype=torch.float64)
    covered = [covers(mean_over_images(v.flatten(), none, 1)[0], truth) for v in values]
    between, within = 0.499873732581, 0.656663922526
    shrink = math.sqrt((between + within) / (REPLICATES * between + within))
    expected = 2 * stats.norm.cdf(1.96 * shrink) - 1
    assert abs(np.mean(covered) - expected) < 4 * math.sqrt(expected * (1 - expected) / SIMULATIONS)
    assert z_of_coverage(covered) < -10
