"""Evaluations of the reference toy, whose every mean and variance is known in closed form."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch

import nelbo
from nelbo.bound.estimators import Rows
from nelbo.bound.statistics import Mean
from nelbo.data import Images
from nelbo.errors import NonFinite
from nelbo.estimation import Evaluator, Exhaustive, Sampling, measuring
from reference_toy import (
    BETWEEN,
    MEAN,
    WITHIN,
    T,
    exact,
    exact_terms,
    one_draw_variance,
    sampled,
    toy_images,
    toy_model,
    without_controls,
)

torch.set_num_threads(1)

IMAGES = 200


def z_of(values, truth):
    return float((np.mean(values) - truth) / (np.std(values, ddof=1) / math.sqrt(len(values))))


@dataclass(frozen=True)
class Seen:
    """Of one evaluation: the means of the terms and of the closed forms, the errors stated."""

    L_T: float
    total: tuple[Mean, Mean]
    L_0: tuple[Mean, Mean]
    L_mid: tuple[Mean, Mean]
    draws: int
    x_0: np.ndarray

    @classmethod
    def of(cls, sampling, x_0):
        parts = (sampling.total(), sampling.first(), sampling.later())
        L_T = float(sampling.L_T().values.mean())
        return cls(L_T, *(part.means() for part in parts), len(sampling.draws), x_0)


@pytest.fixture(scope="module")
def evaluations():
    """Twelve evaluations of each image, other images each time."""
    model, results = toy_model(), []
    for seed in range(160):
        images, x_0 = toy_images(IMAGES, seed)
        sampling = sampled(model, images, seed, lambda s: s.spend(12 * IMAGES))
        results.append(Seen.of(sampling, x_0))
    return results


def test_the_toy_is_the_one_of_the_reference_values():
    """E NELBO, its variance between images and that of one draw of all terms, by quadrature."""
    nodes, share = np.polynomial.hermite_e.hermegauss(20)
    share, x_0 = share / share.sum(), -0.2 + 0.3 * nodes
    assert share @ exact(x_0) == pytest.approx(MEAN, rel=1e-12)
    assert share @ (exact(x_0) - MEAN) ** 2 == pytest.approx(BETWEEN, rel=1e-12)
    assert share @ one_draw_variance(x_0).sum(1) == pytest.approx(WITHIN, rel=1e-12)


def test_both_intervals_cover_what_they_are_for(evaluations):
    """Figure C6, |z| < 4: the population's mean, and that of this test set.

    Kills: H36; a variance of half the pairs; what the controls leave taken for all there is.
    """
    like, these = 0, 0
    for seen in evaluations:
        data, noise = seen.total
        low, high = data.interval()
        like += low <= MEAN <= high
        low, high = noise.interval()
        these += low <= exact(seen.x_0).mean() <= high
    count = len(evaluations)
    for held in (like, these):
        assert abs(held - 0.95 * count) < 4 * math.sqrt(count * 0.95 * 0.05)


def test_the_estimate_is_unbiased_in_each_term(evaluations):
    """z over evaluations, each against the closed form of its own images (H11, H35).

    Kills: L_T lost, a stage's noise used twice, a share's coefficient fitted on its own rows.
    """
    errors = {"L_0": [], "L_mid": [], "total": []}
    for seen in evaluations:
        L_T, terms = exact_terms(seen.x_0)
        assert pytest.approx(L_T.mean(), rel=1e-4) == seen.L_T
        errors["L_0"].append(seen.L_0[0].mean - terms[:, 0].mean())
        errors["L_mid"].append(seen.L_mid[0].mean - terms[:, 1:].sum(1).mean())
        errors["total"].append(seen.total[0].mean - exact(seen.x_0).mean())
    for name, entry in errors.items():
        assert abs(z_of(entry, 0.0)) < 4, name


def test_the_standard_errors_are_those_of_the_closed_forms(evaluations):
    """L_0 from so many draws, both errors, by z; L_mid's is not below what its errors show.

    Kills: draws forgotten in the variance, a standard error of the other question.
    """
    noise, data, late, stated = [], [], [], []
    for seen in evaluations:
        terms, one = exact_terms(seen.x_0)[1], one_draw_variance(seen.x_0)[:, 0].mean()
        on_average, exactly = seen.L_0
        noise.append(exactly.se**2 * IMAGES * seen.draws / one)
        data.append(on_average.se**2 * IMAGES / (terms[:, 0].var(ddof=1) + one / seen.draws))
        stated.append(seen.L_mid[1].se ** 2)
        late.append(seen.L_mid[1].mean - terms[:, 1:].sum(1).mean())
    assert abs(z_of(noise, 1.0)) < 4
    assert abs(z_of(data, 1.0)) < 4
    assert np.mean(stated) > np.var(late) * (1 - 4 * math.sqrt(2 / len(late)))


def test_per_t_errors_of_an_exhaustive_pass_are_exact():
    """(between images + one draw) / N at each t, by z over passes; at t = 1 half a draw.

    Kills: rows of an image at several t as one cluster, the noise of a t counted twice.
    """
    nodes, share = np.polynomial.hermite_e.hermegauss(40)
    share, x_0 = share / share.sum(), -0.2 + 0.3 * nodes
    terms, noise = exact_terms(x_0)[1], share @ one_draw_variance(x_0)
    between = share @ (terms - share @ terms) ** 2
    noise[0] /= 2
    model, results, means = toy_model(), [], []
    for seed in range(120):
        images, _ = toy_images(IMAGES, 10_000 + seed)
        with measuring([model]):
            steps = Exhaustive(Evaluator([model], images, seed)).steps()
        assert [step.t for step in steps] == list(range(1, T + 1))
        results.append([step.se**2 * IMAGES for step in steps])
        means.append([step.mean for step in steps])
    results, means = np.array(results), np.array(means)
    for t in range(T):
        assert abs(z_of(results[:, t], between[t] + noise[t])) < 4, t + 1
        assert abs(z_of(means[:, t], share @ terms[:, t])) < 4, t + 1


def test_the_exhaustive_errors_are_not_below_the_exact_ones():
    """The noise of all terms of these images, from differences along t: no less, by z."""
    model, images_seen = toy_model(), []
    for seed in range(60):
        images, x_0 = toy_images(IMAGES, 20_000 + seed)
        with measuring([model]):
            exhaustive_pass = Exhaustive(Evaluator([model], images, seed))
        one = one_draw_variance(x_0)
        images_seen.append(
            [
                float(exhaustive_pass.later().variance.mean()) / one[:, 1:].sum(1).mean(),
                float(exhaustive_pass.first().variance.mean()) / (one[:, 0].mean() / 2),
            ]
        )
    later, first = np.array(images_seen).T
    assert z_of(later, 1.0) > -4
    assert abs(z_of(first, 1.0)) < 4


def test_every_stratum_of_an_image_has_an_offset_of_its_own():
    """Even over the images in each stratum, unrelated between strata (|r| sqrt N < 4).

    Kills: one offset for all strata of an image, whose error no difference between rows shows.
    """
    levels = torch.arange(500).reshape(-1, 1, 1, 1) % 17
    model = nelbo.wrap(
        lambda x_t, t: 0 * x_t,
        schedule="linear",
        predicts="eps",
        variance="small",
        time_input="index",
        data=(images := Images("flat", None, levels, 17)),
    )
    sampling = sampled(model, images, 0, lambda s: s.phase(4))
    rows, chance = sampling.rows[0], sampling.layout.share / sampling.layout.share.sum()
    offset = torch.zeros(4, 500, dtype=torch.float64)
    middle = chance.cumsum(0) - 0.5 * chance
    offset[rows.draw, rows.image] = 4 * middle[rows.t - 2] - rows.draw
    slack = 4 * float(chance.max())
    for stratum in offset:
        even = (torch.arange(500) + 0.5) / 500
        assert float((stratum.sort().values - even).abs().max()) < slack
    r = torch.corrcoef(offset) - torch.eye(4)
    assert float(r.abs().max()) < 4 / math.sqrt(500)


def test_a_budget_is_shared_by_noise_so_that_L_0_does_not_dominate():
    """The toy's L_0 is most of its noise. Kills: two draws of L_0 whatever it varies by."""
    images, _ = toy_images(IMAGES, 0)
    for controls in (None, without_controls):
        sampling = sampled(toy_model(controls), images, 0, lambda s: s.spend(60 * IMAGES))
        assert 59 * IMAGES < sampling.evaluator.done <= 60 * IMAGES
        first, later = (float(x.variance.sum()) for x in (sampling.first(), sampling.later()))
        draws, strata = len(sampling.draws), sampling.combineds[0].strata
        left = (sampling.evaluator.done - sampling.pilot) // IMAGES
        assert draws + strata == left > 0.9 * 60
        # of all ways to share it, to a tenth of the best
        best = (math.sqrt(first * draws) + math.sqrt(later * strata)) ** 2 / left
        assert first + later < 1.1 * best


