"""A categorical network of anybody's, measured by its own conventions."""

import itertools
import math

import pytest
import torch
from torch import nn

import nelbo
from conftest import changed
from nelbo.categorical.dense import discretized_gaussian
from nelbo.categorical.resampling import absorbing, uniform
from nelbo.data import as_images
from nelbo.errors import BadInput
from nelbo.recipe import build

BETAS = [0.15, 0.3, 0.5]
ENDS = [0.15, 0.3, 1.0]
KERNELS = {
    "uniform": uniform(BETAS, 3, torch.float64),
    "absorbing": absorbing(ENDS, 4, torch.float64),
    "gaussian": discretized_gaussian(BETAS, 3, torch.float64),
}
P = torch.tensor([0.6, 0.3, 0.1], dtype=torch.float64)  # of the data, one pixel of 3 levels
PIXELS = as_images(torch.arange(3).reshape(3, 1, 1, 1), n=3)


def betas(name):
    return ENDS if name == "absorbing" else BETAS


def matrices(transition):
    """Q_1..Q_T of a transition, row by row."""
    every = torch.arange(transition.K)[None]
    rows = [transition.log_row(every, torch.tensor([t]))[0] for t in range(1, transition.T + 1)]
    return torch.stack(rows).double().exp()


class Prior(nn.Module):
    """log p(x_0) whatever x_t is, by which p_theta is exact; at t = 1 also log p(x_0 | x_1)."""

    def __init__(self, Q=None):
        super().__init__()
        self.Q, self.calls = Q, []

    def forward(self, x_t, t):
        self.calls.append((tuple(x_t.shape), t.tolist()))
        log_p = P.log().expand(len(x_t), 3)
        if self.Q is not None:
            state = x_t.reshape(len(x_t), -1).argmax(1)
            posterior = torch.log_softmax(log_p + self.Q[0][:3, state].log().T, 1)
            log_p = torch.where(t[:, None] == 1, posterior, log_p)
        return log_p[:, :, None, None].float()


def marginal(Q):
    """q(x_T) by the data's own law."""
    start = torch.cat([P, P.new_zeros(len(Q[0]) - 3)])
    return start @ torch.linalg.multi_dot([*Q, torch.eye(len(Q[0]), dtype=torch.float64)])


@pytest.mark.parametrize("decoder", ["posterior", "logits"])
@pytest.mark.parametrize("name", KERNELS)
def test_the_bound_of_the_exact_posterior_is_the_entropy(name, decoder):
    """-log p(x_0) for each x_0, since every term's KL adds up to it where p_theta = q.

    Kills: a kernel transposed, a step too many, a decoder of the other convention.
    """
    Q = matrices(KERNELS[name])
    network = Prior(Q if decoder == "logits" else None)
    ends = {"schedule": betas(name), "transition": name}
    for given in (ends, {"transition": Q}):
        model = nelbo.wrap_categorical(
            network, **given, time_input="t", shape=(1, 1, 1), levels=3,
            prior=marginal(Q), decoder=decoder,
        )  # fmt: skip
        bounds = exhaustive(model, draws=400)
        torch.testing.assert_close(bounds, -P.log(), rtol=2e-6, atol=0)


def exhaustive(model, draws):
    """L of each pixel by enumeration of x_1..x_T: sums over states with the chain's own laws."""
    chain, x_0 = model.chain, model.x_0(PIXELS.levels)
    K, T = chain.q.transition.K, model.T
    prior = chain.p.prior(x_0)
    L = chain.q.marginal(x_0, torch.full((3,), T)).kl(prior).double()
    for t in range(1, T + 1):
        times = torch.full((3,), t)
        weights = chain.q.marginal(x_0, times).log_probs.reshape(3, K).double().exp()
        for k in range(K):
            x_t = torch.full_like(x_0, k)
            if t > 1:
                term = chain.q.posterior(x_t, x_0, times).kl(chain.p.step(x_t, times))
            else:
                term = -chain.p.decoder(x_t).log_prob(x_0)
            L += torch.where(weights[:, k] > 0, weights[:, k] * term.double(), 0.0)
    return L


