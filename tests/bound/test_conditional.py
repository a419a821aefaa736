"""p_theta( . | c): each row's terms are those of the chain of its own c, whatever else is asked.

To the last bit, but for categorical chains: torch's softmax rounds otherwise in another batch.
"""

from functools import partial

import pytest
import torch

import labelled
from labelled import GRID, ByLabel, Tilted
from nelbo.bound.chain import Chain
from nelbo.bound.estimators import exhaustive, importance_weighted, one_time, term, trajectory
from nelbo.bound.noise import KeyedNoise
from nelbo.categorical import objective as categorical_objective
from nelbo.categorical.forward import CategoricalForward
from nelbo.categorical.resampling import uniform
from nelbo.derivation import sampled
from nelbo.gaussian import objective as gaussian_objective
from nelbo.gaussian.along import Between
from nelbo.gaussian.continuous import LevelLikelihood, training_loss
from nelbo.gaussian.decoder import Discretized
from nelbo.gaussian.log_snr import FixedLogSNR
from nelbo.gaussian.precise import InTheLimit
from nelbo.networks.batches import in_batches

LABELS = torch.tensor([1, 0, 0, 2, 1, 2, 0, 1])
TIMES = torch.tensor([4, 1, 3, 1, 1, 2, 4, 3])  # t = 1 and later ones of every class, mixed
NETWORKS = [Tilted(number) for number in range(3)]
NOISE = KeyedNoise.of(3, torch.arange(10, 18))
RNG = torch.Generator().manual_seed(1)
POINTS = torch.randint(GRID.n, (8, 1, 2, 2), generator=RNG)


def gaussian(network):
    return labelled.model_of(network, T=4).chain


def continuous(network, decoder):
    return labelled.continuous(network, FixedLogSNR(5.0, -4.0), decoder)


def categorical(network):
    q = CategoricalForward(uniform([0.1, 0.2, 0.3, 0.4], GRID.n, torch.float64))
    return Chain(q, labelled.categorical(network, q, GRID.n))


FAMILIES = {
    "gaussian": (gaussian, GRID.values(POINTS, torch.float64)),
    "likelihood-decoded": (
        lambda network: continuous(network, LevelLikelihood(GRID)).chain(4),
        GRID.values(POINTS, torch.float64),
    ),
    "categorical": (categorical, POINTS),
}


def each_class_alone(value_of, x_0, *rest):
    """value_of(network, condition, x_0, ...) of each class by itself, put back into place."""
    results = {}
    for label, network in enumerate(NETWORKS):
        rows = (label == LABELS).nonzero()[:, 0]
        own = [x.rows(rows) if isinstance(x, KeyedNoise) else x[rows] for x in rest]
        values = value_of(network, (), x_0[rows], *own)
        results |= dict(zip(rows.tolist(), values, strict=True))
    return torch.stack([results[row] for row in range(len(LABELS))])


ESTIMATORS = {
    "term": (term, True),
    "one time": (one_time, True),
    "every t": (exhaustive, False),
    "trajectory": (trajectory, False),
    "weighted": (partial(importance_weighted, paths=3), False),
}


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_estimate_of_a_row_is_that_of_its_own_class(family, estimator):
    """Kills: labels that stay where rows move, those of the first rows for all, those of other
    rows at t = 1, one label for all paths of a batch.
    """
    make, x_0 = FAMILIES[family]
    estimate, timed = ESTIMATORS[estimator]

    def value_of(network, condition, *arguments):
        return estimate(make(network).given(*condition), *arguments)

    arguments = (x_0, TIMES, NOISE) if timed else (x_0, NOISE)
    with torch.no_grad():
        together = value_of(ByLabel(*NETWORKS), (LABELS,), *arguments)
        alone = each_class_alone(value_of, *arguments)
    if family == "categorical":
        torch.testing.assert_close(together, alone, rtol=1e-13, atol=0)
    else:
        assert torch.equal(together, alone)
    assert not torch.equal(value_of(ByLabel(*NETWORKS), (LABELS.roll(1),), *arguments), together)


LOSSES = {
    "simple": (gaussian, gaussian_objective.simple_loss),
    "hybrid of levels": (categorical, partial(categorical_objective.hybrid_loss, weight=0.1)),
}


