"""The integer twin of a network, made after training: no weight is trained again."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from jaxtyping import Float64
from torch import Tensor, nn
from torch.nn.functional import one_hot, silu

from nelbo.categorical.masked import nearest_times, survival
from nelbo.categorical.resampling import Resampling
from nelbo.categorical.reverse import CategoricalReverse
from nelbo.data import Images
from nelbo.errors import BadInput
from nelbo.model import Model, has_positions, with_network
from nelbo.networks.embedded import Embedded
from nelbo.networks.integers import (
    PER_NAT,
    Convolution,
    IntegerBlock,
    IntegerResNet,
    Norm,
    Sizes,
    Twin,
    bits_of,
    inside_of,
    part,
)
from nelbo.networks.integers.arithmetic import LARGEST, UNIT, WIDE
from nelbo.networks.mode import evaluating, without_gradients
from nelbo.networks.resnet import Block, ResNet
from nelbo.typed_json import Json

__all__ = ["absorbing_chain", "require_codable", "twin_of"]

IMAGES = 256  # of the training data, from which ranges are taken
BATCH = 64
WEIGHT_BITS = 12
SILU = 2**15  # entries of its table
EXP = 22  # bits of the largest entry of the table of exp
ROOM = 1.5  # the declared range of a sum between blocks, over the largest that was observed


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
    twin.times.copy_(bits_of(times))
    counts = range(1, model.dims + 1)
    twin.rows.copy_(nearest_times(survival(chain), counts, model.dims) - 1)
    fall = torch.arange(sizes["exp"], dtype=torch.float64) / PER_NAT
    twin.exp.copy_((2**EXP * torch.exp(-fall)).round())
    with evaluating(network), without_gradients(model.device):
        ranges = _observed(model, times, images, seed)
        _fill(twin, network, times, ranges, weight_bits)
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

    def keep(name: str, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
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


def _fill(
    twin: Twin, network: nn.Module, times: Tensor, ranges: dict[str, float], weight_bits: int
) -> None:
    half = len(twin.silu.values) // 2
    # bits behind the point of what enters silu: its table reaches past the largest observed
    point = min(UNIT + 1, math.floor(math.log2(half / (1.1 * max(ranges["silu"], 1e-6)))))
    out = point + LARGEST.bit_length() - (half - 1).bit_length()
    x = torch.arange(-half, half, dtype=torch.float64) / 2**point
    twin.silu.values.copy_((silu(x) * 2**out).round().clamp(max=LARGEST))
    fill = _Filling(point, 2.0**-out, weight_bits)
    entry = 1.0  # of ones and zeros
    if isinstance(network, Embedded):
        table = network.table.double()
        entry = float(table.abs().max()) / LARGEST
        twin.table.copy_((table / entry).round())
    _fill_resnet(fill, twin, part(ResNet, inside_of(network)), times, ranges, entry)


class _Filling:
    """Whole numbers for layers, given the table of silu: its input's point, its output's step."""

    def __init__(self, point: int, step: float, bits: int) -> None:
        self.point, self.step, self.bits = point, step, bits

    def convolution(
        self, whole: Convolution, real: nn.Conv2d, step: float, out: float, most: int = LARGEST
    ) -> None:
        """Weights and bias for inputs of this step, at most `most`; outputs of the step `out`."""
        weight = real.weight.double().cpu()
        largest = weight.abs().flatten(1).amax(1)
        per = torch.where(largest > 0, largest, 1.0) / (2 ** (self.bits - 1) - 1)
        whole.weight.copy_((weight / per[:, None, None, None]).round())
        assert real.bias is not None
        whole.bias.copy_((real.bias.double().cpu() / (per * step)).round())
        ratio = per * step / out
        reach = (torch.tensor(whole.sums_below(most), dtype=torch.float64) * ratio).max()
        whole.shift.fill_(max(0, min(40, 61 - math.ceil(math.log2(max(float(reach), 1.0))))))
        whole.factor.copy_((ratio * 2.0 ** int(whole.shift)).round())

    def norm(
        self, whole: Norm, real: nn.GroupNorm, step: float, gain: Tensor, shift: Tensor
    ) -> None:
        """Rows of scales for inputs of this step: y gain + shift, to an index of silu's table."""
        whole.scale.copy_((gain.double() * 2.0 ** (self.point - UNIT + WIDE)).round())
        whole.offset.copy_((shift.double() * 2.0 ** (self.point + WIDE)).round())
        eps = real.eps * (whole.n / step) ** 2 * 4.0**whole.finer
        whole.eps.fill_(max(1, round(eps)))


def _fill_resnet(
    fill: _Filling,
    twin: Twin,
    real: ResNet,
    times: Tensor,
    ranges: dict[str, float],
    entry: float,
) -> None:
    """entry: the step of what the network gets."""
    whole = part(IntegerResNet, twin.body)
    names = ["enter", *(f"blocks.{i}" for i in range(len(real.blocks)))]
    step = ROOM * max(ranges[name] for name in names) / LARGEST  # of the sums between blocks
    fill.convolution(whole.enter, real.enter, entry, step, twin.most)
    condition = real.embed(times.float().to(real.enter.weight.device))
    for i, (mine, block) in enumerate(zip(whole.blocks, real.blocks, strict=True)):
        inner = ROOM * ranges[f"blocks.{i}.first"] / LARGEST
        _fill_block(fill, part(IntegerBlock, mine), part(Block, block), condition, step, inner)
    norm, last = part(nn.GroupNorm, real.leave[0]), part(nn.Conv2d, real.leave[2])
    fill.norm(whole.norm, norm, step, *_affine(norm))
    fill.convolution(whole.leave, last, fill.step, 1 / PER_NAT)


def _fill_block(
    fill: _Filling, whole: IntegerBlock, real: Block, condition: Tensor, step: float, inner: float
) -> None:
    """step: of the sums between blocks; inner: of what is between the two convolutions."""
    norm, first = part(nn.GroupNorm, real.first[0]), part(nn.Conv2d, real.first[2])
    fill.norm(whole.first_norm, norm, step, *_affine(norm))
    fill.convolution(whole.first, first, fill.step, inner)
    scale, shift = real.condition(condition).double().chunk(2, dim=1)
    gain, bias = _affine(real.norm)
    fill.norm(whole.second_norm, real.norm, inner, gain * (1 + scale), bias * (1 + scale) + shift)
    fill.convolution(whole.second, part(nn.Conv2d, real.second[2]), fill.step, step)


def _affine(norm: nn.GroupNorm) -> tuple[Float64[Tensor, "1 C"], Float64[Tensor, "1 C"]]:
    return norm.weight.double()[None], norm.bias.double()[None]
