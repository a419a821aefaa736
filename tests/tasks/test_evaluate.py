"""The evaluator against closed forms: the zero network's terms are known for any image."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import log_ndtr

import nelbo as package
from conftest import PLAIN, small_recipe
from nelbo import formats, recipe
from nelbo.data import Images, load
from nelbo.errors import BadInput, NonFinite
from nelbo.tasks.evaluate import evaluate


@pytest.fixture(scope="module")
def test_images():
    return load("digits:test")


def zero_model(**changes):
    model = recipe.build(small_recipe(**(PLAIN | changes)), (1, 8, 8), 17)
    model.network.forward = lambda x_t, time: torch.zeros_like(x_t)
    return model


def closed_form(model, images):
    """(L_T, sum of L_{t-1}, L_0) of each image in nats, for the network that says eps = 0.

    From the schedule's betas alone, by formulas and a quadrature of their own.
    """
    beta = model.chain.q.schedule.beta.numpy()[1:]
    a_bar = np.cumprod(1 - beta)
    a_prev = np.concatenate([[1.0], a_bar[:-1]])
    x_0 = images.levels.numpy().reshape(len(images), -1) / 8.0 - 1
    dims = x_0.shape[1]
    rest = 1 - a_bar[-1]
    L_T = 0.5 * (a_bar[-1] * (x_0**2).sum(1) + dims * (rest - 1 - math.log(rest)))
    weights = beta[1:] / (2 * (1 - beta[1:]) * (1 - a_prev[1:]))
    L_mid = np.full(len(x_0), dims * weights.sum())
    tilde = beta * (1 - a_prev) / (1 - a_bar)
    nodes, share = np.polynomial.hermite_e.hermegauss(150)
    share = share / share.sum()
    L_0 = np.zeros(17)
    for level in range(17):
        centre = level / 8 - 1
        mean = centre + math.sqrt((1 - a_bar[0]) / a_bar[0]) * nodes
        ends = np.stack([centre - 1 / 16 - mean, centre + 1 / 16 - mean]) / math.sqrt(tilde[1])
        if level in (0, 16):
            mass = log_ndtr(ends[1] if level == 0 else -ends[0])
        else:
            low, high = log_ndtr(np.where(ends[0] > 0, -ends[::-1], ends))
            mass = high + np.log1p(-np.exp(low - high))
        L_0[level] = -(share * mass).sum()
    by_pixel = L_0[images.levels.numpy().reshape(len(images), -1)]
    return L_T, L_mid, by_pixel.sum(1)


def test_the_zero_network_gives_its_closed_form_term_by_term(test_images):
    """Kills: a term lost, weighted wrongly or put under another's name (H10, H11)."""
    model, images = zero_model(), test_images.first(40)
    truth = dict(zip(("L_T", "L_mid", "L_0"), closed_form(model, images), strict=True))
    for options in ({"budget": 8_000}, {"precision": 0.03}, {"exhaustive": True}):
        result = evaluate(model, images, **options)
        assert result.per_image.L_T.numpy() == pytest.approx(truth["L_T"], rel=1e-4)
        for name in ("L_mid", "L_0"):
            noise = result.terms[name][1]
            assert abs(noise.mean - truth[name].mean()) < 4 * noise.se
        error = result.monte_carlo.se
        assert abs(result.total.mean - sum(truth.values()).mean()) < 4 * error
        z = (result.per_image.total.numpy() - sum(truth.values())) / result.per_image.se.numpy()
        assert abs(np.sign(z).sum()) < 4 * math.sqrt(len(z))


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_the_monte_carlo_interval_covers_at_its_rate(test_images, schedule):
    """Of 200 intervals at 95 %, as many hold the truth as binomial chance allows (z < 4).

    Kills: H36 (rows taken as independent), a wrong degree of freedom, replicates that share noise.
    """
    changes = {"chain.schedule": {"name": schedule, "T": 50}, "network.blocks": 1}
    model, images = zero_model(**changes), test_images.first(6)
    truth = float(sum(closed_form(model, images)).mean())
    hits = 0
    for seed in range(200):
        result = evaluate(model, images, budget=6 * 2 * 9, seed=seed, check=False)
        low, high = result.monte_carlo.interval()
        hits += low <= truth <= high
    assert abs(hits - 190) < 4 * math.sqrt(200 * 0.95 * 0.05)


