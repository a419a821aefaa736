"""Absorbing chains with random networks, small enough for laws, and their integer twins."""

import functools

import torch
from torch import nn

from nelbo.categorical.resampling import absorbing
from nelbo.categorical.reverse import PRIORS, TIME_INPUTS
from nelbo.coding import twin_of
from nelbo.data import Images
from nelbo.model import Settings, categorical_model
from nelbo.networks.embedded import Embedded
from nelbo.networks.logits import LowRankLogits
from nelbo.networks.resnet import ResNet
from nelbo.networks.unet import UNet
from nelbo.types import Grid


def float_model(seed=0, *, n=5, shape=(1, 4, 4), T=8, embedding=None, classes=None):
    """A chain over n levels whose network has random weights, its last layer too."""
    channels = shape[0]
    inputs = channels * (embedding or n + 1)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = ResNet(inputs, n * channels, width=8, blocks=1, dropout=0.0, classes=classes)
        made = made if embedding is None else Embedded(made, n + 1, embedding)
        for module in made.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=0.2)
                nn.init.normal_(module.bias, std=0.5)
    return chain_of(made, n, shape, T)


def chain_of(network, n, shape, T):
    """The absorbing chain of T steps over n levels with this network."""
    inside = network.network if isinstance(network, LowRankLogits) else network
    return categorical_model(
        network,
        absorbing([1 / (T - t + 1) for t in range(1, T + 1)], n + 1),
        prior=PRIORS["target"],
        time_input=TIME_INPUTS["fraction"],
        grid=Grid(n),
        shape=shape,
        name="toy",
        settings=Settings(schedule={"name": "betas", "T": T}, notes={"transition": "absorbing"}),
        ids=isinstance(inside, Embedded),
    )


def unet_model(seed=0, *, n=5, shape=(1, 8, 8), T=8, rank=None, embedding=None, **sizes):
    """Such a model with diffusers' U-Net, without attention unless `sizes` say otherwise."""
    channels = shape[0]
    inputs, outputs = channels * (embedding or n + 1), channels * (rank or n)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = UNet(inputs, outputs, shape[1], **{"widths": (8, 16), "middle": False, **sizes})
        nn.init.normal_(made.unet.conv_out.weight, std=0.2)
        nn.init.normal_(made.unet.conv_out.bias, std=0.5)
        made = made if embedding is None else Embedded(made, n + 1, embedding)
        made = made if rank is None else LowRankLogits(made, rank, n)
    return chain_of(made, n, shape, T)


def random_images(seed=0, count=32, *, n=5, shape=(1, 4, 4)):
    """Images of noise."""
    draw = torch.Generator().manual_seed(seed)
    return Images("toy", None, torch.randint(n, (count, *shape), generator=draw), n)


@functools.cache
def twin(seed=0, n=5, shape=(1, 4, 4), embedding=None):
    """The integer twin of such a model, with a short table of silu."""
    model = float_model(seed, n=n, shape=shape, embedding=embedding)
    return twin_of(model, random_images(seed, n=n, shape=shape), silu_entries=2**10)
