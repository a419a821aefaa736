"""A U-Net's twin is its network but for rounding, exact on every path, and its layers are held."""

import functools

import pytest
import torch
from twins import random_images, unet_model

from nelbo.categorical.orders import read_order
from nelbo.coding import OrderedCode, twin_of
from nelbo.errors import BadInput
from nelbo.networks.integers import Convolution, Norm, Twin, sizes_of

SMALL = {"rank": 4, "embedding": 3, "patch": 2}
WIDE = {"shape": (2, 8, 8), "widths": (8, 16, 16), "layers": 2}  # of one-hot states, no table


@functools.cache
def pair(small):
    """A network and its twin."""
    real = unet_model(3, **(SMALL if small else WIDE))
    return real, twin_of(real, random_images(3, 64, shape=real.shape))


def masked(model, count):
    """States of noise at every t, and t."""
    x = random_images(4, count, shape=model.shape).levels.long()
    hidden = torch.rand(x.shape, generator=torch.Generator().manual_seed(5)) < 0.5
    return torch.where(hidden, model.grid.n, x), torch.arange(count) % 8 + 1


@pytest.mark.parametrize("small", [True, False])
def test_log_probabilities_are_those_of_the_unet_but_for_rounding(small):
    """Logits of 1/256 nats are off by .001 on average by themselves; all else adds as much.

    Kills: skips in another order; a shift of the time, or a shortcut, that is left out; doubling
    after the convolution; zeros at one side of an image alone; a table's levels out of turn.
    """
    real, whole = pair(small)
    x_t, t = masked(real, 24)
    with torch.no_grad():
        wanted, result = real.chain.p.log_pi(x_t, t), whole.chain.p.log_pi(x_t, t)
    wanted, result = wanted[..., : real.grid.n], result[..., : real.grid.n]
    assert float(wanted.std()) > 0.5
    assert float((result - wanted).abs().mean()) < 0.003


@pytest.mark.parametrize("small", [True, False])
def test_a_unets_logits_are_the_same_bits_in_any_batch_on_any_path(small):
    """In float64 and int64, of all positions and of some. Kills: a sum that is not exact."""
    whole = pair(small)[1].network
    x_t, t = masked(pair(small)[0], 7)
    states = x_t if whole.ids else torch.nn.functional.one_hot(x_t, 6).movedim(-1, 2).flatten(1, 2)
    wanted = whole.logits(states, t - 1)
    again = [whole.logits(states[i : i + 1], t[i : i + 1] - 1) for i in range(7)]
    whole.kind = torch.int64
    try:
        exact = whole.logits(states, t - 1)
    finally:
        whole.kind = torch.float64
    assert torch.equal(torch.cat(again), wanted)
    assert torch.equal(exact, wanted)
    positions = torch.randperm(x_t[0].numel())[:11]
    by_position = wanted.reshape(7, x_t.shape[1], 5, -1).movedim(2, -1).flatten(1, 2)
    assert torch.equal(whole.logits_at(states, t - 1, positions), by_position[:, positions])


def test_every_layer_of_a_unet_is_held_against_its_declared_range():
    """Kills: a layer that is left out of the check, such as a shortcut or the table of logits."""
    real, whole = pair(True)
    state = whole.network.state_dict()
    other = Twin(real.network, sizes_of(state, real.shape))
    other.load_state_dict(state)
    checked = 0
    for name, module in whole.network.named_modules():
        for part, value in (("bias", 2**53), ("scale", -(2**63))):
            if isinstance(module, Convolution if part == "bias" else Norm):
                damaged = {key: x.clone() for key, x in state.items()}
                damaged[f"{name}.{part}"].view(-1)[-1] = value
                with pytest.raises(BadInput, match=f"the layer {module.layer} is not exact"):
                    other.load_state_dict(damaged)
                checked += 1
    assert checked == 8 * 4 + 5 + 2 + 4  # blocks, shortcuts, samplers; both ends and the table


def test_what_a_unets_twin_codes_it_decodes_in_another_batch():
    """Kills: logits of positions that differ from those that were coded."""
    whole = pair(True)[1]
    images = random_images(8, 6, shape=whole.shape)
    order = read_order("dispersed", whole.shape)
    coded = OrderedCode(whole, order, 4).encode(images.levels)
    again = OrderedCode(whole, order, 4, batch_size=1).decode(coded.contents)
    assert torch.equal(again, images.levels.long())
    assert float((coded.bits - coded.ideal).max()) < 8
    assert float((coded.likelihood - coded.ideal).abs().max()) < 1


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"middle": True}, r"the layer unet\.mid_block\.attentions\.0.*network\.middle = false"),
        ({"attention": (1,)}, r"the layer unet\.down_blocks\.1, which is AttnDownBlock2D"),
        ({"classes": 3}, "no integer twin of the layer label"),
    ],
)
def test_a_unet_of_other_layers_is_refused_by_their_name(sizes, message):
    """Kills: a layer that is passed over; a class that the decoder does not know."""
    with pytest.raises(BadInput, match=message):
        twin_of(unet_model(**SMALL, **sizes), random_images(shape=(1, 8, 8)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"resnet_time_scale_shift": "scale_shift"}, "resnet_time_scale_shift is scale_shift"),
        ({"act_fn": "gelu"}, r"down_blocks\.0\.resnets\.0\.nonlinearity, which is GELU"),
        ({"down_block_types": ("SkipDownBlock2D",) * 2}, "which is SkipDownBlock2D"),
        ({"downsample_padding": 0}, "downsample_padding is 0"),
    ],
)
def test_a_unet_of_other_settings_is_refused(settings, message):
    """Kills: a time, an activation or a border taken for those of the recipes."""
    model = unet_model()
    inside = model.network.unet
    model.network.unet = type(inside)(**{**inside.config, **settings})
    with pytest.raises(BadInput, match=f"no integer twin of .*{message}"):
        Twin(model.network, {"pixels": 64, "times": 8})
