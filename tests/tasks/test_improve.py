"""A better bound from the same weights, against the closed form that planned it."""

import json

import pytest
import torch

from conftest import PLAIN, small_recipe
from nelbo import formats, recipe
from nelbo.data import load
from nelbo.errors import BadInput, NonFinite
from nelbo.gaussian.optimal_variance import SquaredError, expected_kl
from nelbo.gaussian.variance import Tabulated
from nelbo.tasks.compare import compare
from nelbo.tasks.evaluate import evaluate
from nelbo.tasks.improve import improve, optimal_steps, save

ZERO = PLAIN | {"chain.schedule": {"name": "linear", "T": 60, "beta_T": 0.3}}


def zero_model(**changes):
    model = recipe.build(small_recipe(**(ZERO | changes)), (1, 8, 8), 17)
    model.network.forward = lambda x_t, time: torch.zeros_like(x_t)
    return model


@pytest.fixture(scope="module")
def training():
    return load("digits:train").first(120)


@pytest.mark.parametrize("per", ["time", "dimension"])
def test_the_bound_of_the_result_is_the_closed_form_of_its_table(training, per):
    """The zero network's x0-hat is x_t / sqrt(alpha_bar): M_t = (1 - alpha_bar) / alpha_bar.

    Kills: a variance for other steps than its own, a sub-chain other than the plan says.
    """
    model = zero_model()
    improved = improve(model, training, steps=12, per=per)
    schedule = model.chain.q.schedule.subchain(improved.plan["steps"])
    t = torch.arange(1, 13)
    error = SquaredError(t, (-schedule.log_snr[1:]).exp()[:, None].expand(12, 64), 64, 1)
    table = Tabulated("found", improved.variance.table.reshape(13, -1))
    exact = float(expected_kl(schedule, table, error).sum())
    result = evaluate(improved.model, training, exhaustive=True)
    assert abs(result.terms["L_mid"][1].mean - exact) < 4 * result.terms["L_mid"][1].se
    plan = (
        improved.model.T,
        improved.model.facts["improved"]["steps"],
        len(improved.plan["steps"]),
    )
    assert plan == (12, improved.plan["steps"], 12)


@pytest.mark.parametrize("other", ["small", "large"])
def test_the_optimal_variance_is_not_worse_than_either_on_other_images(training, other):
    """At the same steps; by a paired interval on images that it was not fitted to."""
    model = zero_model(**{"chain.variance": other, "chain.V_1": "beta_1"})
    improved = improve(model, training, steps=20)
    held_out = load("digits:test").first(100)
    same_steps = model.keeping(improved.plan["steps"])
    result = compare(improved.model, same_steps, held_out, budget=100 * 2 * 24)
    _, high = result.total.interval()
    assert high < 0


def test_an_improved_checkpoint_is_a_model_like_any_other(zero_run, tmp_path, nelbo, monkeypatch):
    monkeypatch.setattr("nelbo.tasks.improve.IMAGES", 30)  # of 300: 75,000 calls
    folder = tmp_path / "better"
    quick = ("--budget", 1000, "--max-images", 40)
    code, out, err = nelbo("improve", zero_run, "-o", folder, "--steps", 5, *quick)
    assert (code, str(folder) in out) == (0, True), err
    model = formats.load(folder)
    assert model.T == 5
    assert model.facts["variance"] == "optimal-per-value"
    assert model.facts["improved"]["steps"][-1] <= 1000
    few = ("--max-images", 40, "--budget", 500)
    code, out, err = nelbo("evaluate", folder, *few, "--json", "-")
    assert code == 0, err
    assert json.loads(out)["model"]["steps"] == 5
    with pytest.raises(BadInput, match="improve the original"):
        model.every(2)
    with pytest.raises(BadInput, match="weights"):
        formats.load(folder, weights="raw")
    code, _, err = nelbo("improve", zero_run, "-o", folder)
    assert (code, err.count("\n")) == (2, 1)


def test_saving_and_loading_change_no_bit(run, tmp_path):
    model = formats.load(run)
    images = load("digits:train").first(16)
    improved = improve(model, images, steps=4, candidates=8)
    loaded = formats.load(save(run, improved, tmp_path / "new"))
    test = load("digits:test").first(8)
    want, got = (evaluate(m, test, exhaustive=True).total.mean for m in (improved.model, loaded))
    assert got == want


def test_optimal_steps_beat_even_ones(training):
    """Kills: --spacing optimal that plans with the wrong costs or returns other steps."""
    model = zero_model()
    steps = optimal_steps(model, training, 10)
    assert len(set(steps)) == 10
    test = load("digits:test").first(60)
    best, even = model.keeping(steps), model.every(10, "even")
    _, high = compare(best, even, test, budget=60 * 2 * 30).total.interval()
    assert high < 0


def test_other_families_and_impossible_plans_are_refused(training, monkeypatch):
    """Before the network is looked at. Kills: steps that are too many, found after the work."""
    categorical = recipe.build(recipe.read("digits-d3pm"), (1, 8, 8), 17)
    with pytest.raises(BadInput, match="no Gaussian chain"):
        improve(categorical, training)
    with pytest.raises(BadInput, match="at least 4 images"):
        improve(zero_model(), training.first(3))
    monkeypatch.delattr("nelbo.tasks.improve.examine")
    for steps, most in ((61, {}), (0, {}), (8, {"candidates": 7})):
        with pytest.raises(BadInput, match="steps must lie in"):
            improve(zero_model(), training, steps=steps, **most)
        with pytest.raises(BadInput, match="steps must lie in"):
            optimal_steps(zero_model(), training, 61)


def test_an_x0_hat_that_is_not_finite_is_named_by_t_and_image(training, monkeypatch):
    """Kills: an error measured of NaN, another row named than the one that failed."""
    model = zero_model()
    predict, met = model.chain.p.predict_precisely, []

    def spoilt(x_t, t):
        prediction = predict(x_t, t)
        for row in (t == 40).nonzero()[:, 0].tolist():
            met.append(row)
            if len(met) == 18:  # each image is asked for once at t = 40, in order
                prediction.x_0[row, 0, 0, 0] = torch.inf
        return prediction

    monkeypatch.setattr(model.chain.p, "predict_precisely", spoilt)
    message = rf"x0-hat is not finite at t = 40 for images {training.ids[17]} of digits"
    with pytest.raises(NonFinite, match=message):
        improve(model, training, candidates=60)


def test_as_many_t_as_memory_holds_give_the_same_plan(training, monkeypatch):
    """One t at a time, or all. Kills: rows that are not joined, an end that each part allows."""
    model = zero_model(**{"chain.decoder": "discretized-gaussian"})
    at_once = improve(model, training, steps=9, candidates=30)
    monkeypatch.setattr("nelbo.estimation.errors.HELD", 120 * 64)
    one_by_one = improve(model, training, steps=9, candidates=30)
    assert one_by_one.plan == at_once.plan
    assert one_by_one.network_evaluations == at_once.network_evaluations
    assert one_by_one.predicted == pytest.approx(at_once.predicted, rel=1e-5)
    got, want = one_by_one.variance.table, at_once.variance.table
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("per", [None, "value", "dimension", "time"])
def test_a_chain_of_one_step_has_a_decoder_and_no_other_variance(training, per):
    """Its V_1 is in every entry. Kills: a choice between variances that there are none of."""
    model = zero_model(**{"chain.decoder": "discretized-gaussian"})
    improved = improve(model, training, steps=1, candidates=8, per=per)
    assert improved.model.T == 1
    assert len(improved.variance.table[1].unique()) == 1
