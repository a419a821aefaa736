"""digits-vdm through the whole pipeline: recipe, training, checkpoint, chains, and the limit.

The untrained network is 0, so x0-hat = sqrt(alpha_bar) x_u under v: with x one level of the data
and sigma the logistic function, L_inf is the sum over dimensions of
1/2 ((x^2 - 1) (sigma(lambda_0) - sigma(lambda_1)) + softplus(lambda_0) - softplus(lambda_1)).
"""

import copy
import json
import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch.nn.functional import softplus

from conftest import VDM, changed, toml
from linear_bound import Betas, closed_form, reading, through_the_model
from nelbo import checkpoint, data, formats, recipe
from nelbo.bound.estimators import low_discrepancy_times
from nelbo.bound.noise import KeyedNoise
from nelbo.errors import BadInput
from nelbo.gaussian.continuous import ContinuousGaussian
from nelbo.model import clip_gradients, parameter_groups
from nelbo.tasks.compare import compare
from nelbo.tasks.evaluate import evaluate
from nelbo.tasks.train import train

FIRST, LAST = VDM["chain.log_snr.first"], VDM["chain.log_snr.last"]


def vdm(**changes):
    return changed("digits-vdm", VDM | changes)


def built(choices, weights=None):
    return recipe.build(choices, (1, 8, 8), 17, weights)


def stirred(choices, seed=0, scale=0.3):
    """The state of the recipe's model with a network that is not 0 and a bent curve."""
    generator = torch.Generator().manual_seed(seed)
    state = built(choices).network.state_dict()
    moved = ("network.leave", "log_snr.a", "log_snr.b", "log_snr.c")
    return {
        name: x + scale * torch.randn(x.shape, generator=generator) * name.startswith(moved)
        for name, x in state.items()
    }


@pytest.fixture(scope="module")
def images():
    return data.load("digits:test").first(24)


# The recipe.


def test_a_recipe_survives_its_own_toml(tmp_path):
    path = tmp_path / "r.toml"
    path.write_text(toml(vdm().model_dump()))
    assert recipe.read(path) == vdm()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network.time_input": "index"}, "index is not for continuous chains: use log-snr"),
        ({"training.objective": "simple"}, "simple is not for continuous chains"),
        ({"training.objective": "hybrid"}, "hybrid is not for continuous chains"),
        ({"chain.decoder": "levels"}, "the levels decoder needs the levels parametrization"),
        ({"chain.log_snr.first": -9.0}, "log SNR must fall"),
    ],
)
def test_choices_that_do_not_go_together_are_refused(changes, message):
    """Kills: a step's number told to a network of any number of steps."""
    choices = vdm(**changes)
    with pytest.raises(BadInput, match=message):
        recipe.objective(choices, built(choices))


def test_a_misspelt_key_of_the_curve_is_named(tmp_path):
    text = toml(vdm().model_dump())
    path = tmp_path / "r.toml"
    path.write_text(text.replace("first =", "frist ="))
    with pytest.raises(BadInput, match=r"unknown key chain\.log_snr\.frist: did you mean first"):
        recipe.read(path)


@pytest.mark.parametrize("kind", ["linear", "learned"])
@pytest.mark.parametrize(
    ("parametrization", "decoder"),
    [("eps", "level-likelihood"), ("v", "discretized-gaussian"), ("levels", "levels")],
)
def test_every_choice_is_trained_and_measured(tmp_path, images, kind, parametrization, decoder):
    """Both ways of measuring. Kills: a decoder that a chain has and the limit has not."""
    changes = {"chain.parametrization": parametrization, "chain.decoder": decoder}
    folder = train(vdm(**changes, **{"chain.log_snr.name": kind}), tmp_path / "r")
    model = formats.load(folder)
    for measured in (model, model.in_the_limit()):
        result = evaluate(measured, images.first(4), budget=80)
        assert result.model["decoder"] == decoder
        assert math.isfinite(result.bits_per_dim)


# Training.


