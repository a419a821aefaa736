"""Networks in the forms that people have: exported, frozen, quantised, of several dtypes."""

import copy

import pytest
import torch
from torch import nn

import nelbo
from nelbo.model import digest

SHAPE = (1, 4, 4)
IMAGES = torch.randint(0, 17, (9, *SHAPE), generator=torch.Generator().manual_seed(2))


class Net(nn.Module):
    """Has a dropout and a BatchNorm, which show its mode."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.first = nn.Conv2d(1, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(0.5)
        self.last = nn.Conv2d(4, 1, 3, padding=1)

    def forward(self, x, t):
        h = self.norm(self.first(x) + 0.01 * t.to(x.dtype)[:, None, None, None])
        return self.last(self.drop(torch.tanh(h)))


def wrap(network, time_input="index", **choices):
    return nelbo.wrap(
        network,
        schedule={"name": "linear", "T": 6},
        predicts="eps",
        variance="small",
        time_input=time_input,
        shape=SHAPE,
        levels=17,
        **choices,
    )


def measured(network, **choices):
    return nelbo.evaluate(wrap(network, **choices), IMAGES, budget=100, seed=3)


def inputs(count=2):
    return torch.zeros(count, *SHAPE), torch.zeros(count, dtype=torch.long)


def exported(network):
    rows = torch.export.Dim("rows", min=1, max=100_000)
    program = torch.export.export(network, inputs(3), dynamic_shapes=({0: rows}, {0: rows}))
    return program.module()


def scripted(network):
    return torch.jit.trace(network, inputs())


FORMS = {
    "torch.export": exported,
    "torch.jit.trace": scripted,
    "torch.jit.freeze": lambda network: torch.jit.freeze(scripted(network)),
    "a frozen part": lambda network: Around(torch.jit.freeze(scripted(network))),
    "an exported part": lambda network: Around(exported(network)),
}


class Around(nn.Module):
    def __init__(self, inside):
        super().__init__()
        self.inside = inside
        self.own = nn.Dropout(0.5)

    def forward(self, x, t):
        return self.own(self.inside(x, t))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("form", FORMS)
def test_a_network_without_a_mode_of_its_own_is_measured(form):
    """Kills: NotImplementedError of an exported graph's eval(), AttributeError of a frozen one."""
    network = Net().eval()
    made = FORMS[form](network)
    result = measured(made)
    assert result.total.mean == pytest.approx(measured(network).total.mean, rel=1e-5)
    assert nelbo.sample(wrap(made), 2).shape == (2, *SHAPE)


@pytest.mark.filterwarnings("ignore")
def test_the_weights_of_a_frozen_network_are_in_its_digest():
    """Kills: one digest, that of nothing, for all that torch.jit.freeze has made."""
    network, other = Net().eval(), Net().eval()  # a frozen module shares the memory of its own
    with torch.no_grad():
        other.last.bias.add_(1)
    first, again, second = (torch.jit.freeze(scripted(x)) for x in (network, network, other))
    assert digest(first) == digest(again)
    assert digest(first) != digest(second)


@pytest.mark.filterwarnings("ignore")
def test_a_network_exported_while_it_trained_is_refused():
    """Kills: the dropout of a graph that no eval() reaches, in a bound."""
    with pytest.raises(nelbo.BadInput, match="second time: dropout"):
        measured(exported(Net().train()))


class Flat(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.inside = nn.Sequential(nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, 16))

    def forward(self, x, t):
        return self.inside(x.flatten(1)).reshape(x.shape)


def quantised(network):
    kind = torch.ao.quantization.quantize_dynamic
    return kind(copy.deepcopy(network).eval(), {nn.Linear}, dtype=torch.qint8)


@pytest.mark.filterwarnings("ignore")
def test_quantised_weights_are_read_and_known():
    """Kills: AttributeError of a state that holds packed weights; one digest for all of them.

    Dynamic quantisation takes its scale from the whole batch, so that the check refuses it.
    """
    network = Flat()
    small = quantised(network)
    with pytest.raises(nelbo.BadInput, match="with the other images of its batch"):
        measured(small)
    model = wrap(small)
    result = nelbo.evaluate(model, IMAGES, budget=100, seed=3, check=False)
    assert result.total.mean == pytest.approx(measured(network).total.mean, rel=0.05)
    assert model.sha256() == wrap(quantised(network)).sha256()
    with torch.no_grad():
        network.inside[0].bias.add_(1)
    assert model.sha256() != wrap(quantised(network)).sha256()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_function_around_a_network_of_another_dtype_is_evaluated_in_it(dtype):
    """Kills: float32 images for weights that are not, since a function has no weights itself."""
    network = Net().eval().to(dtype)
    result = measured(lambda x, t: network(x, t))
    assert result.environment["dtype"] == str(dtype).removeprefix("torch.")
    assert result.total.mean == measured(network).total.mean


