"""digits-flow and digits-edm through the whole pipeline: recipe, loss, training, checkpoint, bound.

The untrained network is 0. Then x0-hat of a flow is z_t = (1 - t) x_0 + t eps itself, and that of
EDM's F is c_skip z: with x one number of the data the limits are sums over dimensions of

    flow: (x^2 + 1) [ln t - t],    edm: [ln s - ln(s^2 + d^2)/2 + (d^2 - x^2)/(2 (s^2 + d^2))]

between t, or s = sigma, at the two ends.
"""

import pytest
import torch
from scipy.special import ndtri

import nelbo
from conftest import changed, toml
from nelbo import data, formats, recipe
from nelbo.bound.chain import constant_time
from nelbo.bound.noise import KeyedNoise
from nelbo.errors import BadInput
from nelbo.tasks.train import train

torch.set_num_threads(1)
SMALL = {
    "network.width": 8,
    "network.blocks": 1,
    "network.dropout": 0.0,
    "training.steps": 2,
    "training.batch_size": 16,
    "training.warmup": 0,
    "training.learning_rate": 0.01,
}
NAMES = ("digits-flow", "digits-edm")


def small(name, **changes):
    return changed(name, SMALL | changes)


def built(choices, weights=None):
    return recipe.build(choices, (1, 8, 8), 17, weights)


def stirred(choices):
    """The recipe's model with a network that is not 0, in float64."""
    generator = torch.Generator().manual_seed(0)
    state = built(choices).network.state_dict()
    moved = {name: 0.3 * torch.randn(x.shape, generator=generator) for name, x in state.items()}
    model = built(choices, {name: state[name] + x for name, x in moved.items()})
    model.network.double().eval()
    return model


@pytest.fixture(scope="module")
def images():
    return data.load("digits:test").first(24)


# The recipe.


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_survives_its_own_toml(name, tmp_path):
    path = tmp_path / "r.toml"
    path.write_text(toml(small(name).model_dump()))
    assert recipe.read(path) == small(name)


def test_the_network_and_the_steps_are_those_of_the_control():
    """Kills: a comparison of two sizes, or of two trainings."""
    control = recipe.read("digits-ddpm")
    for name in NAMES:
        choices = recipe.read(name)
        assert (choices.network, choices.data) == (control.network, control.data)
        same = choices.training.model_copy(update={"log_sigma": None})
        assert same == control.training


FLOW, EDM = NAMES
CLASHES = [
    (FLOW, {"network.time_input": "t"}, "t is not for path chains: use log-snr"),
    (FLOW, {"training.objective": "hybrid"}, "hybrid is not for path chains"),
    (FLOW, {"chain.sigma_data": 0.5}, "sigma_data would change nothing"),
    (FLOW, {"chain.log_snr": [-9.0, 6.9]}, "log_snr -9..6.9 leaves the path flow"),
    (EDM, {"chain.log_snr": [6.9, -9.0]}, "leaves the path edm, which falls from 12.42"),
    (EDM, {"chain.sigma_data": None}, "sigma_data is missing: edm-F is made with it"),
    (EDM, {"training.objective": "bound"}, "log_sigma is where L_simple is taken on a path"),
    (EDM, {"training.log_sigma": [-1.2, 0.0]}, "deviation of ln sigma must be positive; got 0"),
    ("digits-ddpm", {"training.log_sigma": [-1.2, 1.2]}, "log_sigma is where L_simple is taken"),
]


@pytest.mark.parametrize(("name", "changes", "message"), CLASHES)
def test_choices_that_do_not_go_together_are_refused(name, changes, message):
    """Kills: a key that changes nothing and is taken."""
    choices = changed(name, changes)
    with pytest.raises(BadInput, match=message):
        recipe.objective(choices, built(choices))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("chain.path.data_at=2", "data_at is 0 or 1"),
        ("chain.path.sigma_max=3", "chain.path flow: unknown key sigma_max: it takes data_at"),
        ("chain.path.name=flaw", "chain.path.name: unknown value 'flaw': did you mean flow"),
        (
            "chain.parametrization=flow",
            "parametrization: unknown value 'flow': it is one of eps, x_0",
        ),
        ("chain.logsnr=[1,0]", "unknown key chain.logsnr: did you mean log_snr"),
    ],
)
def test_a_path_that_is_none_is_refused_when_the_recipe_is_read(change, message):
    with pytest.raises(BadInput, match=message):
        recipe.read(FLOW, [change])


# The losses.