def test_the_loss_has_the_gradient_of_the_bound_and_of_its_square_for_the_interior():
    """By central differences through the recipe's objective, in float64.

    Kills: u that is not uniform within its part; an interior that learns from the bound; a
    gradient that does not reach the ends.
    """
    choices = vdm(**{"network.dropout": 0.0})
    model = built(choices, stirred(choices))
    network = model.network.double().eval()
    levels = torch.randint(17, (12, 1, 8, 8), generator=torch.Generator().manual_seed(0))
    x_0, noise = model.x_0(levels, torch.float64), KeyedNoise.of(0, torch.arange(12))
    t = low_discrepancy_times(12, 12, 0.4)
    objective = recipe.objective(choices, model)
    objective(x_0, t, noise).sum().backward()

    def ends():
        return network.prior_term(x_0) + network.reconstruction_term(x_0, noise)

    def slope(weight, loss, h=1e-4):
        values = []
        with torch.no_grad():
            for side in (h, -2 * h):
                weight += side
                values.append(float(loss().sum()))
            weight += h
        return (values[0] - values[1]) / (2 * h)

    curve = network.log_snr
    for weight in (curve.above, curve.below):
        got = slope(weight, lambda: objective(x_0, t, noise))
        assert got == pytest.approx(float(weight.grad), rel=1e-6)
    for weights in (curve.a, curve.b, curve.c):
        got = slope(weights[1], lambda: (objective(x_0, t, noise) - ends()).square() / 64)
        assert got == pytest.approx(float(weights.grad[1]), rel=1e-5)


def test_u_is_uniform_over_the_batch():
    """A batch of B has one u in each B-th of [0, 1]. Kills: u at the start of each part."""
    seen = []
    choices = vdm()
    model = built(choices)
    whole = model.network.log_snr.at
    model.network.log_snr.at = lambda u: seen.append(u) or whole(u)
    noise = KeyedNoise.of(0, torch.arange(12))
    t = low_discrepancy_times(12, 12, 0.4)
    recipe.objective(choices, model)(torch.zeros(12, 1, 8, 8), t, noise)
    assert (12 * seen[0]).long().tolist() == (t - 1).tolist()
    assert len(((12 * seen[0]) % 1).unique()) == 12


def test_the_curve_is_clipped_apart_and_not_decayed():
    """Kills: one norm for network and curve; a schedule pulled to 0 by weight decay."""
    model = built(vdm())
    curve = model.network.log_snr
    groups = parameter_groups(model, 0.5)
    assert [len(group["params"]) for group in groups[1:]] == [2, 3]
    assert [group["weight_decay"] for group in groups] == [0.5, 0.0, 0.0]
    counted = [id(x) for group in groups for x in group["params"]]
    assert sorted(counted) == sorted(id(x) for x in model.network.parameters())
    optimizer = torch.optim.AdamW(groups, lr=0.1)
    for weight in model.network.parameters():
        weight.grad = torch.zeros_like(weight)
    curve.above.grad += 3.0
    curve.below.grad += 4.0
    curve.b.grad[0] = 0.5
    assert clip_gradients(optimizer, 1.0) == pytest.approx(math.hypot(5.0, 0.5))
    assert float(curve.above.grad) == pytest.approx(0.6, rel=1e-5)
    assert float(curve.b.grad[0]) == 0.5


def test_training_moves_the_ends_and_the_interior(vdm_run):
    """Kills: an optimiser that is given the inner network alone."""
    start, trained = built(vdm()).network.log_snr, formats.load(vdm_run, weights="raw")
    for name, weight in trained.network.log_snr.named_parameters():
        assert (weight != start.get_parameter(name)).all(), name


def test_the_log_of_a_run_is_in_bits_per_dim(vdm_run):
    entry = json.loads((vdm_run / "log.jsonl").read_text().splitlines()[-1])
    assert entry["unit"] == "bits/dim"


# The checkpoint.


@pytest.mark.parametrize("weights", ["ema", "raw"])
def test_a_checkpoint_holds_the_curve_that_its_chain_runs_along(vdm_run, weights):
    """Kills: the chain of the fresh curve under the trained weights; EMA of the network alone."""
    stored = checkpoint.load(vdm_run / checkpoint.NAME)
    state = stored.part({"ema": "ema", "raw": "network"}[weights])
    model = formats.load(vdm_run, weights=weights)
    assert isinstance(model.network, ContinuousGaussian)
    for name, x in model.network.state_dict().items():
        assert torch.equal(x, state[name]), name
    above = float(softplus(state["log_snr.above"].double()))
    first = (FIRST + LAST) / 2 + above
    assert model.facts["schedule"]["first"] == pytest.approx(first, rel=1e-12)
    assert float(model.log_snr[1]) == pytest.approx(first, rel=1e-12)
    expected = model.network.log_snr.schedule(12)
    assert torch.equal(model.chain.q.schedule.log_alpha, expected.log_alpha)
    assert first != FIRST