@pytest.mark.parametrize("loss", LOSSES)
def test_a_training_loss_of_a_row_is_that_of_its_own_class(loss):
    """Kills: a loss that asks the network without its condition, or with that of other rows."""
    make, losses = LOSSES[loss]
    x_0 = FAMILIES["categorical" if make is categorical else "gaussian"][1]

    def value_of(network, condition, *arguments):
        return losses(make(network).p.given(*condition), *arguments)

    with torch.no_grad():
        together = value_of(ByLabel(*NETWORKS), (LABELS,), x_0, TIMES, NOISE)
        alone = each_class_alone(value_of, x_0, TIMES, NOISE)
    torch.testing.assert_close(together, alone, rtol=1e-13, atol=0)


@pytest.mark.parametrize("decoder", [LevelLikelihood(GRID), Discretized(GRID)])
def test_continuous_time_is_given_its_condition_too(decoder):
    """Kills: a limit that forgets it, in the bound as in the training loss."""
    x_0, u = GRID.values(POINTS, torch.float64), torch.linspace(0.1, 0.9, 8, dtype=torch.float64)

    def loss(network, condition, *arguments):
        return training_loss(continuous(network, decoder).given(*condition), *arguments)

    def transition(network, condition, x_0, t, noise):
        model = continuous(network, decoder)
        chain = model.chain(6).given(*condition)
        limit = InTheLimit(model, Between(chain.q.schedule, model.log_snr))
        moment = limit.moment(t + 1, noise)
        x_t = limit.state(chain, x_0, moment, noise)
        return limit.transition(chain, x_0, x_t, moment)[0]

    with torch.no_grad():
        for value_of, place in ((loss, u), (transition, TIMES)):
            together = value_of(ByLabel(*NETWORKS), (LABELS,), x_0, place, NOISE)
            assert torch.equal(together, each_class_alone(value_of, x_0, place, NOISE))


@pytest.mark.parametrize("rows", [24, 512], ids=["few rows", "all t at once"])
def test_the_derivation_holds_given_a_condition_and_is_that_of_each_class(rows):
    """Two images of two classes: each line is the mean of the two classes' own.

    Kills: paths of one image asked with the label of another, all t of a batch with the labels of
    the first paths.
    """
    x_0, one = GRID.values(POINTS, torch.float64)[:2], torch.arange(2).split(1)
    chain = gaussian(ByLabel(*NETWORKS)).given(LABELS[:2])
    both = sampled(chain, x_0, NOISE.rows(torch.arange(2)), paths=16, rows=rows)
    alone = [
        sampled(gaussian(NETWORKS[LABELS[i]]), x_0[i], NOISE.rows(i), paths=16, rows=rows)
        for i in one
    ]
    exact = ("(4)", *(f"D{n}" for n in range(1, 12)))
    for place, row in enumerate(both.rows):
        if row.line.label in exact:
            mean = sum(v.rows[place].value for v in alone) / 2
            assert row.value == pytest.approx(mean, rel=1e-12)
    means = [sum(x) / 2 for x in zip(*(v.L_mid for v in alone), strict=True)]
    assert both.L_mid == pytest.approx(means, rel=1e-12)
    assert both.spread.relative < 1e-12


def test_without_a_condition_nothing_is_passed_and_nothing_is_copied():
    """Kills: an unconditional network that is told None, a condition that stays behind."""
    chain = gaussian(NETWORKS[0])
    assert chain.p.given() is chain.p
    assert chain.p.rows(torch.tensor([0])) is chain.p
    chain.given(LABELS)
    exhaustive(chain, FAMILIES["gaussian"][1], NOISE)  # Tilted takes x and t alone


def test_a_condition_of_other_rows_is_an_error_and_not_a_broadcast():
    """Kills: one label for a batch of many."""
    chain = gaussian(ByLabel(*NETWORKS)).given(LABELS[:1])
    with pytest.raises(ValueError, match="a condition of 1 examples for a batch of 8"):
        term(chain, FAMILIES["gaussian"][1], TIMES.clamp(min=2), NOISE)


def test_a_network_is_called_on_few_rows_with_their_own_labels():
    """Kills: labels that are not split with their rows."""
    network, x = ByLabel(*NETWORKS), GRID.values(POINTS, torch.float64)
    whole = network(x, TIMES, LABELS)
    with in_batches(network, 3):
        assert torch.equal(network(x, TIMES, LABELS), whole)
    assert torch.equal(network.labels[-1], LABELS[6:])