def drawn(choices, model, rows=12):
    """The recipe's losses, and (x_0, eps, u) that they are made of."""
    levels = torch.randint(17, (rows, 1, 8, 8), generator=torch.Generator().manual_seed(0))
    x_0, noise = model.x_0(levels, torch.float64), KeyedNoise.of(3, torch.arange(rows))
    t = torch.arange(1, 1 + 83 * rows, 83)
    with torch.no_grad():
        result = recipe.objective(choices, model)(x_0, t, noise)
    place = noise.at(constant_time(0, x_0)).uniform(torch.empty(rows, 1))[:, 0]
    return result, x_0, noise.at(t).normal(x_0), (t - 1 + place) / 1000


def along(values):
    return values.reshape(-1, 1, 1, 1)


@pytest.mark.parametrize("log_sigma", [None, [0.0, 1.0]])
def test_the_loss_of_a_flow_is_the_squared_error_of_its_velocity(log_sigma):
    """At t uniform on [0, 1], or logit-normal, by this file's own formulas, to 1e-12.

    Kills: a velocity towards the noise's end; a loss at times even in log SNR.
    """
    choices = small(FLOW, **{"training.log_sigma": log_sigma})
    model = stirred(choices)
    result, x_0, eps, u = drawn(choices, model)
    t = u if log_sigma is None else torch.sigmoid(torch.from_numpy(ndtri(u.numpy())))
    z = (1 - along(t)) * x_0 + along(t) * eps
    with torch.no_grad():
        says = model.network.network.network(z, 2 * torch.log((1 - t) / t))
    assert torch.allclose(result, (says - (eps - x_0)).square().flatten(1).sum(1), rtol=1e-11)


def test_the_loss_of_edm_is_its_own():
    """lambda(sigma) |D - x_0|^2, ln sigma ~ N(-1.2, 1.2^2): Karras et al. 2022, table 1, by this
    file's own formulas. Kills: c_in of other data; a weight of |D - x_0|^2 left out; log SNR for
    sigma.
    """
    choices = small(EDM)
    model, d = stirred(choices), 0.75
    result, x_0, eps, u = drawn(choices, model)
    sigma = torch.exp(-1.2 + 1.2 * torch.from_numpy(ndtri(u.numpy())))
    s = along(sigma)
    both = s**2 + d**2
    y = x_0 + s * eps
    with torch.no_grad():
        F = model.network.network.network(y / both.sqrt(), -2 * sigma.log())
    D = d**2 / both * y + s * d / both.sqrt() * F
    expected = (both / (s * d) ** 2 * (D - x_0).square()).flatten(1).sum(1)
    assert torch.allclose(result, expected, rtol=1e-11)


# The bound.


def closed_form(name, x_0, first, last):
    """L_inf of the zero network, without clipping."""
    square, dims = x_0.double().square().flatten(1).sum(1), x_0[0].numel()
    t = torch.tensor([first, last], dtype=torch.float64)
    if name == FLOW:
        t = torch.sigmoid(-0.5 * t)
        return (square + dims) * (t.log() - t).diff()
    s, d = torch.exp(-0.5 * t), 0.75
    both = s**2 + d**2
    whole = dims * (s.log() - 0.5 * both.log() + d**2 / (2 * both)).diff()
    return whole - square * (1 / (2 * both)).diff()


@pytest.mark.parametrize("name", NAMES)
def test_the_limit_of_an_untrained_network_is_its_closed_form(name, images):
    """Kills: another path, or other ends, than the recipe says; the chain's bound for the limit."""
    model = built(small(name, **{"chain.clip": False}))
    result = nelbo.evaluate(model, images, budget=24 * 40, seed=1)
    expected = closed_form(name, model.x_0(images.levels), *recipe.read(name).chain.log_snr)
    mean, error = result.terms["L_mid"][1].mean, result.terms["L_mid"][1].se
    assert abs(mean - float(expected.mean())) < 4 * error
    assert error < 0.01 * mean
    assert result.model["time"] == "continuous"


# The pipeline.


@pytest.mark.parametrize("name", NAMES)
def test_a_run_is_trained_kept_and_measured(name, images, tmp_path):
    """Kills: a checkpoint without its path; a chain that is not that of its weights."""
    folder = train(small(name), tmp_path / "r")
    model = formats.load(folder)
    again = built(small(name), model.network.state_dict())
    result, same = (nelbo.evaluate(m, images, budget=240, seed=2) for m in (model, again))
    assert torch.equal(result.per_image.total, same.per_image.total)
    assert result.model["path"] == {FLOW: "flow", EDM: "edm"}[name]
    few = model.every(5)
    assert (few.T, few.facts["schedule"]["T"]) == (5, 5)
    assert nelbo.sample(few, 3, seed=0).shape == (3, 1, 8, 8)
    settings = nelbo.inspect(model).settings
    assert settings["path"].source == "recipe"
    assert nelbo.loss(model, images.levels).isfinite().all()
    better = nelbo.improve(model, data.load("digits:train").first(40), steps=4, candidates=12)
    assert better.model.T == 4