def test_a_network_in_bfloat16_leaves_the_schedule_as_it_is():
    """Kills: a curve of bfloat16 weights, whose ends are off by 1/256 of themselves."""
    model = built(vdm(), stirred(vdm()))
    before = model.every(7).log_snr
    model.network.to(torch.bfloat16)
    assert torch.equal(model.every(7).log_snr, before)


# Chains of any number of steps.


@pytest.mark.parametrize("steps", [2, 5, 12, 40])
def test_the_chain_of_any_number_of_steps_is_the_closed_form_of_the_untrained_network(steps):
    """L_T and the sum of L_{t-1}. Kills: steps kept out of the T of the recipe."""
    model = built(vdm()).every(steps)
    levels = data.load("digits:test").levels[0]
    log_snr = torch.linspace(FIRST, LAST, steps, dtype=torch.float64)
    bent = model.log_snr[1:]
    assert steps == model.T
    assert bent[[0, -1]].tolist() == pytest.approx([FIRST, LAST], rel=1e-6)
    assert float((bent - log_snr).abs().max()) < 1.5  # it starts nearly even
    chain = Betas(torch.sigmoid(bent).numpy())
    want = closed_form(chain, chain.variance("small"), *reading("v", chain, 0, 0), levels, 17)
    got = through_the_model(model, levels)
    assert got[:2] == pytest.approx(want[:2], rel=1e-9)


def test_one_step_is_refused_and_so_is_a_limit_of_a_chain(run):
    with pytest.raises(BadInput, match="at least 2 steps; got T = 1"):
        built(vdm()).every(1)
    with pytest.raises(BadInput, match="digits is no model in continuous time"):
        formats.load(run).in_the_limit()
    with pytest.raises(BadInput, match="has none to keep"):
        built(vdm()).in_the_limit().every(3, "even")


def test_steps_kept_of_a_chain_are_steps_of_it():
    """With a spacing. Kills: a spacing that is dropped in silence."""
    model = built(vdm())
    kept = model.every(3, "even")
    torch.testing.assert_close(kept.log_snr[1:], model.log_snr[[4, 8, 12]], rtol=1e-12, atol=0)


def test_the_bound_of_t_steps_falls_to_the_limit():
    """Through the model, for the untrained network, by halves as T - 1 doubles.

    Kills: a limit along another curve than the chains'.
    """
    model, levels = built(vdm()), data.load("digits:test").levels[3]
    limit = closed_limit(levels[None])[0]
    excess = [through_the_model(model.every(n + 1), levels)[1] - limit for n in (64, 128, 256, 512)]
    assert all(value > 0 for value in excess)
    ratios = [before / after for before, after in pairwise(excess)]
    assert all(1.9 < ratio < 2.1 for ratio in ratios), ratios


# The limit.


def closed_limit(levels):
    """L_inf of each image under the untrained network."""
    x = levels.flatten(1).double() / 8 - 1
    ends = torch.tensor([FIRST, LAST], dtype=torch.float64)
    alpha_bar, spread = torch.sigmoid(ends), softplus(ends)
    each = (x.square() - 1) * (alpha_bar[0] - alpha_bar[1]) + spread[0] - spread[1]
    return 0.5 * each.sum(1).numpy()


@pytest.mark.parametrize("mode", [{"budget": 4000}, {"exhaustive": True}, {"precision": 0.02}])
def test_the_limit_of_the_untrained_network_is_its_closed_form(images, mode):
    """|z| < 4 in every mode. Kills: a part of [0, 1] of the wrong width; one call as L_inf."""
    model = built(vdm()).in_the_limit()
    result = evaluate(model, images, **mode)
    assert result.model["time"] == "continuous"
    noise = result.terms["L_mid"][1]
    assert abs(noise.mean - closed_limit(images.levels).mean()) < 4 * noise.se
    prior = closed_form_prior(images.levels)
    assert result.terms["L_T"][0].mean == pytest.approx(prior.mean(), rel=1e-5)


