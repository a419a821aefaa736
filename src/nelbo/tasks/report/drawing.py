"""What a model shows of itself on a page: samples, their way from noise, reconstructions."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from nelbo.bound.chain import constant_time
from nelbo.bound.noise import KeyedNoise
from nelbo.data import Images
from nelbo.errors import NonFinite
from nelbo.model import Denoiser, Model
from nelbo.model.spacing import evenly, evenly_in
from nelbo.networks.mode import evaluating, without_gradients
from nelbo.report.evaluation_plots import plots_of
from nelbo.report.page import Picture
from nelbo.results.result import Result
from nelbo.sampling.ancestral import ancestral
from nelbo.sampling.pictures import picture_sheet
from nelbo.types import Batch

__all__ = ["Drawing", "Progress", "extremes", "most_samples", "reconstructions", "samples"]

Progress = Callable[[int, int | None, str], None]

TIMES = 8  # of the chain that are shown
ROWS = 4  # images of a column
EXTREMES = 8  # easiest images, and hardest
PIXELS = 2**16  # of all samples together


@final
@dataclass(frozen=True)
class Drawing:
    """What is drawn: how many samples, None for as many as fit; by which seed and how many steps.

    steps: None for the model's own. drawn: called with the samples, as levels.
    """

    count: int | None = None
    seed: int = 0
    steps: int | None = None
    drawn: Callable[[Tensor], None] = lambda levels: None
    progress: Progress = lambda done, expected, text: None


def samples(
    model: Model, count: int, seed: int, progress: Progress
) -> tuple[Int64[Tensor, "N C H W"], list[Picture]]:
    """Ancestral samples as levels, and the first of them at chosen t of their way."""
    times, kept = {*_times(model), 0}, []
    levels = torch.empty(0)
    for t, x in ancestral(model, count, seed=seed):
        progress(model.T - t, model.T, "")
        if t in times:
            levels = _levels(model, x)
            picture = picture_sheet(levels[:ROWS], model.grid.n, 1)
            caption = f"t = {t:,}" if t else "x₀"
            alt = f"{len(levels[:ROWS])} samples on their way, {caption}"
            kept.append(Picture(picture, alt, (caption,)))
    return levels, kept


def most_samples(model: Model) -> int:
    """How many fit a page: 64, fewer of large images."""
    _, height, width = model.shape
    return max(4, min(64, PIXELS // (height * width)))


def reconstructions(model: Model, images: Images, result: Result, seed: int) -> list[Picture]:
    """x0-hat(x_t) of the first images at chosen t, with the rate there; last, the images.

    Raises:
        NonFinite: an x0-hat is NaN or infinite; the message names t and the images.
    """
    if not isinstance(model, Denoiser):
        return []
    some = images.first(min(ROWS, len(images)))
    x_0, noise = model.x_0(some.levels), KeyedNoise.of(seed, some.ids)
    p = model.chain.p.given(*model.condition_of(some))
    pictures = []
    with evaluating(model.network), without_gradients(model.device):
        for t in reversed(_times(model)):
            time = constant_time(t, x_0)
            x_t = model.chain.q.marginal(x_0, time).sample(noise.at(time))
            x_0_hat = model.x_0_hat(p, x_t, time)
            _require_finite(x_0_hat, t, some)
            guess = _levels(model, x_0_hat)
            alt = f"best guesses of {len(some)} images at t = {t}"
            png = picture_sheet(guess, model.grid.n, 1)
            pictures.append(Picture(png, alt, (f"t = {t:,}", *_rate(result, t))))
    png = picture_sheet(some.levels.long(), model.grid.n, 1)
    ids = ", ".join(str(i) for i in some.ids.tolist())
    return [*pictures, Picture(png, f"the images {ids} themselves", ("x₀",))]


def _require_finite(x_0_hat: Batch, t: int, images: Images) -> None:
    """Kept apart from what is drawn: a guess that is NaN would be a grey pixel.

    Raises:
        NonFinite: it is.
    """
    bad = ~x_0_hat.isfinite().flatten(1).all(1)
    if bool(bad.any()):
        ids = ", ".join(str(i) for i in images.ids[bad.cpu()].tolist())
        raise NonFinite(
            f"x0-hat is not finite at t = {t} for images {ids} of {images.name}: the network gave "
            "NaN or infinity"
        )


def extremes(
    images: Images, columns: Mapping[str, Tensor], key: str
) -> tuple[list[Picture], list[Picture]]:
    """(the easiest images, the hardest, each kind from its end on)."""
    values, place = columns[key], {int(i): k for k, i in enumerate(images.ids)}
    order = values.argsort(stable=True)
    count = min(EXTREMES, len(values) // 2) or len(values)

    def pictures(rows: Sequence[int]) -> list[Picture]:
        return [_single(images, place, int(columns["id"][r]), float(values[r])) for r in rows]

    return pictures(order[:count].tolist()), pictures(order.flip(0)[:count].tolist())


def _single(images: Images, place: Mapping[int, int], id: int, value: float) -> Picture:
    levels = images.levels[place[id]][None].long()
    png = picture_sheet(levels, images.n, 1)
    return Picture(png, f"image {id}, {value:.3f} per dimension", (f"{value:.3f}", f"#{id}"))


def _times(model: Model) -> list[int]:
    """Some t of 1..T, spread over log SNR where there is one, else over t."""
    count = min(TIMES, model.T)
    if model.log_snr is None:
        return sorted({1, *evenly(model.T, count)})
    return sorted({1, *evenly_in(model.log_snr[1:], count)})


def _levels(model: Model, x: Batch) -> Int64[Tensor, "N C H W"]:
    """The nearest level of each number; a state that is none, such as a mask, is half grey."""
    n, levels = model.grid.n, model.levels(x).cpu()
    if levels.is_floating_point():
        levels = levels.round()
    return torch.where(levels < n, levels, (n - 1) // 2).long()


def _rate(result: Result, t: int) -> tuple[str, ...]:
    """The rate there, where the result knows."""
    rate = plots_of(result).rate
    return () if rate is None else (f"{np.interp(t, rate.t, rate.rate):.2f} {result.unit.name}",)