@pytest.mark.parametrize("name", ["uniform", "absorbing", "gaussian"])
def test_a_wrapped_network_is_the_model_that_a_recipe_builds(name):
    """Term by term, for the whole chain and a shorter one, in both forms of its channels."""
    chain = {"family": "categorical", "transition": "discretized-gaussian"}
    chain["transition"] = name if name != "gaussian" else "discretized-gaussian"
    chain["schedule"] = {"name": "betas", "betas": betas(name)}
    built = build(
        changed("digits-d3pm", {"chain": chain, "network.width": 8}),
        (1, 4, 4),
        5,
    )
    with torch.no_grad():
        for weight in built.network.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    images = as_images(torch.randint(0, 5, (6, 1, 4, 4)), n=5)
    network = built.network.eval()

    def of_states(x_t, t):
        hot = nn.functional.one_hot(x_t, 6 if name == "absorbing" else 5)
        output = network(hot.movedim(-1, 2).flatten(1, 2).float(), t)
        return output.unflatten(1, (1, 5)).movedim(2, -1)

    choices = {
        "transition": name,
        "schedule": betas(name),
        "time_input": lambda chain, t: 18 * chain.kept[t - 1].float() / chain.whole_T - 9,
        "shape": (1, 4, 4),
        "levels": 5,
    }
    models = [
        nelbo.wrap_categorical(network, **choices),
        nelbo.wrap_categorical(of_states, **choices, sees="states", logits="last"),
    ]
    for model, shorter in itertools.product(models, (False, True)):
        result, expected = (m.every(2) if shorter else m for m in (model, built))
        a, b = (nelbo.evaluate(m, images, exhaustive=True) for m in (result, expected))
        for term in ("L_T", "L_mid", "L_0"):
            assert a.terms[term][0].mean == pytest.approx(b.terms[term][0].mean, rel=1e-6)
    assert models[0].facts["transition"] == built.facts["transition"]


def test_the_network_gets_the_times_of_the_whole_chain():
    """Kills: the sub-chain's own t, a function called with the sub-chain."""
    for time_input, kept in (
        ("index", [0, 2]),
        ("t", [1, 3]),
        ("fraction", [1 / 3, 1.0]),
        (lambda transition, t: transition.kept[t - 1] * 10, [10, 30]),
    ):
        network = Prior()
        model = nelbo.wrap_categorical(
            network, transition="uniform", schedule=BETAS, time_input=time_input,
            shape=(1, 1, 1), levels=3, steps=[1, 3],
        )  # fmt: skip
        x = torch.zeros(1, 1, 1, 1, dtype=torch.int64)
        model.chain.p.decoder(x)
        model.chain.p.step(x, torch.tensor([2]))
        assert [t[0] for _, t in network.calls] == pytest.approx(kept)
        assert network.calls[0][0] == (1, 3, 1, 1)


