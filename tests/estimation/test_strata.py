"""A survey's estimates: unbiased by enumeration of every draw, and what its controls may do.

The world of these tests is a table: term[i, t - 2] of image i, with noise where a test says so.
"""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nelbo.bound.estimators import Rows, spread_offsets, stratified
from nelbo.bound.noise import KeyedNoise
from nelbo.estimation import strata as rooms
from nelbo.estimation.spread import FEWEST, variance_of_sum
from nelbo.estimation.strata import Combined, Layout

torch.set_num_threads(1)

exactly = settings(max_examples=60, deadline=None, derandomize=True, database=None)


def table(images, T, seed=0, spread=0.5):
    """(N, T - 1) positive terms that fall along t, each image's in a way of its own."""
    draw = torch.Generator().manual_seed(seed)
    t = torch.arange(2, T + 1, dtype=torch.float64)
    own = spread * torch.randn(images, 1, generator=draw, dtype=torch.float64)
    wave = torch.sin(t * (1 + own)) + 0.3 * torch.randn(images, T - 1, generator=draw).double()
    return (2 + own + 0.5 * wave) * 10 / t


def even(T, bins=4):
    return Layout.even(torch.ones(T - 1, dtype=torch.float64), bins)


def reply(rows, terms, controls):
    """(values, predictors) of the rows."""
    place = (rows.image, rows.t - 2)
    return terms[place], torch.stack([c[place] for c in controls], dim=1)


def totals_of(controls, layout):
    """The controls' exact sums over the t of each bin, as two estimates."""
    sums = [
        torch.zeros(len(c), layout.count, dtype=torch.float64).index_add_(1, layout.bin, c)
        for c in controls
    ]
    return torch.stack(sums, dim=2).expand(2, -1, -1, -1)


def combined_of(terms, controls, layout, phases, totals=None):
    """A survey with these phases of rows; controls are tables too."""
    controls = controls or [torch.zeros_like(terms)]
    exact = totals_of(controls, layout) if totals is None else totals
    names = tuple(f"control {j}" for j in range(len(controls)))
    combined = Combined(layout, len(terms), names, exact)
    for rows in phases:
        combined.add(rows, *reply(rows, terms, controls))
    return combined


def free_offsets(images, strata, seed):
    """Independent uniform numbers."""
    draw = torch.Generator().manual_seed(seed)
    return torch.rand(strata, images, generator=draw, dtype=torch.float64)


def halved(even_images, odd_images, images):
    """Offsets that the images of each half share."""
    offsets = torch.full((images,), even_images, dtype=torch.float64)
    offsets[1::2] = odd_images
    return offsets


def pieces(chance, strata):
    """(offset, share) of each range of an offset over which a draw asks the same t."""
    quantiles = (strata * (chance / chance.sum()).cumsum(0)) % 1
    edges = torch.cat([quantiles, torch.tensor([0.0, 1.0]).double()]).unique()
    edges = edges[torch.cat([torch.tensor([True]), edges.diff() > 1e-12])]
    middles = ((edges[1:] + edges[:-1]) / 2).tolist()
    return list(zip(middles, edges.diff().tolist(), strict=True))


# Unbiased, whatever the chances, the controls and what was found before.


@pytest.mark.parametrize("kind", ["no control", "a relative", "a stranger", "wild", "two"])
@pytest.mark.parametrize("strata", [1, 2, 3])
def test_the_mean_over_every_draw_is_the_sum_of_the_terms(kind, strata, monkeypatch):
    """Every pair of offsets of the two halves, weighted by its share, in each image.

    Kills: coefficients of the same half, totals of another bin or left out, a weight that forgets
    its chance, shares not scaled as the chances are.
    """
    monkeypatch.setattr(rooms, "SUSPICIOUS", math.inf)  # of draws that so many images share
    T, images = 6, FEWEST
    terms = table(images, T)
    draw = torch.Generator().manual_seed(9)
    noise = torch.randn(2, images, T - 1, generator=draw, dtype=torch.float64)
    controls = {
        "no control": [],
        "a relative": [0.7 * terms + 0.3 * noise[0]],
        "a stranger": [noise[0]],
        "wild": [1e3 * noise[0] + 50],
        "two": [0.7 * terms + 0.3 * noise[0], noise[1]],
    }[kind]
    chance = torch.tensor([3.0, 1, 2, 0.5, 1.5], dtype=torch.float64)
    layout = Layout.even(torch.tensor([2.0, 1, 1, 1, 0.5], dtype=torch.float64), 2)
    expected = torch.zeros(images, dtype=torch.float64)
    for (u, p), (v, q) in itertools.product(pieces(chance, strata), repeat=2):
        rows = stratified(chance, strata, halved(u, v, images))
        combined = combined_of(terms, controls, layout, [rows])
        expected += p * q * combined.estimate()[0]
    assert torch.allclose(expected, terms.sum(1), rtol=1e-10)


