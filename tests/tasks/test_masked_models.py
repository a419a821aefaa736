"""Masked models measured: one order exactly, any order as a bound."""

import json
import math
from itertools import combinations

import pytest
import torch
from torch import nn

import nelbo as package
from conftest import changed
from nelbo import recipe as recipes
from nelbo.categorical.orders import groups, read_order
from nelbo.cli.outputs import kind_of
from nelbo.data import as_images
from nelbo.errors import BadInput
from nelbo.model import in_any_order, in_order
from nelbo.report.page import Reported, page
from nelbo.results import rank
from nelbo.tasks.evaluate import evaluate
from nelbo.tasks.train import train

torch.set_num_threads(1)

SMALL = {"network.width": 8, "network.blocks": 1, "network.embedding": 4, "chain.schedule.T": 6}
TRAINED = {"training.steps": 2, "training.batch_size": 16, "training.learning_rate": 0.05}
LEVELS, SHAPE = 3, (1, 2, 2)
D = 4


class Table(nn.Module):
    """Logits of each pixel by all states of (x_t, t)."""

    def __init__(self) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(3)
        self.into = nn.Parameter(torch.randn(6, D, generator=draw))
        self.out = nn.Parameter(torch.randn(LEVELS * D, 6, generator=draw))

    def forward(self, x_t, t):
        hidden = torch.sin(x_t.flatten(1).float() @ self.into.T + t[:, None])
        return (hidden @ self.out.T).reshape(len(x_t), LEVELS, 2, 2)


@pytest.fixture(scope="module")
def masked():
    """A model of 2x2 pixels, which can be enumerated."""
    return package.wrap_categorical(
        Table(),
        transition="absorbing",
        schedule=[1 / (3 - t) for t in range(3)],
        time_input="fraction",
        levels=LEVELS,
        shape=SHAPE,
        sees="states",
    )


@pytest.fixture(scope="module")
def images():
    draw = torch.Generator().manual_seed(0)
    return as_images(torch.randint(0, LEVELS, (40, *SHAPE), generator=draw), n=LEVELS)


@torch.no_grad()
def cost(model, x, masked, of, time):
    """The sum over `of` of -log p(x_i | x outside `masked`), in nats, one call by hand."""
    states = x.flatten(1).clone()
    states[:, masked] = LEVELS
    t = torch.full((len(x),), time)
    logits = model.network(states.reshape(x.shape), t / 3.0)
    log_p = logits.log_softmax(1).flatten(2)
    return -log_p.gather(1, x.flatten(1)[:, None])[:, 0, of].double().sum(1)


@pytest.mark.parametrize("calls", [1, 2, 3, 4])
@pytest.mark.parametrize("name", ["raster", "dispersed", "random:5"])
def test_the_likelihood_of_an_order_is_that_of_calls_by_hand(masked, images, calls, name):
    """Kills: a call that sees its own group, the time of another count, L_0 left out."""
    order = read_order(name, SHAPE)
    model = in_order(masked, order, calls)
    result = evaluate(model, images)
    left, want = list(range(D)), torch.zeros(len(images), dtype=torch.float64)
    for part in groups(order, calls):
        time = max(1, round(len(left) / D * 3 - 1e-9))  # abar_t = 1 - t / 3
        want += cost(model, images.levels.long(), left, part.tolist(), time)
        left = [i for i in left if i not in part.tolist()]
    torch.testing.assert_close(result.per_image.total, want, rtol=1e-5, atol=0)
    assert result.network_evaluations == calls * len(images)
    assert result.half_width(result.monte_carlo) == 0
    assert result.to_dict()["kind"] == "likelihood"
    assert result.to_dict()["model"]["order"]["calls"] == calls
    assert result.estimator["name"] == "exact"


def test_an_exact_result_says_so_to_people_and_pages(masked, images):
    """Kills: a likelihood that is printed as a bound, or with a Monte Carlo interval."""
    result = evaluate(in_order(masked, read_order("dispersed", SHAPE), 2), images)
    assert "exact -log p in the order dispersed, 2 calls" in str(result)
    assert "Monte Carlo" not in str(result)
    assert "Exactly" in page(Reported(result))
    bound = evaluate(masked.in_the_limit(), images, budget=2000)
    assert bound.to_dict()["kind"] == "bound"
    assert "Monte Carlo" in str(bound)
    with pytest.raises(BadInput, match="are a bound and the exact likelihood"):
        rank([(one, None) for one in (result, bound)])


def test_the_limit_is_estimated_without_bias(masked, images):
    """The survey over counts against every subset, |z| < 4. Kills: 1 / t for the step's share."""
    model = masked.in_the_limit()
    assert model.T == D
    x, want = images.levels.long(), torch.zeros(len(images), dtype=torch.float64)
    for k in range(1, D + 1):
        time = max(1, round(k / D * 3 - 1e-9))
        for S in combinations(range(D), k):
            want += cost(model, x, list(S), list(S), time) / (k * math.comb(D, k))
    result = evaluate(model, images, budget=40 * 24)
    assert result.monte_carlo.se is not None
    assert abs(result.monte_carlo.mean - float(want.mean())) < 4 * result.monte_carlo.se


