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
from nelbo.categorical.masked import seen
from nelbo.data import Images, Tokens
from nelbo.data.symbols import Alphabet
from nelbo.errors import NonFinite
from nelbo.model import Denoiser, Model
from nelbo.model.spacing import evenly, evenly_in
from nelbo.networks.mode import evaluating, without_gradients
from nelbo.report.evaluation_plots import plots_of
from nelbo.report.page import Picture, Pictures, Texts
from nelbo.results.evaluation import Evaluation
from nelbo.sampling.ancestral import ancestral
from nelbo.sampling.pictures import picture_sheet
from nelbo.sampling.texts import on_its_way
from nelbo.tasks.report.positions import positions_of, symbols_of
from nelbo.types import Batch, Grid

__all__ = [
    "Drawing",
    "Progress",
    "extremes",
    "most_samples",
    "pictures_of",
    "reconstructions",
    "samples",
]

Progress = Callable[[int, int | None, str], None]

TIMES = 8  # of the chain that are shown
ROWS = 4  # images of a column
EXTREMES = 8  # easiest images, and hardest
PIXELS = 2**16  # of all samples together
TEXTS = 4  # samples that are text


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


def pictures_of(
    model: Model,
    examples: Images | Tokens | None,
    columns: Mapping[str, Tensor] | None,
    result: Evaluation,
    drawing: Drawing,
    why_not: dict[str, str],
) -> Pictures:
    """What the model draws and what it makes of the examples; what is not there, why_not says."""
    positions = positions_of(model, examples, drawing.seed)
    symbols = symbols_of(model)
    if symbols is not None:
        why_not["reconstructions"] = "The examples are text: a best guess of it is no picture."
        written = _written(model, symbols, drawing, why_not)
        return Pictures(seed=drawing.seed, positions=positions, texts=written)
    if not isinstance(model.support, Grid) or len(model.shape) != 3 or model.shape[0] not in (1, 3):
        reason = "The data are no pictures of one or three channels, so there is nothing to see."
        if len(model.shape) == 1:
            reason = "The model does not say what its symbols are, so there is no text to see."
        why_not |= dict.fromkeys(("reconstructions", "extremes", "samples"), reason)
        return Pictures(positions=positions)
    images = examples if isinstance(examples, Images) else None
    grid, strip = _sampled(model, drawing, why_not)
    guesses = [] if images is None else reconstructions(model, images, result, drawing.seed)
    best, worst = (
        ([], [])
        if images is None or columns is None
        else extremes(images, columns, result.unit.key)
    )
    shown = 0 if images is None else min(ROWS, len(images))
    return Pictures(grid, strip, guesses, best, worst, shown, drawing.seed, positions)


def _sampled(
    model: Model, drawing: Drawing, why_not: dict[str, str]
) -> tuple[Picture | None, list[Picture]]:
    """(all samples in one picture, the first of them on their way)."""
    sampler, count = _sampler(model, drawing, why_not)
    if not count:
        return None, []
    levels, strip = samples(sampler, count, drawing.seed, drawing.progress)
    drawing.drawn(levels)
    side = max(1, round(len(levels) ** 0.5))
    alt = f"{count} samples from the model, in rows of {side}"
    return Picture(picture_sheet(levels, model.grid.n, side), alt), strip


def _written(model: Model, symbols: Alphabet, drawing: Drawing, why_not: dict[str, str]) -> Texts:
    """Samples of a text, and the first of them on its way."""
    sampler, count = _sampler(model, drawing, why_not)
    if not count:
        return Texts()
    levels, written = texts(sampler, symbols, count, drawing.seed, drawing.progress)
    drawing.drawn(levels)
    return written


def _sampler(model: Model, drawing: Drawing, why_not: dict[str, str]) -> tuple[Model, int]:
    """The chain that draws, and how many samples; why_not says where it is none."""
    count = most_samples(model) if drawing.count is None else drawing.count
    sampler = model if drawing.steps is None else model.every(drawing.steps)
    if count and sampler.infinite:
        why_not["samples"] = (
            "The model has infinitely many steps; samples are drawn by a chain of some: steps= in "
            "Python, --steps on the command line."
        )
        return sampler, 0
    return sampler, count


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


def texts(
    model: Model, symbols: Alphabet, count: int, seed: int, progress: Progress
) -> tuple[Int64[Tensor, "N L"], Texts]:
    """Ancestral samples as levels and as text, with the first of them at chosen t of its way."""
    times, way, n = {*_times(model), 0}, [], model.grid.n
    levels = torch.empty(0)
    for t, x in ancestral(model, count, seed=seed):
        progress(model.T - t, model.T, "")
        if t in times:
            levels = seen(model.levels(x)).cpu()
            way.append((f"t = {t:,}" if t else "x₀", on_its_way(levels[0].tolist(), n, symbols)))
    whole = [on_its_way(row, n, symbols) for row in levels.tolist()]
    return levels, Texts(whole, way if model.T > 1 else ())  # of one step there is no way


def most_samples(model: Model) -> int:
    """How many fit a page: 64, fewer of large images; of texts 4."""
    if len(model.shape) == 1:
        return TEXTS
    _, height, width = model.shape
    return max(4, min(64, PIXELS // (height * width)))


def reconstructions(model: Model, images: Images, result: Evaluation, seed: int) -> list[Picture]:
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


def _rate(result: Evaluation, t: int) -> tuple[str, ...]:
    """The rate there, where the result knows."""
    rate = plots_of(result).rate
    return () if rate is None else (f"{np.interp(t, rate.t, rate.rate):.2f} {result.unit.name}",)