def test_a_second_phase_with_chances_that_were_estimated_is_unbiased_too(monkeypatch):
    """Every draw of both phases.

    Kills: the first phase's chances in the second's weights, coefficients of the second phase
    that its own half is fitted to.
    """
    monkeypatch.setattr(rooms, "SUSPICIOUS", math.inf)
    T, images = 4, FEWEST
    terms = table(images, T, seed=3)
    controls = [0.5 * terms + table(images, T, seed=4)]
    layout = Layout.even(torch.tensor([2.0, 1, 1], dtype=torch.float64), 2)
    start = layout.share
    expected = torch.zeros(images, dtype=torch.float64)
    for (u, p), (v, q) in itertools.product(pieces(start, 1), repeat=2):
        first = stratified(start, 1, halved(u, v, images))
        chances = combined_of(terms, controls, layout, [first]).chances()
        for (x, r), (y, s) in itertools.product(pieces(chances, 2), repeat=2):
            second = stratified(chances, 2, halved(x, y, images))
            combined = combined_of(terms, controls, layout, [first, second])
            expected += p * q * r * s * combined.estimate()[0]
    assert torch.allclose(expected, terms.sum(1), rtol=1e-10)


def test_an_image_is_estimated_with_coefficients_of_the_other_half():
    """Values of its own half move no other image of that half; those of the other half move it.

    Kills: `flip` left out, halves by rows in place of images, one fit for all.
    """
    T, images = 40, 12
    terms, layout = table(images, T), even(40)
    controls = [table(images, T, seed=8)]
    rows = stratified(layout.share, 6, free_offsets(images, 6, 1))
    before = combined_of(terms, controls, layout, [rows]).estimate()[0]
    for moved in (4, 7):
        other = terms.clone()
        other[moved] *= 3
        after = combined_of(other, controls, layout, [rows]).estimate()[0]
        changed = (after - before).abs() > 1e-9
        same = torch.arange(images) % 2 == moved % 2
        same[moved] = False
        assert not changed[same].any()
        assert changed[~same].all()
        own = rows.image == moved
        exact = (rows.weight * (other - terms)[moved][rows.t - 2])[own].sum()
        assert float(after[moved] - before[moved]) == pytest.approx(float(exact), rel=1e-9)


def test_what_a_later_phase_finds_changes_nothing_in_an_earlier_one():
    """Values of the second phase move an image by its own rows and the second fit alone.

    Kills: one fit of all phases for all, whose coefficients know the rows they are used on.
    """
    T, images = 40, 12
    terms, layout = table(images, T), even(40)
    rows = [stratified(layout.share, 4, free_offsets(images, 4, seed)) for seed in (1, 2)]
    zero = torch.zeros(len(rows[0]), 1, dtype=torch.float64)
    first = combined_of(terms, [], layout, rows[:1]).estimate()[0]

    def second(values):
        """What the second phase adds."""
        combined = combined_of(terms, [], layout, rows[:1])
        combined.add(rows[1], values, zero)
        return 3 * combined.estimate()[0] - first  # the weights are 1 and LATER = 2

    values = reply(rows[1], terms, [terms])[0]
    before = second(values)
    for moved in (4, 7):
        more = torch.where(rows[1].image == moved, values, 0.0)
        exact = (rows[1].weight * more).sum()
        change = second(values + more) - before
        assert float(change[moved]) == pytest.approx(2 * float(exact), rel=1e-9)
        same = torch.arange(images) % 2 == moved % 2
        same[moved] = False
        assert float(change[same].abs().max()) < 1e-9
        assert float(change[torch.arange(images) % 2 != moved % 2].abs().min()) > 1e-6


