"""The integer twin of a network, made after training: no weight is trained again."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from nelbo.categorical.masked import nearest_times, survival
from nelbo.categorical.resampling import Resampling
from nelbo.categorical.reverse import CategoricalReverse
from nelbo.data import Images
from nelbo.errors import BadInput
from nelbo.model import Model, has_positions, with_network
from nelbo.networks.integers import PER_NAT, Sizes, Twin, inside_of
from nelbo.networks.mode import evaluating, without_gradients
from nelbo.typed_json import Json

__all__ = ["absorbing_chain", "require_codable", "twin_of"]

IMAGES = 256  # of the training data, from which ranges are taken
BATCH = 64
WEIGHT_BITS = 12
SILU = 2**15  # entries of its table
EXP = 22  # bits of the largest entry of the table of exp


def twin_of(
    model: Model,
    images: Images,
    *,
    weight_bits: int = WEIGHT_BITS,
    silu_entries: int = SILU,
    seed: int = 0,
) -> Model:
    """The same chain with a network in whole numbers, whose logits differ by rounding alone.

    images: training data, of which the seed draws 256 and masks them, to see which ranges the
    activations need; a range that an image passes later is clipped, for whoever encodes and
    whoever decodes alike. weight_bits: of each weight, with its sign. silu_entries: of its table,
    an even number.

    Raises:
        BadInput: no absorbing chain; a network or a layer that has no form in whole numbers.
    """
    chain = absorbing_chain(model)
    network, transition = model.network, chain.q.transition
    assert chain.time_input is not None
    assert isinstance(transition, Resampling)
    times = chain.time_input(transition, torch.arange(1, transition.T + 1))
    sizes: Sizes = {
        "times": transition.T,
        "pixels": math.prod(model.shape[1:]),
        "positions": model.dims,
        "silu": silu_entries,
        "exp": 1 + math.ceil(PER_NAT * math.log(2 ** (EXP + 1))),
    }
    twin = Twin(network, sizes)
    counts = range(1, model.dims + 1)
    twin.rows.copy_(nearest_times(survival(chain), counts, model.dims) - 1)
    fall = torch.arange(sizes["exp"], dtype=torch.float64) / PER_NAT
    twin.exp.copy_((2**EXP * torch.exp(-fall)).round())
    with evaluating(network), without_gradients(model.device):
        twin.fill(network, _observed(model, times, images, seed), times, weight_bits)
    twin.check()
    about: dict[str, Json] = {
        "weight_bits": weight_bits,
        "images": min(IMAGES, len(images)),
        "data": images.name,
    }
    return with_network(model, twin.eval().to(model.device), integers=about)


def absorbing_chain(model: Model) -> CategoricalReverse:
    """p_theta of a chain that masks.

    Raises:
        BadInput: a model of text, or another chain, with the way to one.
    """
    p = model.chain.p
    if len(model.shape) == 1:
        raise BadInput(
            f"{model.name} is a model of text, and only images are coded: no transformer has an "
            "integer twin, without which another machine would decode another text"
        )
    if isinstance(p, CategoricalReverse) and has_positions(model) and p.time_input is not None:
        return p
    raise BadInput(
        f"{model.name} has no absorbing chain, and only such a chain is a code by itself: "
        "train one with chain.transition = absorbing, then nelbo improve --integers"
    )


def require_codable(model: Model) -> Twin:
    """The integer twin that the model's network is.

    Raises:
        BadInput: it is another network, with the way to a twin.
    """
    absorbing_chain(model)
    if not isinstance(model.network, Twin):
        raise BadInput(
            f"the network of {model.name} computes in floating point, which differs from one "
            "machine to another: make its integer twin by nelbo improve --integers MODEL -o TWIN"
        )
    return model.network


def _observed(model: Model, times: Tensor, images: Images, seed: int) -> dict[str, float]:
    """The largest magnitudes that the float network has on masked images, by where."""
    draw = torch.Generator().manual_seed(seed)
    some = images.subset(torch.randperm(len(images), generator=draw)[:IMAGES].sort().values)
    chain, n = absorbing_chain(model), model.grid.n
    left = survival(chain)
    t = torch.randint(len(left), (len(some),), generator=draw)
    chance = torch.rand(some.levels.shape, generator=draw)
    x_t = torch.where(chance >= left[t].reshape(-1, 1, 1, 1), n, some.levels.long())
    with _watched(inside_of(model.network)) as largest:
        for batch, at in zip(x_t.split(BATCH), t.split(BATCH), strict=True):
            states = (
                batch if chain.ids else one_hot(batch, n + 1).movedim(-1, 2).flatten(1, 2).float()
            )
            model.network(states.to(model.device), times[at].float().to(model.device))
    return largest


@contextmanager
def _watched(network: nn.Module) -> Iterator[dict[str, float]]:
    """Notes the largest magnitude of every layer's output, and of what enters each silu."""
    largest: dict[str, float] = {"silu": 0.0}

    def keep(name: str, module: nn.Module, inputs: tuple[Tensor, ...], output: object) -> None:
        if not isinstance(output, Tensor):  # what holds others may give them together
            return
        largest[name] = max(largest.get(name, 0.0), float(output.abs().max()))
        if isinstance(module, nn.SiLU) and output.ndim == 4:
            largest["silu"] = max(largest["silu"], float(inputs[0].abs().max()))

    hooks = [
        module.register_forward_hook(partial(keep, name))
        for name, module in network.named_modules()
    ]
    try:
        yield largest
    finally:
        for hook in hooks:
            hook.remove()