def test_a_model_against_itself_differs_by_exactly_nothing():
    """Same images, times and noise: 0 with a standard error of 0. Kills: noise by model."""
    model, (images, _) = toy_model(), toy_images(20, 0)
    with measuring([model]):
        sampling = Sampling(Evaluator([model, model], images))
        sampling.spend(2 * 20 * 12)
    total = sampling.total(2)
    assert not total.values.any()
    assert not total.variance.any()
    for term in (sampling.L_T(2), sampling.first(2), sampling.later(2)):
        assert not term.values.any()
    for one, other in zip(sampling.total(0).values, sampling.total(1).values, strict=True):
        assert float(one) == float(other)


def test_the_difference_of_two_models_is_that_of_their_bounds():
    """By closed form: the second model's T = 10 chain keeps its V but is told the wrong mean.

    Kills: a difference with its sign turned, columns of one model under the other.
    """
    model, (images, _) = toy_model(), toy_images(50, 0)
    other = toy_model()
    other.network.offset = other.network.offset + 0.05
    with measuring([model, other]):
        sampling = Sampling(Evaluator([model, other], images))
        sampling.spend(2 * 50 * 40)
    first, second, difference = (sampling.total(column) for column in range(3))
    apart = difference.means()[1]
    alone = [total.means()[1].se for total in (first, second)]
    assert float((first.values - second.values).mean()) == pytest.approx(
        apart.mean, abs=3 * alone[0]
    )
    assert apart.se < 0.5 * math.hypot(*alone)
    # a worse denoiser has a larger bound
    assert apart.mean < -4 * apart.se