# Controls.


@pytest.mark.parametrize("copies", [1, 2])
def test_a_control_that_is_the_term_leaves_the_exact_answer(copies):
    """No variance is left either; a copy of it, or more scale, changes nothing.

    Kills: shrinkage towards 0 in place of all bins' coefficient, a singular solve.
    """
    T, images = 60, 20
    terms, layout = table(images, T), even(60, 8)
    controls = [terms / 7] + [1e4 * terms] * (copies - 1)
    rows = stratified(layout.share, 5, free_offsets(images, 5, 2))
    mean, variance = combined_of(terms, controls, layout, [rows]).estimate()
    assert torch.allclose(mean, terms.sum(1), rtol=1e-8)
    assert float(variance.max()) < 1e-12 * float(terms.sum(1).square().max())


def test_the_expected_share_is_a_predictor_with_known_totals():
    """Terms in proportion to it have no error, from one row. Kills: the share left out."""
    T = 30
    share = torch.linspace(3, 0.2, T - 1, dtype=torch.float64)
    terms = (share * 5).expand(10, -1)
    layout = Layout.even(share, 4)
    rows = stratified(share.flip(0), 2, free_offsets(10, 2, 0))
    mean, variance = combined_of(terms, [], layout, [rows]).estimate()
    assert torch.allclose(mean, terms.sum(1), rtol=1e-9)
    assert float(variance.max()) < 1e-16 * float(terms.sum(1).max()) ** 2


def test_a_larger_control_does_as_well_and_one_of_zeros_is_none():
    """A faint one may not be multiplied up (test_faint_controls). Kills: a ridge of one size."""
    T, images = 50, 16
    terms, layout = table(images, T), even(50)
    control = 0.6 * terms + table(images, T, seed=5)
    rows = stratified(layout.share, 4, free_offsets(images, 4, 3))
    wanted = combined_of(terms, [control], layout, [rows]).estimate()
    for others in ([1e6 * control], [1e3 * control], [-control], [control, 0 * control]):
        for got, want in zip(
            combined_of(terms, others, layout, [rows]).estimate(), wanted, strict=True
        ):
            assert torch.allclose(got, want, rtol=1e-6)


def test_few_rows_and_collinear_controls_do_not_blow_up():
    """Two rows of 8 images, ten controls that are nearly one: the error is that of one of them.

    Kills: coefficients of a bin without shrinkage, pinv without a cut.
    """
    T, images = 100, FEWEST
    layout = even(100, 16)
    draw = torch.Generator().manual_seed(0)
    ratios = []
    for seed in range(60):
        terms = table(images, T, seed=seed)
        one = 0.8 * terms + 0.05 * torch.randn(images, T - 1, generator=draw).double()
        many = [one + 1e-7 * torch.randn(images, T - 1, generator=draw).double() for _ in range(10)]
        rows = stratified(layout.share, 2, free_offsets(images, 2, seed))
        errors = [
            combined_of(terms, controls, layout, [rows]).estimate()[0] - terms.sum(1)
            for controls in ([one], many)
        ]
        ratios.append(float(errors[1].square().mean() / errors[0].square().mean()))
    assert np.median(ratios) < 4
    assert max(ratios) < 400


def noisy(images, T, seed):
    """(terms, a control of known mean) with noise in common, drawn per (image, t)."""
    draw = torch.Generator().manual_seed(seed)
    eps = torch.randn(images, T - 1, generator=draw, dtype=torch.float64)
    mean = table(images, T, seed=1)
    return mean * (1 + 0.5 * eps), mean, mean * (1 + 0.4 * eps)


@pytest.mark.parametrize("factor", [0.8, 1.2, 2.0])
def test_a_control_with_wrong_totals_is_dropped_and_named(factor):
    """The estimate is then the one without it, to the last bit. Kills: a test that is not made,
    its finding not used, the wrong one of two dropped."""
    T, images = 50, 300
    terms, mean, control = noisy(images, T, 0)
    layout = even(50)
    rows = stratified(layout.share, 12, free_offsets(images, 12, 0))
    stated = totals_of([mean, mean], layout).clone()
    stated[..., 1] *= factor
    combined = Combined(layout, images, ("right", "wrong"), stated)
    values, predictors = reply(rows, terms, [control, control])
    combined.add(rows, values, predictors)
    passed = {test.name: test.passed for test in combined.tests()}
    assert passed == {"right": True, "wrong": False}
    alone = Combined(layout, images, ("right",), stated[..., :1])
    alone.add(rows, values, predictors[:, :1])
    for got, want in zip(combined.estimate(), alone.estimate(), strict=True):
        assert torch.allclose(got, want, rtol=1e-12)
    assert torch.allclose(combined.chances(), alone.chances(), rtol=1e-12)