def test_the_exhaustive_interval_is_not_too_narrow(test_images):
    """Kills: successive differences without their ends."""
    model = zero_model(**{"chain.schedule": {"name": "linear", "T": 40, "beta_T": 0.4}})
    images = test_images.first(4)
    truth = float(sum(closed_form(model, images)).mean())
    hits = 0
    for seed in range(200):
        result = evaluate(model, images, exhaustive=True, seed=seed, check=False)
        low, high = result.monte_carlo.interval()
        hits += low <= truth <= high
    assert hits >= 190 - 4 * math.sqrt(200 * 0.95 * 0.05)


@pytest.mark.parametrize("T", [1, 2, 3, 9])
def test_short_chains_are_measured_in_every_mode(test_images, T):
    changes = {"chain.schedule": {"name": "linear", "T": T, "beta_T": 0.5}, "chain.V_1": "beta_1"}
    model, images = zero_model(**changes), test_images.first(5)
    for options in ({"precision": 500.0}, {"budget": 500}, {"exhaustive": True}):
        result = evaluate(model, images, **options)
        assert math.isfinite(result.bits_per_dim)
        times = {step.t for step in result.per_step}
        assert len(times) == result.estimator["evaluated_t"]
        assert times <= set(range(1, T + 1))
        assert times == set(range(1, T + 1)) or "precision" in options


def test_an_image_is_measured_alike_in_any_company(run, test_images):
    """When every t is asked; else the t of all images are chosen together. Kills: H34."""
    model = formats.load(run).every(20)
    both = evaluate(model, test_images.subset([5, 9]), exhaustive=True).per_image
    for place, id in enumerate((5, 9)):
        alone = evaluate(model, test_images.subset([id]), exhaustive=True).per_image
        assert alone.ids.tolist() == [id]
        for name in ("total", "L_T", "L_mid", "L_0", "se"):
            expected = float(getattr(both, name)[place])
            assert float(getattr(alone, name)) == pytest.approx(expected, rel=1e-5)


def test_the_table_of_images_adds_up_to_the_terms_and_the_total(run, test_images):
    """Kills: H31 (a mean of batch means), an image twice or under another's id."""
    model, images = formats.load(run).every(50), test_images.subset([9, 3, 400, 8, 7, 5, 1, 11])
    for options in ({"budget": 100}, {"precision": 0.5}, {"exhaustive": True}):
        result = evaluate(model, images, batch_size=3, **options)
        table = result.per_image
        assert table.ids.tolist() == [9, 3, 400, 8, 7, 5, 1, 11]
        assert result.total.mean == result.monte_carlo.mean
        assert result.total.mean == pytest.approx(math.fsum(table.total) / 8, rel=1e-12)
        for name, (data, noise) in result.terms.items():
            mean = math.fsum(getattr(table, name)) / 8
            assert data.mean == noise.mean == pytest.approx(mean, rel=1e-12)
        parts = table.L_T + table.L_mid + table.L_0
        assert torch.allclose(table.total, parts, rtol=1e-14, atol=0)
        error = float(table.se.square().sum().sqrt() / 8)
        assert result.monte_carlo.se == pytest.approx(error, rel=1e-12)


def test_a_budget_is_kept_to_and_a_precision_is_reached(run, test_images):
    model, images = formats.load(run), test_images.first(10)
    for budget in (40, 49, 50, 100, 523):
        result = evaluate(model, images, budget=budget)
        assert result.network_evaluations == budget // 10 * 10
        phases = result.estimator["phases"]
        assert result.network_evaluations == 10 * (result.estimator["L_0_draws"] + sum(phases))
        assert result.looks[-1].evaluations == result.network_evaluations
    result = evaluate(model, images, precision=0.2)
    assert result.estimator["stopped_by"] == "precision"
    assert result.half_width(result.monte_carlo) <= 0.2
    why = "reached --precision: ± 0.2 bits/dim, Monte Carlo"
    assert f"\n  stopped: {why}\n" in f"{result}\n"


def test_a_precision_that_is_not_to_be_had_has_an_end(run, test_images):
    """Kills: a cap that the last phase oversteps, or a stop that the report does not name."""
    result = evaluate(formats.load(run), test_images.first(3), precision=1e-6)
    assert result.estimator["stopped_by"] == "1,000 evaluations of each image"
    end = (
        "\n  stopped: ± 1e-06 bits/dim is not reached after 1,000 evaluations of each image, which "
    )
    assert f"{end}is the most\n" in f"{result}\n"
    assert 3 * 998 < result.network_evaluations <= 3 * 1000


