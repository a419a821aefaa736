"""A network is measured alone: neither its company, its mode nor chance decides its answer."""

import copy
import functools
import itertools
import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import nelbo
from nelbo.tasks.improve import improve

SHAPE = (1, 4, 4)
IMAGES = torch.randint(0, 17, (12, *SHAPE), generator=torch.Generator().manual_seed(5))


class Net(nn.Module):
    """A convolution, told of t, with what a test puts in its place."""

    def __init__(self, middle=None, channels=4):
        super().__init__()
        torch.manual_seed(3)
        self.first = nn.Conv2d(1, channels, 3, padding=1)
        self.middle = nn.Identity() if middle is None else middle
        self.last = nn.Conv2d(channels, 1, 3, padding=1)

    def forward(self, x, t):
        h = self.middle(self.first(x) + 0.01 * t.to(x.dtype)[:, None, None, None])
        return self.last(torch.tanh(h))


def wrap(network, **choices):
    choices = {"time_input": "index", **choices}
    return nelbo.wrap(
        network,
        schedule={"name": "linear", "T": 10},
        predicts="eps",
        variance="small",
        shape=SHAPE,
        levels=17,
        **choices,
    )


def bound(model, **options):
    result = nelbo.evaluate(model, IMAGES, exhaustive=True, seed=1, **options)
    return result.total.mean


class BatchStandardised(nn.Module):
    def forward(self, x):
        return (x - x.mean()) / x.std()


class Attention(nn.Module):
    """Of the images of a batch to each other."""

    def forward(self, x):
        flat = x.flatten(1)
        weights = torch.softmax(flat @ flat.T / 4, dim=1)
        return (weights @ flat).reshape(x.shape)


class Counter(nn.Module):
    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        return x * (1 + 0.01 * self.calls)


class Once(nn.Module):
    """Keeps what it saw first."""

    mean = None

    def forward(self, x):
        if self.mean is None:
            self.mean = x.mean()
        return x - self.mean + (x.mean() if len(x) == 1 else 0)


class Always(nn.Module):
    """What a call gives, whatever the mode is."""

    def __init__(self, call):
        super().__init__()
        self.call = call

    def forward(self, x):
        return self.call(x)


def by_the_first_t(network):
    return lambda x, t: network(x, t[:1].expand(len(t)))


def by_the_mean_t(network):
    return lambda x, t: network(x, t.float().mean().expand(len(t)))


def by_the_size_of_the_batch(network):
    return lambda x, t: network(x, t) * (1 + 0.1 * len(x))


def seeded_inside(network):
    def call(x, t):
        torch.manual_seed(0)
        return network(x, t) + 0.1 * torch.randn_like(x)

    return call


def now_and_then(network):
    calls = itertools.count()
    return lambda x, t: network(x, t) * (math.nan if next(calls) % 2 else 1)


COMPANY = {
    "BatchNorm without statistics": lambda: Net(nn.BatchNorm2d(4, track_running_stats=False)),
    "batch statistics by hand": lambda: Net(BatchStandardised()),
    "attention across the batch": lambda: Net(Attention()),
    "the first t for all": lambda: by_the_first_t(Net()),
    "the mean t for all": lambda: by_the_mean_t(Net()),
    "a NaN of a row alone": lambda: Net(Always(lambda x: x * (1 if len(x) > 1 else math.nan))),
    "the size of the batch": lambda: by_the_size_of_the_batch(Net()),
    "functional batch norm in training": lambda: Net(
        Always(lambda x: F.batch_norm(x, None, None, training=True))
    ),
    "noise that is the same at every call": lambda: seeded_inside(Net()),
    "instance norm over the batch's reshape": lambda: Net(
        Always(lambda x: F.group_norm(x.reshape(1, -1, *x.shape[2:]), 1).reshape(x.shape))
    ),
}
CHANCE = {
    "functional dropout": lambda: Net(Always(lambda x: F.dropout(x, 0.2))),
    "noise": lambda: lambda x, t: torch.tanh(x) + 0.01 * torch.randn_like(x),
    "a counter": lambda: Net(Counter()),
    "a NaN at every other call": lambda: now_and_then(Net()),
}