@pytest.mark.parametrize("count", [1, 2, 7, 8])
def test_a_handful_of_images_is_measured_too(count):
    """No controls below 8 images, intervals all the same; None of what one image cannot tell."""
    model, (images, x_0) = toy_model(), toy_images(count, 3)
    sampling = sampled(model, images, 0, lambda s: s.spend(400 * count))
    data, noise = sampling.total().means()
    assert (data.se is None) == (count == 1)
    assert abs(noise.mean - exact(x_0).mean()) < 5 * noise.se
    assert len(sampling.tests()) == (1 if count >= 8 else 0)


def test_every_stage_draw_t_and_image_has_noise_of_its_own():
    """The same again is the same; one of them changed is other noise (H34, H35).

    Kills: a phase that meets the noise of the one before, a draw of L_0 that repeats the first.
    """
    model, (images, _) = toy_model(), toy_images(6, 0)
    with measuring([model]):
        evaluator = Evaluator([model], images)
        image, same = torch.arange(6), torch.full((6,), 5)
        rows = Rows(image, same, torch.zeros_like(same), torch.ones(6, dtype=torch.float64))
        again = Rows(image, same, torch.ones_like(same), torch.ones(6, dtype=torch.float64))
        seen = [
            evaluator.later(stage, requested, [[]])[0]
            for stage, requested in ((0, rows), (1, rows), (0, again), (0, rows))
        ]
        first = [evaluator.first(draws)[0][-1] for draws in (range(1), range(1, 2), range(1))]
        both = evaluator.first(range(2))[0]
    assert torch.equal(seen[0], seen[3])
    assert torch.equal(first[0], first[2])
    torch.testing.assert_close(both, torch.stack(first[:2]), rtol=1e-12, atol=0)
    assert not (first[0] == first[1]).any()
    for other in seen[1:3]:
        assert not (seen[0] == other).any()


def test_a_value_that_is_not_finite_is_named_and_never_averaged_away():
    """H39. Kills: a NaN let through, a t or an image that is not the one."""
    model, (images, _) = toy_model(), toy_images(9, 0)
    model.network.gain[4] = math.nan  # of t = 5
    for run in (lambda s: s.spend(9 * 60), lambda s: s.until(1e-6)):
        with pytest.raises(NonFinite, match=r"t = 5 for images [\d, ]+.* of toy \(rank 0\)"):
            sampled(model, images, 0, run)
    with measuring([model]), pytest.raises(NonFinite, match=r"t = 5 for images 0, .* and 4 more"):
        Exhaustive(Evaluator([model], images))