def test_the_test_of_a_right_control_is_a_standard_normal():
    """z over 400 surveys: mean 0, mean square 1, within 4 standard errors, and none is dropped.

    Kills: rows as the unit (z too large), one phase's sums only, a sign.
    """
    T, images, layout = 30, 100, even(30)
    z = []
    for seed in range(400):
        terms, mean, control = noisy(images, T, seed + 100)
        combined = Combined(layout, images, ("c",), totals_of([mean], layout))
        for phase in range(2):
            rows = stratified(layout.share, 3, free_offsets(images, 3, 1000 * phase + seed))
            combined.add(rows, *reply(rows, terms, [control]))
        z.append(combined.tests()[0].z)
    z = np.array(z)
    # the two phases meet the same noise where they ask the same (image, t): a little above 1
    assert abs(z.mean()) < 4 / math.sqrt(400)
    assert abs((z**2).mean() - 1) < 4 * math.sqrt(2 / 400)
    assert np.abs(z).max() < rooms.SUSPICIOUS


def test_rounding_does_not_make_a_control_suspicious():
    """Sums that differ in the tenth digit, the same in each image. Kills: z = 1e-10 / 0."""
    T, images, layout = 20, 10, even(20)
    control = torch.ones(images, T - 1, dtype=torch.float64)
    rows = stratified(layout.share, 4, free_offsets(images, 4, 0))
    for factor, passed in ((1 + 1e-9, True), (1 + 1e-3, False)):
        totals = factor * totals_of([control], layout)
        combined = combined_of(table(images, T), [control], layout, [rows], totals)
        assert combined.tests()[0].passed is passed


@pytest.mark.parametrize("images", [1, 2, FEWEST - 1])
def test_few_images_use_no_control_and_say_so(images):
    """The test has no power there. Kills: controls that nobody tested."""
    T, layout = 20, even(20)
    terms = table(images, T)
    rows = stratified(layout.share, 4, free_offsets(images, 4, 0))
    wrong = 3 * totals_of([terms], layout)
    combined = combined_of(terms, [terms], layout, [rows], wrong)
    assert combined.tests() == []
    mean, variance = combined.estimate()
    for got, want in zip(
        combined_of(terms, [], layout, [rows]).estimate(), (mean, variance), strict=True
    ):
        assert torch.equal(got, want)
    assert mean.isfinite().all()
    assert variance.isfinite().all()


def test_what_the_two_estimates_of_the_totals_differ_by_is_in_the_variance():
    """Half their difference, squared, at the coefficient used. Kills: doubt dropped or not
    squared, the first estimate alone in the mean."""
    T, images, layout = 40, 12, even(40)
    terms = table(images, T)
    rows = stratified(layout.share, 5, free_offsets(images, 5, 0))
    exact = totals_of([terms], layout)
    apart = exact.clone()
    step = 0.01 * exact[0].sum(1)[:, 0] / layout.count
    apart[0] += step[:, None, None]
    apart[1] -= step[:, None, None]
    mean, variance = combined_of(terms, [terms], layout, [rows], apart).estimate()
    assert torch.allclose(mean, terms.sum(1), rtol=1e-8)
    doubt = layout.count * step
    assert torch.allclose(variance, doubt.square(), rtol=1e-5)


# What is left decides the chances.