@pytest.mark.parametrize("kind", COMPANY)
def test_a_network_whose_answer_depends_on_its_company_is_refused(kind):
    """Kills: a bound that is another one for each batch size, without a word."""
    with pytest.raises(nelbo.BadInput, match=r"for an image changes by .* with the other images"):
        nelbo.evaluate(wrap(COMPANY[kind]()), IMAGES, budget=60)


@pytest.mark.parametrize("kind", CHANCE)
def test_a_network_whose_answer_depends_on_chance_is_refused(kind):
    """Kills: a figure that is another one at every call."""
    with pytest.raises(nelbo.BadInput, match="same batch is evaluated a second time"):
        nelbo.evaluate(wrap(CHANCE[kind]()), IMAGES, budget=60)


def test_every_task_looks_at_the_network_first():
    """Kills: a task that measures or draws in silence what another one refuses."""
    alone, bad = wrap(Net()), wrap(Net(nn.BatchNorm2d(4, track_running_stats=False)))
    images = nelbo.data.as_images(IMAGES, n=17)
    tasks = [
        lambda: nelbo.compare(bad, alone, IMAGES, budget=200),
        lambda: nelbo.compare(alone, bad, IMAGES, budget=200),
        lambda: nelbo.sample(bad, 2),
        lambda: improve(bad, images, steps=4),
    ]
    for task in tasks:
        with pytest.raises(nelbo.BadInput, match="with the other images of its batch"):
            task()


def test_what_is_not_checked_is_reported_to_be_so():
    """Kills: a result that hides that its network was not looked at."""
    bad = wrap(Net(nn.BatchNorm2d(4, track_running_stats=False)))
    result = nelbo.evaluate(bad, IMAGES, budget=60, check=False)
    assert result.estimator["check"] is None
    assert "not checked" in str(result)
    good = nelbo.evaluate(wrap(Net()), IMAGES, budget=60)
    assert "not checked" not in str(good)
    seen = good.estimator["check"]
    assert seen["again"] == 0
    assert 0 <= seen["alone"] < 1e-5
    assert seen["limit"] == 1e-3
    both = nelbo.compare(bad, bad, IMAGES, budget=200, check=False)
    assert both.estimator["check"] is None
    assert "not checked" in str(both)
    assert nelbo.sample(bad, 2, check=False).shape == (2, *SHAPE)
    plan = improve(bad, nelbo.data.as_images(IMAGES, n=17), steps=4, check=False).plan
    assert plan["check"] == "none"


def test_the_calls_of_the_check_are_counted_apart():
    """Kills: 16 evaluations that a budget never allowed, or that a result does not tell."""
    rows = []
    network = Net()

    def counted(x, t):
        rows.append(len(x))
        return network(x, t)

    result = nelbo.evaluate(wrap(counted), IMAGES, budget=60)
    check = result.estimator["check"]["network_evaluations"]
    assert sum(rows) == result.network_evaluations + check
    assert result.network_evaluations <= 60
    rows.clear()
    nelbo.evaluate(wrap(counted), IMAGES, budget=60, check=False)
    assert sum(rows) == result.network_evaluations


def test_the_check_leaves_chance_as_it_was():
    """Kills: a training whose dropout is another one after an evaluation."""
    model = wrap(CHANCE["functional dropout"]())
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    with pytest.raises(nelbo.BadInput):
        nelbo.evaluate(model, IMAGES, budget=60)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_the_rounding_of_a_precision_is_no_company(dtype):
    """Kills: a limit that half precision's own rounding exceeds."""
    result = nelbo.evaluate(wrap(Net().to(dtype)), IMAGES, budget=60)
    assert result.estimator["check"]["limit"] == (1e-3 if dtype == torch.float64 else 2e-2)


# Modes and weights of what a callable reaches.

INSIDE = Net(nn.BatchNorm2d(4))
HOLDER = SimpleNamespace(net=INSIDE)


class Caller:
    """A callable object, with a method beside."""

    def __init__(self, network):
        self.network = network

    def __call__(self, x, t):
        return self.network(x, t)

    def predict(self, x, t):
        return self._inner(x, t)

    def _inner(self, x, t):
        return self.network(x, t)


class Slots:
    __slots__ = ("net",)

    def __init__(self, network):
        self.net = network

    def __call__(self, x, t):
        return self.net(x, t)