def closed_form_prior(levels):
    x = levels.flatten(1).double() / 8 - 1
    alpha_bar = 1 / (1 + math.exp(-LAST))
    return 0.5 * (alpha_bar * (x.square() - 1) - math.log1p(-alpha_bar)).sum(1).numpy()


def test_the_limit_does_not_depend_on_the_curve_between_its_ends(images):
    """The same network along two curves and in parts of other sizes, |z| < 4; L_0 is equal.

    The T-step bounds along them differ, and lie above. Kills: a network told u.
    """
    choices = vdm(**{"chain.T": 6})
    state = stirred(choices)
    bent = copy.deepcopy(state)
    for name in ("a", "b", "c"):
        bent[f"log_snr.{name}"] += torch.tensor([2.0, -2.0, 3.0, -1.0])
    even, other = built(choices, state), built(choices, bent)
    along = torch.stack([even.log_snr[1:], other.log_snr[1:]])
    assert float((along[0] - along[1]).abs().max()) > 0.5
    assert along[0, 0] == along[1, 0]
    models = [even.in_the_limit(), other.in_the_limit(), other.every(40).in_the_limit()]
    result = [evaluate(m, images, budget=24_000, seed=s) for s, m in enumerate(models)]
    for a, b in pairwise(result):
        error = math.hypot(a.monte_carlo.se, b.monte_carlo.se)
        assert abs(a.monte_carlo.mean - b.monte_carlo.mean) < 4 * error
    for model, limit in zip((even, other), result, strict=False):
        stepped = evaluate(model, images, exhaustive=True).monte_carlo
        error = math.hypot(stepped.se, limit.monte_carlo.se)
        assert stepped.mean - limit.monte_carlo.mean > 4 * error


def test_the_answers_are_the_same_in_every_batch_size(images):
    """Kills: u drawn for a batch, not for an image."""
    model = built(vdm(), stirred(vdm())).in_the_limit()
    few, many = (evaluate(model, images, budget=960, batch_size=size) for size in (7, 500))
    np.testing.assert_allclose(few.per_image.total, many.per_image.total, rtol=1e-4)


def test_a_chain_and_its_limit_are_compared_on_the_same_noise(images):
    """The difference is far better known than either. Kills: a limit with noise of its own."""
    model = built(vdm(**{"chain.T": 200}), stirred(vdm(), scale=0.1))
    comparison = compare(model, model.in_the_limit(), images, budget=4800)
    assert comparison.estimator["paired"] == ["images", "times", "noise"]
    assert comparison.monte_carlo.se < 0.25 * comparison.b.monte_carlo.se


# The command line.


def test_the_command_line_measures_any_number_of_steps_and_the_limit(nelbo, vdm_run):
    def measured(*options):
        code, out, err = nelbo("evaluate", vdm_run, "--max-images", 8, *options, "--json", "-")
        assert code == 0, err
        return json.loads(out)

    assert measured("--budget", 80)["model"]["steps"] == 12
    assert measured("--budget", 160, "--steps", 30)["model"]["steps"] == 30
    limit = measured("--budget", 80, "--continuous")
    assert limit["model"]["time"] == "continuous"
    assert limit["model"]["schedule"]["name"] == "learned"
    code, out, err = nelbo("evaluate", vdm_run, "--max-images", 8, "--budget", 80, "--continuous")
    assert (code, "L_inf" in out) == (0, True), err
    code, _, err = nelbo("evaluate", vdm_run, "--continuous", "--steps", 3, "--spacing", "even")
    assert (code, err.count("\n")) == (2, 1)
    assert "exclude each other" in err
    code, _, err = nelbo("improve", vdm_run, "-o", vdm_run.parent / "better")
    assert (code, err.count("\n")) == (2, 1)
    assert "nothing to improve" in err


def test_a_run_is_sampled_inspected_and_derived(nelbo, vdm_run, tmp_path):
    """Every other command that takes a model. Kills: H38, a path that never runs."""
    code, _, err = nelbo("sample", vdm_run, "-n", 2, "-o", tmp_path / "s.npy", "--steps", 3)
    assert code == 0, err
    code, out, err = nelbo("inspect", vdm_run)
    assert code == 0, err
    assert "level-likelihood" in out
    code, out, err = nelbo("derive", vdm_run, "--steps", 3, "--images", 1, "--paths", 8)
    assert code == 0, err