def test_a_control_that_was_left_out_is_named(run, test_images):
    """Kills: a control dropped in silence."""
    result = evaluate(formats.load(run), test_images.first(10), budget=40)
    assert "without" not in str(result)
    left_out = {"name": "affine denoiser", "z": 7.04, "passed": False}
    text = str(replace(result, estimator={**result.estimator, "controls": [left_out]}))
    assert "without the control affine denoiser, whose sum is +7.0 standard errors" in text


def test_a_tenth_of_the_interval_between_images_is_enough():
    levels = torch.arange(16).reshape(-1, 1, 1, 1).expand(-1, 1, 8, 8).to(torch.uint8)
    half = package.wrap(
        lambda x_t, t: 0.5 * x_t,
        schedule={"name": "linear", "T": 100},
        predicts="x_0",
        variance="small",
        time_input="index",
        data=(images := Images("flat", None, levels, 17)),
    )
    results = [evaluate(half, images, precision=1e-6, seed=seed) for seed in range(4)]
    advice = "the Monte Carlo error is a tenth of what the spread between images leaves"
    for result in results:
        assert result.estimator["stopped_by"] == "a tenth of the interval between images"
        assert f"\n  stopped: {advice}\n" in f"{result}\n"
    # a pilot of these 16 images says how many rows that takes, and is off by some tenths itself
    widths = [result.monte_carlo.half_width() / result.total.half_width() for result in results]
    assert 0.07 < sum(widths) / len(widths) < 0.13


def test_every_t_is_evaluated_once_and_L_0_twice_of_every_image_when_exhaustive(run, test_images):
    model = formats.load(run).every(20)
    result = evaluate(model, test_images.first(4), exhaustive=True)
    assert result.network_evaluations == 4 * (2 + 19)
    assert [step.t for step in result.per_step] == list(range(1, 21))


def test_one_image_has_no_interval_for_images_like_it(run, test_images):
    result = evaluate(formats.load(run), test_images.first(1), budget=40)
    assert result.to_dict()["ci95"] is None
    assert result.to_dict()["ci95_monte_carlo"] is not None
    assert "unknown" in str(result)


def test_levels_in_a_tensor_or_an_array_are_data_too(run, test_images):
    model, images = formats.load(run), test_images.first(3)
    expected = evaluate(model, images, budget=60).total.mean
    assert package.evaluate(model, images.levels, budget=60).total.mean == expected
    assert package.evaluate(model, images.levels.numpy(), budget=60).total.mean == expected


def test_the_json_has_every_key_and_its_terms_add_up(run, test_images):
    result = evaluate(formats.load(run), test_images.first(9), budget=200, command="x")
    tree = json.loads(result.to_json())
    assert tree["schema"] == "nelbo.evaluation/1"
    assert set(tree) == {
        "schema", "kind", "bits_per_dim", "ci95", "ci95_monte_carlo", "nats_per_image", "terms",
        "per_step", "images", "dims", "network_evaluations", "seconds", "estimator", "model",
        "data", "environment", "command", "rate_distortion", "looks", "per_image_sha256",
        "figures_sha256", "content_sha256", "warnings",
    }  # fmt: skip
    assert set(tree["model"]) >= {
        "name", "sha256", "weights", "T", "steps", "schedule", "parametrization", "variance",
        "V_1", "clip", "decoder",
    }  # fmt: skip
    assert set(tree["estimator"]) == {
        "name", "budget", "pilot", "L_0_draws", "L_0_smallest_chance", "evaluated_t",
        "chance_of_missing_a_t", "phases", "controls", "seed", "batch_size", "check",
    }  # fmt: skip
    for term in tree["terms"].values():
        assert set(term) == {"bits_per_dim", "se", "se_monte_carlo"}
    assert set(tree["data"]) == {"name", "sha256", "split", "images", "levels", "grid"}
    assert set(tree["environment"]) >= {
        "nelbo", "torch", "device", "dtype", "tf32", "world_size"
    }  # fmt: skip
    total = sum(term["bits_per_dim"] for term in tree["terms"].values())
    assert total == pytest.approx(tree["bits_per_dim"], abs=1e-9)
    assert tree["bits_per_dim"] == tree["nats_per_image"] / (64 * math.log(2))
    low, high = tree["ci95"]
    assert (low + high) / 2 == pytest.approx(tree["bits_per_dim"])


