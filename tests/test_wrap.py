"""Any network by its own conventions: each one stated, each one changing what it should."""

import json
import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch import nn

import nelbo
from linear_bound import Betas, closed_form, reading, through_the_model
from nelbo.errors import BadInput
from nelbo.gaussian.schedule import linear
from nelbo.gaussian.variance import Tabulated, small

LEVELS = torch.arange(0, 256, 17).reshape(1, 4, 4)
BETAS = np.linspace(1e-4, 0.02, 1000)
CHOICES = {
    "schedule": {"name": "linear", "T": 1000},
    "predicts": "eps",
    "variance": "small",
    "time_input": "index",
    "shape": (1, 4, 4),
    "levels": 256,
}


class Affine(nn.Module):
    """u x_t + w, and halves of channels that say `fraction`; records the times it is told."""

    def __init__(self, u=0.5, w=0.25, extra=None):
        super().__init__()
        self.u, self.w = (nn.Parameter(torch.tensor(x, dtype=torch.float64)) for x in (u, w))
        self.drop = nn.Dropout(0.5)
        self.extra, self.times = extra, []

    def forward(self, x_t, t):
        assert len(x_t) == len(t)
        self.times.extend(t.tolist())
        output = self.drop(self.u * x_t + self.w)
        if self.extra is None:
            return output
        return torch.cat([output, torch.full_like(x_t, self.extra)], dim=1)


def wrap(network, **changes):
    return nelbo.wrap(network, **(CHOICES | changes))


def truth(predicts="eps", V="small", f=0.0, steps=None, betas=BETAS, u=0.5, w=0.25):
    chain = Betas.kept(betas, steps)
    return closed_form(chain, chain.variance(V, f), *reading(predicts, chain, u, w), LEVELS, 256)


@pytest.mark.parametrize("variance", ["small", "large", "learned-range"])
@pytest.mark.parametrize(
    ("predicts", "kind"),
    [("eps", "eps"), ("epsilon", "eps"), ("x_0", "x_0"), ("sample", "x_0"), ("v_prediction", "v")],
)
def test_the_bound_of_a_linear_network_is_its_closed_form(predicts, kind, variance):
    """Each term within 1e-10 in float64. Kills: H10, H11, H12, a prediction read as another."""
    extra = -0.5 if variance == "learned-range" else None
    model = wrap(Affine(extra=extra).eval(), predicts=predicts, variance=variance)
    expected = truth(kind, variance, 0.25)
    assert through_the_model(model, LEVELS) == pytest.approx(expected, rel=1e-10)
    assert model.facts["parametrization"] == kind


def test_a_learned_variance_is_the_output_itself():
    model = wrap(Affine(extra=0.5).eval(), variance="learned")
    V = np.full(1000, 0.5)
    chain = Betas.kept(BETAS)
    expected = closed_form(chain, V, *reading("eps", chain, 0.5, 0.25), LEVELS, 256)
    assert through_the_model(model, LEVELS) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("steps", [4, 10, 50])