def test_chances_follow_the_rms_of_what_is_left_and_never_vanish():
    """Exact: four bins whose terms the share does not explain by 3, 1, 0 and 0.

    Kills: variance for rms, the defensive tenth, chances of the values and not of what is left.
    """
    T, images = 41, 400
    layout = even(T, 4)
    draw = torch.Generator().manual_seed(0)
    sign = 2.0 * torch.randint(2, (images, T - 1), generator=draw).double() - 1
    scale = torch.tensor([3.0, 1.0, 0.0, 0.0], dtype=torch.float64)[layout.bin]
    terms = 5 + sign * scale
    rows = stratified(layout.share, 10, free_offsets(images, 10, 1))
    chance = combined_of(terms, [], layout, [rows]).chances()
    assert float(chance.sum()) == pytest.approx(1, rel=1e-12)
    assert float(chance.min()) >= 0.1 / 40 - 1e-12
    of_bin = torch.zeros(4, dtype=torch.float64).index_add_(0, layout.bin, chance)
    wanted = torch.tensor([0.9 * 0.75 + 0.025, 0.9 * 0.25 + 0.025, 0.025, 0.025])
    assert torch.allclose(of_bin, wanted.double(), atol=0.02)
    combined = combined_of(0 * terms, [], layout, [rows])
    assert torch.allclose(combined.chances(), layout.share / layout.share.sum(), rtol=1e-12)


# The variance.


def outcomes(layout, terms, strata, seeds, make):
    """(errors (seeds, N), variances (seeds, N)) of surveys without controls."""
    results = []
    for seed in range(seeds):
        rows = stratified(layout.share, strata, make(seed))
        results.append(combined_of(terms, [], layout, [rows]).estimate())
    means, variances = (torch.stack(part) for part in zip(*results, strict=True))
    return means - terms.sum(1), variances


def test_collapsed_strata_are_never_too_narrow_on_average():
    """Exactly, over every draw of a small case: E variance >= the variance of the sum.

    Offsets of each stratum are its own. Kills: differences of half the pairs, a factor 1/2, one
    offset for all strata of an image, the last of an odd number left out.
    """
    even = torch.ones(6, dtype=torch.float64)
    terms = torch.tensor([[9.0, 5, 3, 2.5, 2, 1], [1.0, 1, 2, 5, 1, 8]], dtype=torch.float64)
    for images, strata in ((1, 2), (1, 3), (2, 2), (2, 3)):
        mean, square, stated = 0.0, 0.0, 0.0
        for draw in itertools.product(pieces(even, strata), repeat=strata * images):
            p = math.prod(share for _, share in draw)
            offsets = torch.tensor([u for u, _ in draw]).double().reshape(strata, images)
            rows = stratified(even, strata, offsets)
            weighted = torch.empty(images, strata, dtype=torch.float64)
            weighted[rows.image, rows.draw] = rows.weight * terms[rows.image, rows.t - 2]
            total = float(weighted.sum())
            mean, square = mean + p * total, square + p * total**2
            stated += p * float(variance_of_sum(weighted).variance.sum())
        assert mean == pytest.approx(float(terms[:images].sum()), rel=1e-12)
        assert stated >= square - mean**2


@pytest.mark.parametrize("strata", [2, 3, 10, 31])
def test_noise_counts_once_in_the_variance(strata):
    """Independent noise alone, of another size at each place: unbiased, for even and odd.

    Kills: a pair counted twice, the last three with the weight of two, N for N - 1.
    """
    draw = torch.Generator().manual_seed(strata)
    scale = torch.linspace(0.1, 3, strata, dtype=torch.float64)
    for images in (2, 30):
        stated = []
        for _ in range(2000 if images == 2 else 300):
            noise = torch.randn(images, strata, generator=draw, dtype=torch.float64)
            common = torch.arange(strata).double() ** 2  # along t, of all images: no error
            stated.append(float(variance_of_sum(common + scale * noise).variance.mean()))
        stated, truth = np.array(stated), float(scale.square().sum())
        if strata % 2:  # the three last share their noise evenly
            truth = float(scale[:-3].square().sum() + scale[-3:].square().sum())
        z = (stated.mean() - truth) / (stated.std(ddof=1) / math.sqrt(len(stated)))
        assert abs(z) < 4