def test_per_step_means_add_up_to_the_terms_when_every_t_is_evaluated(run, test_images):
    model = formats.load(run).every(20)
    result = evaluate(model, test_images.first(4), exhaustive=True)
    by_t = {step.t: step.mean for step in result.per_step}
    assert by_t.pop(1) == pytest.approx(result.terms["L_0"][0].mean, rel=1e-12)
    assert sum(by_t.values()) == pytest.approx(result.terms["L_mid"][0].mean, rel=1e-12)


def test_the_rate_at_t_is_what_all_larger_t_have_cost(run, test_images):
    """Kills: L_T forgotten, the term of t itself counted, an error where none was asked for."""
    model = formats.load(run).every(20)
    results = [
        json.loads(
            evaluate(model, test_images.first(4), exhaustive=True, distortion=distortion).to_json()
        )
        for distortion in (False, True)
    ]
    for tree, known in zip(results, (False, True), strict=True):
        by_t = {step["t"]: step["bits_per_dim"] for step in tree["per_step"]}
        assert [point["t"] for point in tree["rate_distortion"]] == list(range(2, 21))
        for point in tree["rate_distortion"]:
            larger = sum(bits for t, bits in by_t.items() if t > point["t"])
            wanted = tree["terms"]["L_T"]["bits_per_dim"] + larger
            assert point["bits_per_dim"] == pytest.approx(wanted, rel=1e-9)
            assert (point["rmse"] is not None) == known
        snr = [step["log_snr"] for step in tree["per_step"]]
        assert snr == model.log_snr[1:].tolist()
        assert tree["looks"][-1]["network_evaluations"] == tree["network_evaluations"]
        assert tree["looks"][-1]["bits_per_dim"] == pytest.approx(tree["bits_per_dim"], rel=1e-12)


def test_a_value_that_is_not_finite_stops_the_evaluation_by_name(run, test_images):
    """Kills: H39 (a NaN averaged away)."""
    model = formats.load(run)
    inner = model.network.forward

    def forward(x_t, log_snr):
        output = inner(x_t, log_snr)
        wanted = model.chain.q.schedule.log_snr[500]
        return output.where((log_snr != wanted.to(log_snr.dtype))[:, None, None, None], torch.nan)

    model.network.forward = forward
    with pytest.raises(NonFinite, match=r"t = 500 for images 0, 1, 2 of digits.*rank 0"):
        evaluate(model, test_images.first(3), exhaustive=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": 0.0}, "precision must be positive; got 0"),
        ({"precision": math.nan}, "precision must be a finite number; got nan"),
        ({"budget": 11}, "starts at 12 evaluations; got 11"),
        ({"batch_size": 0}, "batch size must be at least 1; got 0"),
        ({"batch_size": 10**20}, r"batch_size must be a whole number below 2\*\*63; got 1"),
    ],
)
def test_a_wrong_request_is_refused(run, test_images, options, message):
    with pytest.raises(BadInput, match=message):
        evaluate(formats.load(run), test_images.first(3), **options)


def test_images_of_another_grid_or_shape_are_refused(run):
    model = formats.load(run)
    with pytest.raises(BadInput, match="of 17 levels, other has 256"):
        evaluate(model, Images("other", None, torch.zeros(1, 1, 8, 8, dtype=torch.uint8), 256))
    with pytest.raises(BadInput, match=r"shape \(1, 8, 8\); got \(1, 8, 9\)"):
        evaluate(model, Images("other", None, torch.zeros(1, 1, 8, 9, dtype=torch.uint8), 17))


def test_dropout_is_off_and_the_mode_is_put_back(run, test_images):
    """Kills: H40 (dropout at evaluation)."""
    model = formats.load(run)
    model.network.train()
    first, second = (evaluate(model, test_images.first(2), budget=40) for _ in range(2))
    assert first.total.mean == second.total.mean
    assert model.network.training


def test_moving_average_and_last_step_are_two_models(run, test_images):
    """Kills: H37 (one set of weights under the other's name)."""
    results = [
        evaluate(formats.load(run, weights=weights), test_images.first(2), budget=40)
        for weights in ("ema", "raw")
    ]
    assert [result.model["weights"] for result in results] == ["ema", "raw"]
    assert results[0].model["sha256"] != results[1].model["sha256"]
    assert results[0].total.mean != results[1].total.mean