def test_a_shorter_chain_is_the_closed_form_of_its_own_betas(steps):
    """Kills: H14 (variances or means of the full chain between kept steps)."""
    for variance in ("small", "large"):
        model = wrap(Affine().eval(), variance=variance).every(steps)
        kept = [-(-1000 * (i + 1) // steps) for i in range(steps)]
        expected = truth(V=variance, steps=kept)
        assert through_the_model(model, LEVELS) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize(
    ("time_input", "times"),
    [
        ("index", [0, 1, 2, 3, 4]),
        ("t", [1, 2, 3, 4, 5]),
        ("fraction", [0.2, 0.4, 0.6, 0.8, 1.0]),
        ("log-snr", None),
        (lambda schedule, t: schedule.beta[t], None),
    ],
)
def test_the_network_receives_each_time_once_by_its_convention(time_input, times):
    """Kills: H15 (t off by one, a step never taken or taken twice)."""
    network = Affine().eval()
    model = wrap(network, schedule={"name": "linear", "T": 5}, time_input=time_input)
    network.times.clear()
    x = torch.zeros(1, 1, 4, 4)
    for t in range(5, 1, -1):
        model.chain.p.step(x, torch.tensor([t]))
    model.chain.p.decoder(x)
    schedule = linear(5)
    table = schedule.log_snr if time_input == "log-snr" else schedule.beta
    expected = times or table[1:].tolist()
    assert network.times[::-1] == pytest.approx(expected, rel=1e-6)
    network.times.clear()
    short = model.every(2)  # keeps t = 3 and 5: told the times of the chain it was trained on
    short.chain.p.step(x, torch.tensor([2]))
    short.chain.p.decoder(x)
    if times is not None:
        assert network.times == pytest.approx([times[4], times[2]])


def test_a_network_of_t_below_T_is_the_sub_chain_of_these():
    """Trained on t = 1..T-1: the chain ends at T-1, and t = T is never asked. Kills: H15."""
    network = Affine().eval()
    model = wrap(network, steps=range(1, 1000), time_input="fraction")
    network.times.clear()
    expected = truth(steps=np.arange(1, 1000))
    assert through_the_model(model, LEVELS) == pytest.approx(expected, rel=1e-10)
    assert model.T == 999
    assert max(network.times) == pytest.approx(0.999)
    assert min(network.times) == pytest.approx(0.001)
    assert model.facts["sources"]["steps"]["value"] == "999 of 1..1000"


def test_every_task_asks_the_network_for_each_time():
    """Once for one image, L_0 as often as few numbers take: 100 draws over its 16 pixels.

    Kills: H15, a loop that never takes the last step, begins at the wrong one or repeats one.
    """
    network = Affine().eval()
    model = wrap(network, schedule={"name": "linear", "T": 20})
    image = LEVELS[None]
    for task, times in (
        (lambda: nelbo.sample(model, 1, check=False), [*range(20)]),
        (
            lambda: nelbo.evaluate(model, image, exhaustive=True, check=False),
            [*[0] * 6, *range(20)],
        ),
        (lambda: nelbo.loss(model, image.expand(40, -1, -1, -1)), [*range(20)] * 2),
    ):
        network.times.clear()
        task()
        assert sorted(network.times) == sorted(times)


def test_samples_are_of_the_distribution_that_is_measured():
    """All 64,000 pixels against the exact masses of p(x_0) by level; linear network, T = 4.

    Kills: H16 (sampler and bound of two models), H18 (a last step without its noise).
    """
    betas, n = [0.02, 0.1, 0.3, 0.6], 16
    model = wrap(Affine().eval(), schedule=betas, variance="large", levels=n)
    chain = Betas.kept(betas)
    A, B = reading("eps", chain, 0.5, 0.25)
    before = chain.a_prev
    onto = np.sqrt(before) * chain.beta / (1 - chain.a_bar)  # x0-hat's share of the mean
    kept = np.sqrt(1 - chain.beta) * (1 - before) / (1 - chain.a_bar)
    m, P, V = 0.0, 1.0, chain.variance("large")
    for t in reversed(range(4)):
        slope = onto[t] * A[t] + kept[t]
        m, P = slope * m + onto[t] * B[t], slope**2 * P + V[t]
    edges = np.linspace(-1, 1, n)[1:] - 1 / (n - 1)
    mass = np.diff(norm.cdf(edges, m, math.sqrt(P)), prepend=0, append=1)
    levels = nelbo.sample(model, 4000, seed=1)
    expected = mass * levels.numel()
    assert expected.min() > 20
    chi2 = ((np.bincount(levels.flatten(), minlength=n) - expected) ** 2 / expected).sum()
    assert abs(chi2 - (n - 1)) < 4 * math.sqrt(2 * (n - 1))


def test_a_network_that_works_in_place_is_measured_all_the_same():
    """Kills: an x_t that the network has changed before the posterior mean is taken of it, times
    that a person keeps and the network adds to.
    """
    kept = {}

    def network(x_t, t):
        t.add_(7)
        return x_t.mul_(0.5).add_(0.25)

    model = wrap(network, time_input=lambda schedule, t: kept.setdefault(tuple(t.tolist()), t))
    assert through_the_model(model, LEVELS) == pytest.approx(truth(), rel=1e-10)
    assert kept
    assert all(tuple(t.tolist()) == stated for stated, t in kept.items())


@dataclass
class Output:
    sample: torch.Tensor


@pytest.mark.parametrize("form", [lambda x: x, lambda x: (x, None), lambda x: [x], Output])
def test_outputs_in_tuples_and_objects_are_the_tensor_that_they_carry(form):
    def network(x_t, t):
        return form(0.5 * x_t + 0.25)

    assert through_the_model(wrap(network), LEVELS) == pytest.approx(truth(), rel=1e-10)


@pytest.mark.parametrize(
    "schedule",
    [linear(), "linear", {"name": "linear"}, BETAS.tolist(), torch.tensor(BETAS), BETAS],
    ids=["schedule", "name", "table", "list", "tensor", "array"],
)
def test_a_schedule_is_given_in_any_form(schedule):
    model = wrap(Affine(), schedule=schedule)
    assert float(model.chain.q.schedule.alpha_bar[-1]) == pytest.approx(np.prod(1 - BETAS))
    assert model.facts["schedule"]["T"] == 1000


def test_zero_terminal_snr_needs_v_or_x_0():
    """Kills: H24, both ways."""
    betas = [0.1, 0.5, 1.0]
    with pytest.raises(BadInput, match="eps prediction cannot give x_0 at zero terminal SNR"):
        wrap(Affine(), schedule=betas)
    model = wrap(Affine().eval(), schedule=betas, predicts="v")
    L_T, L_mid, L_0 = through_the_model(model, LEVELS)
    assert L_T == 0
    assert np.isfinite([L_mid, L_0]).all()


def test_clip_is_part_of_the_model():
    """Kills: H17 (a flag that is stored and not used), a range of its own lost."""
    bounds = []
    for clip, fact in ((None, False), (True, True), ((-3.0, 3.0), [-3.0, 3.0])):
        model = wrap(Affine().eval(), clip=clip)
        assert model.facts["clip"] == fact
        bounds.append(through_the_model(model, LEVELS)[1])
    assert len({round(bound, 3) for bound in bounds}) == 3


def test_sigma_data_is_recorded_with_its_source_on_a_chain_of_betas_too():
    """Kills: a default that changes the bound and that no report says; a scalar that is no JSON."""
    for given, value, source in ((None, 0.5, "default"), (np.float32(0.25), 0.25, "option")):
        sources = wrap(Affine(), predicts="edm-F", sigma_data=given).facts["sources"]
        want = {"value": value, "source": source, "changes_bound": True}
        assert json.loads(json.dumps(sources))["sigma_data"] == want
    assert "sigma_data" not in wrap(Affine()).facts["sources"]


def test_v_1_range_and_decoder_are_recorded_with_their_source():
    """Kills: H05, a default passed off as the user's word."""
    facts = wrap(Affine()).facts
    beta_1, beta_2 = BETAS[:2]
    tilde_2 = beta_2 * beta_1 / (1 - (1 - beta_1) * (1 - beta_2))
    assert facts["V_1"] == pytest.approx(tilde_2, rel=1e-9)
    assert facts["sources"]["V_1"]["source"] == facts["sources"]["range"]["source"] == "default"
    model = wrap(Affine(), V_1=1e-3, range=(0.0, 255.0))
    assert model.facts["V_1"] == 1e-3
    assert model.facts["sources"]["range"] == {
        "value": [0.0, 255.0], "source": "option", "changes_bound": True
    }  # fmt: skip
    assert float(model.x_0(LEVELS[None]).max()) == 255.0


def test_levels_are_a_prediction_with_its_own_decoder():
    model = wrap(lambda x_t, t: x_t.repeat(1, 17, 1, 1) * 0, predicts="levels", levels=17)
    assert model.facts["decoder"] == "levels"
    assert model.facts["V_1"] is None
    # nothing is known beside x_1, whose noise is small beside the lattice: L_0 is nearly 0
    assert through_the_model(model, LEVELS % 17)[2] < 1e-3
    with pytest.raises(BadInput, match=r"over the levels of the data, or density, .*got 'bins'"):
        wrap(Affine(), decoder="bins")
    with pytest.raises(BadInput, match="decoder density is for data that are real numbers"):
        wrap(Affine(), decoder="density")


def test_arguments_are_repeated_over_the_batch_where_they_are_tensors():
    """Kills: one label for the first image alone, a label in no digest."""
    seen = []

    def network(x_t, t, labels, states, scale, flag=None):
        seen.append((labels.tolist(), tuple(states.shape), flag))
        return x_t * scale

    arguments = {"labels": torch.tensor(3), "states": torch.zeros(7, 2), "scale": 0.5, "flag": None}
    model = wrap(network, arguments=arguments)
    model.chain.p.decoder(torch.zeros(4, 1, 4, 4))
    assert seen == [([3] * 4, (4, 7, 2), None)]
    facts = model.facts["network"]
    assert facts["arguments"] == {
        "labels": 3,
        "states": "tensor (7, 2)",
        "scale": 0.5,
        "flag": None,
    }
    other = wrap(network, arguments=arguments | {"labels": torch.tensor(4)})
    assert model.sha256() != other.sha256()
    with pytest.raises(BadInput, match="keyword's name; got 'a b'"):
        wrap(network, arguments={"a b": 1})


def test_the_weights_of_a_module_are_known_and_those_of_a_callable_are_not():
    """Kills: a digest of nothing that looks like one of the weights."""
    module, again = Affine(), Affine(w=0.5)
    assert wrap(module).sha256() != wrap(again).sha256()
    assert "weights_digest" not in wrap(module).facts["network"]
    assert wrap(module.forward).facts["network"] == {
        "name": "forward",
        "weights_digest": "of Affine, which the callable evaluates",
    }
    assert wrap(lambda x, t: x).facts["network"] == {
        "name": "<lambda>",
        "weights_digest": "none, a plain callable",
    }


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dropping", [True, False])
def test_a_wrapped_network_is_given_back_as_it_was(training, dropping):
    """Every part of it, by every task. Kills: H40, the mode of the whole given to its parts."""
    network = Affine().train(training)
    network.drop.train(dropping)
    model = wrap(network, schedule={"name": "linear", "T": 5})
    for use in (
        lambda: None,
        lambda: nelbo.evaluate(model, LEVELS[None], budget=40),
        lambda: nelbo.sample(model, 1),
        lambda: nelbo.derive(model, LEVELS[None], paths=2),
    ):
        use()
        assert (network.training, network.drop.training) == (training, dropping)


def test_dropout_is_off_while_a_network_in_training_is_measured():
    """Kills: H40. The figure is the one of the network in evaluation mode, to the last bit."""
    modes = (Affine().train(), Affine().eval())
    result = [nelbo.evaluate(wrap(network), LEVELS[None], budget=40) for network in modes]
    assert result[0].total.mean == result[1].total.mean


def test_evaluate_and_sample_take_a_wrapped_model():
    model = wrap(Affine().eval(), schedule={"name": "linear", "T": 100, "beta_T": 0.2})
    images = torch.randint(256, (10, 1, 4, 4), generator=torch.Generator().manual_seed(0))
    result = nelbo.evaluate(model, images, budget=4000)
    chain = Betas.kept(np.linspace(1e-4, 0.2, 100))
    A, B = reading("eps", chain, 0.5, 0.25)
    V = chain.variance("small")
    expected = np.mean([sum(closed_form(chain, V, A, B, x, 256)) for x in images])
    assert abs(result.total.mean - expected) < 4 * result.monte_carlo.se
    assert result.to_dict()["model"]["sources"]["predicts"]["value"] == "eps"
    assert nelbo.sample(model.every(5), 2).shape == (2, 1, 4, 4)


def test_the_users_own_loop_trains_the_users_own_network():
    network = Affine()
    nelbo.loss(wrap(network), LEVELS[None].expand(4, -1, -1, -1)).mean().backward()
    assert network.u.grad.isfinite()
    assert network.w.grad.abs() > 0


SUBCHAINS = {
    "from t = 2": (range(2, 13), lambda model: model),
    "every": (None, lambda model: model.every(5)),
    "of those that it knows": (range(2, 13), lambda model: model.every(4)),
    "twice": (None, lambda model: model.every(6).keeping([2, 3, 6])),
}


@pytest.mark.parametrize("name", SUBCHAINS)
@pytest.mark.parametrize(
    ("named", "function"),
    [
        ("index", lambda schedule, t: t - 1),
        ("t", lambda schedule, t: t),
        ("fraction", lambda schedule, t: t.double() / schedule.T),
        ("log-snr", lambda schedule, t: schedule.log_snr[t]),
    ],
)
def test_a_function_of_time_gives_the_original_times_in_every_subchain(named, function, name):
    """As the named form does. Kills: the sub-chain's own t, its schedule for the whole one."""
    steps, shorter = SUBCHAINS[name]
    received = []
    for time_input in (named, function):
        network = Affine()
        choices = {"schedule": {"name": "linear", "T": 12, "beta_T": 0.3}, "steps": steps}
        model = shorter(wrap(network, time_input=time_input, **choices))
        nelbo.evaluate(model, LEVELS, exhaustive=True)
        received.append(network.times)
    assert received[1] == pytest.approx(received[0], rel=1e-12)


def test_shape_and_levels_are_those_of_the_data():
    images = nelbo.data.load("digits:test").first(2)
    for data, levels in ((images, None), ("digits:test", None), (images.levels, 17)):
        model = wrap(Affine(), data=data, shape=None, levels=levels)
        assert (model.shape, model.grid.n) == ((1, 8, 8), 17)


def test_a_variance_may_be_any_function_of_the_schedule():
    """It is asked again for a sub-chain. Kills: H14 (a table of the full chain in a sub-chain)."""
    calls = []

    def mean_of_both(schedule):
        calls.append(schedule.T)
        table = (small(schedule, "beta_1").table * schedule.beta.clamp(min=0)).sqrt()
        return Tabulated("geometric", table)

    model = wrap(Affine().eval(), variance=mean_of_both).every(10)
    assert calls == [1000, 10]
    assert model.facts["variance"] == "geometric"
    assert model.facts["sources"]["V_1"]["changes_bound"] is False
    chain = Betas.kept(BETAS, [100 * i for i in range(1, 11)])
    V = np.sqrt(chain.beta * np.concatenate([chain.beta[:1], chain.tilde[1:]]))
    expected = closed_form(chain, V, *reading("eps", chain, 0.5, 0.25), LEVELS, 256)
    assert through_the_model(model, LEVELS) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"predicts": "logits"}, "predicts is one of eps, x_0, v, score.*got 'logits'"),
        ({"variance": "fixed"}, "variance is one of small, large.*got 'fixed'"),
        ({"time_input": "sigma"}, "time_input is one of index, t, log-snr, fraction.*'sigma'"),
        ({"schedule": "linea"}, "schedule is one of linear.*got 'linea'"),
        ({"schedule": {"name": "linear", "beta_0": 1}}, "schedule linear: .*beta_0"),
        ({"schedule": [0.1, 1.2]}, r"got beta\[2\] = 1.2"),
        ({"schedule": torch.ones(2, 2)}, r"a sequence beta_1..beta_T; got shape \(2, 2\)"),
        ({"shape": None}, "wrap needs shape=: give shape="),
        ({"levels": None}, "wrap needs levels=: give shape="),
        (
            {"data": "digits:test", "levels": None},
            r"shape is \(1, 4, 4\) and the images of .* are \(1, 8, 8\)",
        ),
        ({"levels": 1}, "at least 2 levels"),
        ({"range": (1.0, -1.0)}, "lo < hi"),
        ({"V_1": -1.0}, "V_1 must be positive"),
        ({"V_1": "beta"}, "V_1 is a number or one of"),
        ({"steps": [3, 2]}, "kept steps must increase"),
        ({"steps": [1, 1001]}, r"must increase within 1\.\.1000"),
        ({"decoder": "levels"}, "needs the levels parametrization"),
        ({"predicts": "levels", "V_1": 0.1}, "V_1 = 0.1 would change nothing"),
        ({"variance": "learned", "V_1": "beta_1"}, "V_1 = beta_1 would change nothing"),
        ({"variance": small, "V_1": 0.1}, "V_1 = 0.1 would change nothing"),
        ({"predicts": "levels", "clip": True}, "clip would change nothing"),
    ],
)
def test_a_wrong_choice_is_refused_in_one_line(changes, message):
    """Kills: H25, a choice guessed, one that is recorded and not used (H17)."""
    with pytest.raises(BadInput, match=message) as error:
        wrap(Affine(), **changes)
    assert "\n" not in str(error.value)


def test_a_network_of_the_wrong_kind_is_refused():
    """Kills: H06's neighbour, channels of another number taken as they come."""
    with pytest.raises(BadInput, match=r"wrap takes a callable .*; got a str"):
        wrap("runs/digits")
    x = torch.zeros(2, 1, 4, 4)
    for network, message in (
        (lambda x_t, t: x_t.repeat(1, 2, 1, 1), r"must give 1 channels .*got \(2, 2, 4, 4\)"),
        (lambda x_t, t: {"sample": x_t}, "must give a tensor, a tuple .*; got dict"),
        (lambda x_t, t: (), "must give a tensor, a tuple .*; got tuple"),
    ):
        with pytest.raises(BadInput, match=message):
            wrap(network).chain.p.decoder(x)


def test_every_convention_has_to_be_stated():
    """Kills: a default for what changes the bound and cannot be seen in the network."""
    for name in ("schedule", "predicts", "variance", "time_input"):
        with pytest.raises(BadInput, match=f"wrap needs {name}="):
            nelbo.wrap(Affine(), **{k: v for k, v in CHOICES.items() if k != name})