class Hidden(nn.Module):
    """Has its network in a list, where no part of a module is looked for."""

    def __init__(self, network):
        super().__init__()
        self.networks = [network]

    def forward(self, x, t):
        return self.networks[0](x, t)


class Property:
    def __init__(self, network):
        self._kept = {"ema": network}

    @property
    def network(self):
        return self._kept["ema"]

    def __call__(self, x, t):
        return self.network(x, t)


class ByName:
    def __init__(self, network):
        self.net_1 = network

    def __call__(self, x, t):
        return getattr(self, f"net_{len(x) - len(x) + 1}")(x, t)


def of_a_global(x, t):
    return INSIDE(x, t)


def of_an_attribute_of_a_global(x, t):
    return HOLDER.net(x, t)


def through_another_function(x, t):
    return of_a_global(x, t)


def nested(network):
    def outer():
        def inner(x, t):
            return network(x, t)

        return inner

    return lambda x, t: outer()(x, t)


def default_argument(network):
    def call(x, t, net=network):
        return net(x, t)

    return call


def keyword_default(network):
    def call(x, t, *, net=network):
        return net(x, t)

    return call


def decorated(network):
    @functools.wraps(network.forward)
    def call(x, t):
        return network(x, t)

    return call


def hooked(network):
    shell = nn.Identity()

    class Shell(nn.Module):
        def __init__(self):
            super().__init__()
            self.shell = shell

        def forward(self, x, t):
            self.t = t
            return self.shell(x)

    made = Shell()
    shell.register_forward_hook(lambda module, inputs, output: network(output, made.t))
    return made


WAYS = {
    "a closure": lambda network: lambda x, t: network(x, t),
    "a nested function": nested,
    "a default argument": default_argument,
    "a keyword's default": keyword_default,
    "functools.partial": lambda network: functools.partial(lambda net, x, t: net(x, t), network),
    "a keyword of functools.partial": lambda network: functools.partial(
        lambda x, t, net: net(x, t), net=network
    ),
    "a bound method": lambda network: Caller(network).predict,
    "a callable object": Caller,
    "a callable object with slots": Slots,
    "a module's method": lambda network: network.forward,
    "a list in a closure": lambda network: (lambda nets: lambda x, t: nets[0](x, t))([network]),
    "a dict in a closure": lambda network: (lambda nets: lambda x, t: nets["a"](x, t))(
        {"a": network}
    ),
    "a list of a module": Hidden,
    "a property": Property,
    "getattr": ByName,
    "a hook": hooked,
    "a decorated function": decorated,
    "torch.compile of a function": lambda network: torch.compile(
        lambda x, t: network(x, t), backend="eager"
    ),
    "an attribute": lambda network: (lambda held: lambda x, t: held.net(x, t))(
        SimpleNamespace(net=network, other=object())
    ),
    "a global": lambda network: of_a_global,
    "an attribute of a global": lambda network: of_an_attribute_of_a_global,
    "a function of a global": lambda network: through_another_function,
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("way", WAYS)
def test_a_module_inside_a_callable_is_put_into_eval_and_back(way):
    """Its statistics are used, and left as they were; its weights are in the digest.

    Kills: a BatchNorm in training mode that is measured with the batch's statistics, and changed.
    """
    network = INSIDE if "global" in way else Net(nn.BatchNorm2d(4))
    network.middle.running_var.fill_(3)
    network.train()
    before = {name: x.clone() for name, x in network.state_dict().items()}
    model = wrap(WAYS[way](network))
    bounds = bound(model)
    assert bounds == pytest.approx(bound(wrap(copy.deepcopy(network).eval())), rel=1e-6)
    assert all(torch.equal(x, before[name]) for name, x in network.state_dict().items())
    assert all(part.training for part in network.modules())
    digest = model.sha256()
    with torch.no_grad():
        network.last.bias.add_(1)
    assert model.sha256() != digest
    with torch.no_grad():
        network.last.bias.sub_(1)


def test_a_callable_is_looked_at_no_further_than_its_code_goes():
    """Kills: the weights of a pipeline's other networks in the digest of the one that is used."""
    used, other = Net(), Net()
    pipe = SimpleNamespace(unet=used, vae=other)
    model = wrap(lambda x, t: pipe.unet(x, t))
    parts = set(model.network.modules())
    assert used in parts
    assert other not in parts