def test_a_trend_of_each_image_along_t_is_in_its_interval():
    """Terms without noise that fall in each image at a pace of its own, 24 strata.

    Intervals for these images hold the truth at least as often as they say. Kills: one offset for
    all strata of an image, whose error adds up along t and shows in no difference (41 to 79 % of
    95 % were held).
    """
    T, images, strata, seeds = 241, 40, 24, 200
    draw = torch.Generator().manual_seed(2)
    pace = torch.randn(images, 1, generator=draw, dtype=torch.float64)
    terms = 3 + pace * torch.linspace(-1, 1, T - 1, dtype=torch.float64)
    ids = torch.arange(images)

    def offsets(seed):
        key = KeyedNoise.of(seed, ids)
        keys = (key.draw(torch.full_like(ids, stratum)) for stratum in range(strata))
        return torch.stack([spread_offsets(key) for key in keys])

    errors, variances = outcomes(even(T, 8), terms, strata, seeds, offsets)
    half = 1.96 * variances.sum(1).sqrt()
    held = float((errors.sum(1).abs() <= half).double().mean())
    assert held >= 0.95 - 4 * math.sqrt(0.95 * 0.05 / seeds)
    assert float(variances.sum(1).mean()) >= float(errors.sum(1).var())


def test_one_row_per_image_takes_the_spread_between_images():
    """Kills: a variance of 0, or NaN, of images with one row."""
    values = torch.tensor([[1.0], [2.0], [4.0]], dtype=torch.float64)
    assert torch.allclose(variance_of_sum(values).variance, values.var().expand(3))
    assert variance_of_sum(values[:1]).variance.isnan().all()


def test_rows_that_are_all_the_same_are_no_better_known_by_what_is_supposed():
    """Kills: an overflow of the square of by how much nothing was widened."""
    same = torch.ones(2, 4, dtype=torch.float64)
    wider = variance_of_sum(same).at_least(0.5)
    assert wider.variance.tolist() == [0.5, 0.5]
    assert wider.information == 0


# The layout.


@exactly
@given(
    share=st.lists(st.floats(0.01, 10), min_size=1, max_size=60),
    bins=st.integers(1, 20),
)
def test_bins_are_runs_of_t_with_equal_shares(share, bins):
    """As nearly as whole t allow: none exceeds its part by more than its largest t.

    Kills: bins of equal width, an empty bin, a t in two bins.
    """
    share = torch.tensor(share, dtype=torch.float64)
    layout = Layout.even(share, bins)
    assert layout.bin[0] == 0
    assert set(layout.bin.diff().tolist()) <= {0, 1}
    assert layout.count == int(layout.bin[-1]) + 1 <= min(bins, len(share))
    assert torch.allclose(layout.totals().sum(), share.sum(), rtol=1e-12)
    largest = torch.stack([share[layout.bin == b].max() for b in range(layout.count)])
    part = share.sum() / min(bins, len(share))
    assert (layout.totals() <= (part + largest) * (1 + 1e-9)).all()
    assert layout.first.tolist() == [layout.bin.tolist().index(b) for b in range(layout.count)]


@exactly
@given(data=st.data(), fine=st.integers(4, 30), bins=st.integers(1, 8))
def test_merged_bins_are_unions(data, fine, bins):
    """Kills: bins cut anew along t, so that totals of fine bins no longer add up."""
    numbers = st.lists(st.floats(0.01, 10), min_size=fine, max_size=fine)
    first, second = (torch.tensor(data.draw(numbers), dtype=torch.float64) for _ in range(2))
    layout = Layout.even(first, fine)
    merged = layout.merged(second, bins)
    assert torch.equal(merged.share, second)
    assert merged.count <= bins
    for b in range(layout.count):
        assert len(merged.bin[layout.bin == b].unique()) == 1
    assert (merged.bin.diff() >= 0).all()


def test_a_chain_of_one_step_has_no_bins():
    layout = Layout.even(torch.ones(0, dtype=torch.float64))
    assert layout.count == 0
    assert layout.totals().shape == (0,)


def test_rows_come_back_to_their_image_in_the_order_of_t():
    """Kills: rows paired across images, which sort by t among themselves."""
    image = torch.tensor([2, 0, 1, 1, 2, 0])
    t = torch.tensor([2, 3, 3, 5, 5, 9])
    weight = torch.ones(6, dtype=torch.float64)
    combined = Combined(even(10), 3)
    combined.add(Rows(image, t, 0 * t, weight), weight, torch.zeros(6, 0, dtype=torch.float64))
    values = torch.tensor([20.0, 0, 10, 11, 21, 1], dtype=torch.float64)
    result = rooms._by_image(combined.phases[0], values)
    assert result.tolist() == [[0, 1], [10, 11], [20, 21]]
