"""A recipe for data of one's own: a network and a chain that fit their size, levels and number."""

import json
import math
from dataclasses import dataclass
from typing import final

from nelbo.data import Images

__all__ = ["fitted"]

SMALLEST = 16  # pixels a side from which a U-Net is worth its halvings
INSIDE = 16  # pixels a side, at most, that the U-Net works at: what a CPU trains in minutes
PATCHES = (1, 2, 4, 8, 16)
MANY_LEVELS = 64  # from which a table turns a few numbers a pixel into logits over the levels
STEPS, BATCH = 4000, 32  # of `mnist`
WORK = STEPS * BATCH * 28 * 28  # numbers that `mnist` is trained on: twenty minutes of one core
LEAST_BATCH = 8  # of fewer images the bound is too noisy to learn from
FEW_IMAGES = 5000  # below which dropout keeps the network from learning them by heart
HELD_OUT, MOST_HELD_OUT = 0.1, 500  # of the training images, by which the best weights are chosen
MEASURED = 4  # times during the training
LEAST_HELD_OUT = 8  # of fewer the bound says nothing


@final
@dataclass(frozen=True)
class _Sizes:
    """What decides how long a step takes."""

    network: str
    steps: int
    batch_size: int
    learning_rate: float


def fitted(
    name: str,
    train: str,
    test: str,
    images: Images,
    steps: int | None = None,
    measured: int = MEASURED,
) -> str:
    """The text of a recipe, as TOML, for these training images; train and test are data specs.

    The chain is that of `digits` and `mnist`, trained by the bound itself; log SNR starts where
    neighbouring levels are told apart. steps: of training, by default what those recipes have.
    measured: how often held-out images are, at most; 0 holds none out.
    """
    channels, height, width = images.levels.shape[1:]
    sizes = _sizes(channels, height, width, images.n)
    count = sizes.steps if steps is None else steps
    held_out = _held_out(len(images)) if measured else 0
    every = _every(count, measured) if held_out else 0
    held = f"held_out = {held_out}\nheld_out_every = {every}\n" if held_out else ""
    dropout = "dropout = 0.1\n" if len(images) < FEW_IMAGES else ""
    rank = "rank = 16 # numbers a pixel, which a learned table turns into logits over the levels\n"
    return f"""\
# {len(images):,} images of {height}x{width} pixels and {images.n} levels, trained by the bound.
name = {_quoted(name)}

[data]
train = {_quoted(train)}
test = {_quoted(test)}
levels = {images.n}

[chain]
parametrization = "levels" # the levels of the data are known exactly; the network adds a prior
variance = "small"
V_1 = "beta_1" # not used: the decoder is the level posterior at t = 1
decoder = "levels"
clip = {"true" if images.n >= MANY_LEVELS else "false"}

[chain.schedule]
name = "log-snr-linear"
T = 1000
first = {_first(images.n)} # here neighbouring levels are told apart
last = -9.0

[network]
{sizes.network}time_input = "log-snr"
{dropout}{rank if images.n >= MANY_LEVELS else ""}
[training]
objective = "bound"
steps = {count}
batch_size = {min(sizes.batch_size, len(images) - held_out)}
learning_rate = {sizes.learning_rate}
{held}seed = 0
"""


def _sizes(channels: int, height: int, width: int, n: int) -> _Sizes:
    """A U-Net where its halvings fit, on patches of pixels for larger images; else a small ResNet.

    The sizes are those of `digits` and `mnist`. A step costs as much as it has numbers, each to be
    weighed against every level: batches of larger images are smaller, then steps are fewer.
    """
    fits = [patch for patch in PATCHES if height % (2 * patch) == 0 and height // patch <= INSIDE]
    if height != width or height < SMALLEST or not fits:
        steps = 2400 if n < MANY_LEVELS else 4000
        return _Sizes('name = "resnet"\nwidth = 32\nblocks = 3\n', steps, 128, 4e-3)
    patch = f"patch = {fits[0]} # pixels a side that are one inside\n" if fits[0] > 1 else ""
    dims = channels * height * width
    batch = min(BATCH, max(LEAST_BATCH, WORK // (STEPS * dims)))
    steps = min(STEPS, max(1, WORK // (batch * dims)))
    return _Sizes(f'name = "unet"\n{patch}widths = [32, 64]\nlayers = 1\n', steps, batch, 2e-3)


def _every(steps: int, measured: int) -> int:
    """The last of them as near to the end as can be: the best weights are among those measured."""
    every = max(1, steps // measured)
    return every if steps // every <= measured else math.ceil(steps / measured)


def _held_out(count: int) -> int:
    share = min(MOST_HELD_OUT, int(HELD_OUT * count))
    return share if share >= LEAST_HELD_OUT else 0


def _first(n: int) -> float:
    """log SNR at which half a level is 3 standard deviations of the noise, 6 where levels are few.

    sigma = exp(-log SNR / 2) and a level is 2 / (n - 1); 13.3 for 256 levels, 9.2 for 17.
    """
    deviations = 3.03 if n >= MANY_LEVELS else 6.2
    return round(2 * math.log(deviations * (n - 1)), 1)


def _quoted(text: str) -> str:
    """A basic string of TOML."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