def test_classes_and_conditions_reach_a_categorical_network():
    def call(x_t, t, y, shift):
        logits = torch.zeros(len(x_t), 3, 1, 1)
        logits[:, 0, 0, 0] = 3 * (y + shift)
        return logits

    model = nelbo.wrap_categorical(
        call, transition="uniform", schedule=BETAS, time_input="t", shape=(1, 1, 1), levels=3,
        classes=2, conditions=("shift",),
    )  # fmt: skip
    data = as_images(
        torch.zeros(4, 1, 1, 1, dtype=torch.int64),
        n=3,
        labels=[0, 1, 0, 1],
        conditions={"shift": torch.tensor([0.0, 0.0, 1.0, 1.0])},
    )
    total = nelbo.evaluate(model, data, exhaustive=True).per_image.total
    assert total[3] < min(total[1:3])
    assert max(total[1:3]) < total[0]
    assert nelbo.sample(model, 2, conditions={"shift": torch.zeros(2)}).shape == (2, 1, 1, 1)
    assert nelbo.inspect(model).settings["transition"].value == "uniform"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"transition": "mask"}, "transition must be one of uniform, absorbing, gaussian"),
        ({"transition": None, "schedule": None}, "needs transition="),
        ({"transition": torch.ones(2, 3, 3), "schedule": None}, "rows must be probabilities"),
        ({"transition": torch.eye(3), "schedule": None}, r"shape \(T, K, K\); got shape \(3, 3\)"),
        ({"transition": torch.eye(2)[None], "schedule": None}, "2 states has no place for 3"),
        ({"transition": torch.eye(3)[None]}, "has no betas: leave schedule out"),
        ({"schedule": None}, "transition uniform needs schedule="),
        ({"schedule": 3}, r"betas are a sequence|schedule is one of"),
        ({"transition": "absorbing"}, "which q\\(x_T \\| x_0\\) reaches|Let beta_T be 1"),
        ({"time_input": "log-snr"}, "time_input must be one of index, t, fraction"),
        ({"decoder": "levels"}, "decoder must be one of posterior, logits"),
        ({"sees": "ints"}, "sees must be one of one-hot, states"),
        ({"logits": "first"}, "logits must be one of channels, last"),
        ({"prior": "flat"}, "prior must be one of uniform, target"),
        ({"prior": [1.0, 2.0]}, r"the probabilities of 3 states; got shape \(2,\)"),
        ({"prior": [0.5, 0.2, 0.2]}, "add up to 1"),
        ({"levels": None}, "wrap needs levels="),
        ({"shape": (3,)}, r"shape is \(C, H, W\)"),
        ({"network": "x"}, "wrap takes a callable"),
        ({"classes": "x"}, "classes must be a whole number"),
        ({"conditions": 3}, "conditions are the names of the network's keywords"),
        ({"steps": [3, 1]}, "kept steps must increase"),
    ],
)
def test_a_wrong_choice_is_refused_in_one_line(changes, message):
    choices = {
        "network": Prior(),
        "transition": "uniform",
        "schedule": BETAS,
        "time_input": "t",
        "shape": (1, 1, 1),
        "levels": 3,
    }
    with pytest.raises(BadInput, match=message) as refused:
        nelbo.wrap_categorical(**(choices | changes))
    assert "\n" not in str(refused.value)


def test_a_network_without_time_is_called_without_it():
    """Term by term as one that takes the time and passes it over. Kills: a time that is made up."""
    images = as_images(torch.arange(5 * 16).reshape(5, 1, 4, 4) % 5, n=5)
    of_states = nn.Sequential(nn.Embedding(6, 5), nn.Linear(5, 5))
    choices = {"transition": "absorbing", "schedule": betas("absorbing"), "shape": (1, 4, 4)}
    choices |= {"levels": 5, "sees": "states", "logits": "last"}
    without = nelbo.wrap_categorical(of_states, time_input=None, **choices)
    passed_over = nelbo.wrap_categorical(lambda x, t: of_states(x), time_input="index", **choices)
    a, b = (nelbo.evaluate(m, images, exhaustive=True) for m in (without, passed_over))
    assert a.total.mean == b.total.mean
    assert without.facts["time_input"] is None
    assert without.sha256() == passed_over.sha256()


def test_two_chains_of_matrices_have_two_names():
    """Kills: a record of one kernel that goes on under another."""
    names = set()
    for name in ("uniform", "gaussian"):
        model = nelbo.wrap_categorical(
            Prior(), transition=matrices(KERNELS[name]), time_input="t", shape=(1, 1, 1), levels=3
        )
        names.add(model.facts["transition"])
        assert model.facts["schedule"] == {"name": "matrices", "T": 3}
    assert len(names) == 2
    assert math.isclose(float(P.sum()), 1)