class Mixed(nn.Module):
    """Its first weights are of another dtype than those that meet the images."""

    def __init__(self, casts):
        super().__init__()
        self.casts = casts
        self.first = nn.Linear(1, 1).half()
        self.last = nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, x, t):
        return self.last(x.float() if self.casts else x)


def test_a_network_of_several_dtypes_works_or_is_refused_in_one_line():
    """Kills: a traceback of torch where the first weights decide for the others."""
    assert measured(Mixed(casts=True)).total.mean > 0
    with pytest.raises(nelbo.BadInput, match=r"in float16 .* weights are float16 and float32"):
        measured(Mixed(casts=False))


@pytest.mark.parametrize(
    "use", [lambda label: label.view(-1), lambda label: label.add_(1), lambda label: label.sqrt_()]
)
def test_an_argument_may_be_viewed_and_worked_on_in_place(use):
    """Its rows are its own. Kills: rows that share one memory, or the argument's own value."""
    label = torch.tensor([1.0, 4.0])
    again = label.clone()

    def network(x, t, label):
        shown = use(label).reshape(len(x), -1)
        return x * shown.mean(1)[:, None, None, None]

    first = nelbo.evaluate(wrap(network, arguments={"label": label}), IMAGES, budget=100)
    assert torch.equal(label, again)
    mean = use(label.clone()).mean()
    second = nelbo.evaluate(wrap(lambda x, t: x * mean), IMAGES, budget=100)
    assert first.total.mean == pytest.approx(second.total.mean, rel=1e-6)


class WantsReal(nn.Module):
    def __init__(self):
        super().__init__()
        self.time = nn.Linear(1, 1)

    def forward(self, x, t):
        return x * self.time(t[:, None])[:, :, None, None]


class WantsWhole(nn.Module):
    def __init__(self):
        super().__init__()
        self.time = nn.Embedding(7, 1)

    def forward(self, x, t):
        return x * self.time(t)[:, :, None, None]


def test_a_network_that_takes_other_times_learns_how_to_get_them():
    """Kills: torch's words about Long and Float, with exit code 1."""
    with pytest.raises(nelbo.BadInput, match=r"it takes real numbers as times: time_input a func"):
        measured(WantsReal())
    assert measured(WantsReal(), time_input=lambda schedule, t: (t - 1).float()).images == 9
    with pytest.raises(nelbo.BadInput, match="it takes whole numbers as times: time_input index"):
        measured(WantsWhole(), time_input="fraction")
    assert measured(WantsWhole()).images == 9


def test_what_a_network_raises_is_one_line():
    """Kills: a stranger's KeyError, without the shapes that would explain it."""

    def network(x, t):
        raise KeyError("images")

    with pytest.raises(nelbo.BadInput, match=r"fails on images \(1, 1, 4, 4\) in float32"):
        measured(network)


# Gradients.


class Score(nn.Module):
    """The gradient of an energy."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.energy = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 1))

    def forward(self, x, t):
        with torch.enable_grad():
            x.requires_grad_()
            return torch.autograd.grad(self.energy(x).sum(), x, create_graph=self.training)[0]


class Caching(nn.Module):
    """Keeps a table that it makes when it is first used."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.inside = nn.Conv2d(1, 1, 3, padding=1)
        self.angles = None

    def forward(self, x, t):
        if self.angles is None:
            self.angles = torch.linspace(0, 1, 4, dtype=torch.float32).cos()
        return self.inside(x) * self.angles


@pytest.mark.parametrize("around", [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_a_network_with_a_gradient_inside_is_measured(around):
    """Kills: inference mode, in which no gradient can be taken; also the caller's own."""
    network = Score()
    with around():
        result = measured(network)
        drawn = nelbo.sample(wrap(network), 2)
    assert result.total.mean > 0
    assert drawn.shape == (2, *SHAPE)


def test_a_table_that_is_kept_in_an_evaluation_serves_the_next_training_step():
    """Kills: 'Inference tensors cannot be saved for backward' one step after a validation."""
    for task in (
        lambda model: nelbo.evaluate(model, IMAGES, budget=100),
        lambda model: nelbo.sample(model, 2),
        lambda model: nelbo.compare(model, model, IMAGES, budget=200),
    ):
        network = Caching().train()
        model = wrap(network)
        task(model)
        nelbo.loss(model, IMAGES).mean().backward()
        assert network.inside.weight.grad.abs().sum() > 0