def test_groups_in_any_order_are_a_larger_bound(masked, images):
    """E of the chain of G calls is not below the limit's where positions depend on each other."""
    model = masked.in_the_limit()
    assert in_any_order(masked).every(2).chain.q.plan.counts.tolist() == [2, 4]
    assert model.every(2).facts["calls"] == 2
    with pytest.raises(BadInput, match="kept steps must increase"):
        model.keeping([2, 1])
    for counts in ([], [2, 2, 4], [0, 4]):
        with pytest.raises(BadInput, match="must increase from 1 on"):
            in_any_order(masked, counts)


def test_another_plan_has_its_own_facts_alone(masked):
    """Kills: the calls of any order in what a report says of one order, and the other way round."""
    order = read_order("raster", SHAPE)
    ordered = in_order(masked, order, 2)
    assert "calls" not in ordered.facts
    assert masked.in_the_limit().facts["calls"] == masked.dims
    assert in_order(masked.in_the_limit(), order, 2).facts == ordered.facts
    assert in_any_order(ordered).facts == masked.in_the_limit().facts


@pytest.fixture(scope="module")
def absorbing_run(tmp_path_factory):
    return train(
        changed("digits-absorbing", SMALL | TRAINED), tmp_path_factory.mktemp("runs") / "absorbing"
    )


def test_the_command_line_measures_an_order(absorbing_run, nelbo, tmp_path):
    """The same whatever the batch, with a table of images. Kills: an option that is passed over."""
    shown = ["--max-images", "7", "--json", "-"]
    order = tmp_path / "order.txt"
    order.write_text(" ".join(map(str, reversed(range(64)))))
    results = {}
    for name, calls, batch in (("dispersed", 8, 64), ("dispersed", 8, 5), (order, 3, 64)):
        code, out, err = nelbo(
            *("evaluate", absorbing_run, "--order", name, "--calls", calls),
            *("--batch-size", batch, *shown),
        )
        assert code == 0, err
        tree = json.loads(out)
        assert tree["kind"] == "likelihood"
        assert tree["network_evaluations"] == 7 * calls
        assert len(tree["per_step"]) == calls
        assert tree["ci95_monte_carlo"][0] == tree["ci95_monte_carlo"][1]
        results[name, batch] = tree["bits_per_dim"]
    assert results["dispersed", 64] == pytest.approx(results["dispersed", 5], rel=1e-6)
    code, out, _ = nelbo("evaluate", absorbing_run, "--calls", 4, "--budget", 200, *shown)
    assert code == 0
    assert json.loads(out)["kind"] == "bound"
    assert json.loads(out)["model"]["calls"] == 4


def test_the_command_line_measures_both_sides(absorbing_run, nelbo, tmp_path):
    """Kills: an option that is passed over; a result that is no file of its own kind."""
    path = tmp_path / "both.json"
    options = ("--orders", 2, "--calls", 4, "--max-images", 5, "--json", path)
    code, out, err = nelbo("evaluate", absorbing_run, *options)
    assert code == 0, err
    assert "one order" in out
    tree = json.loads(path.read_text())
    assert (tree["orders"], tree["calls"], tree["images"]) == (2, 4, 5)
    assert tree["network_evaluations"] == 2 * 2 * 4 * 5
    assert tree["from_above"]["bits_per_dim"] == tree["bits_per_dim"]
    assert tree["from_above"]["bits_per_dim"] < tree["single_orders"]["bits_per_dim"]
    assert kind_of(path) == "order_bounds"


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--orders", "2", "--precision", "0.1"], "there is no --precision"),
        (["--orders", "2", "--order", "raster", "--calls", "4"], "there is no --order"),
        (["--order", "raster"], "--order needs --calls"),
        (["--order", "raster", "--calls", "0"], "calls"),
        (["--order", "raster", "--calls", "65"], "65 calls are more than the 64 positions"),
        (["--order", "left-to-right", "--calls", "4"], "give raster"),
        (["--order", "none", "--calls", "4"], "none is no order and no file"),
        (["--order", "raster", "--calls", "4", "--budget", "9"], "leave --budget out"),
        (["--calls", "4", "--steps", "3"], "leave --steps and --continuous out"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(absorbing_run, nelbo, options, why):
    code, _, err = nelbo("evaluate", absorbing_run, *options)
    assert code == 2
    assert why in err


def test_other_chains_have_no_order(run, nelbo):
    """Kills: an order of a Gaussian chain."""
    code, _, err = nelbo("evaluate", run, "--order", "raster", "--calls", "4")
    assert code == 2
    assert "is no masked model" in err
    model = recipes.build(changed("digits-d3pm", {"network.width": 8}), (1, 8, 8), 17)
    with pytest.raises(BadInput, match="only an absorbing chain"):
        in_order(model, read_order("raster", (1, 8, 8)), 4)
    masked = recipes.build(changed("digits-absorbing", SMALL), (1, 8, 8), 17)
    with pytest.raises(BadInput, match="is of examples of shape"):
        in_order(masked, read_order("raster", (8, 8)), 4)


def test_an_embedding_is_of_the_states_of_a_categorical_chain():
    """Kills: an embedding of real numbers, one-hot channels where states are meant."""
    with pytest.raises(BadInput, match=r"network\.embedding is for the states"):
        recipes.build(changed("digits", {"network.embedding": 4}), (1, 8, 8), 17)
    model = recipes.build(changed("digits-absorbing", SMALL), (1, 8, 8), 17)
    assert model.chain.p.ids
    assert model.network.table.shape == (18, 4)
    assert model.T == 6
    assert float(model.chain.q.transition.log_alpha[-1]) == -math.inf
