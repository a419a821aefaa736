"""Which conventions a network was trained with, as far as its errors on data tell."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nelbo.arguments import flag, seed_of, shown
from nelbo.data import Examples
from nelbo.errors import BadInput, NonFinite
from nelbo.estimation import Processes, Progress, examine, measuring
from nelbo.formats import Pipeline, as_model
from nelbo.gaussian.on_path import OnPath
from nelbo.gaussian.yardstick import FEWEST, AffineFit
from nelbo.model import Denoiser, Model, examples_of
from nelbo.model.parts import schedule_of
from nelbo.networks.mode import evaluating, without_gradients
from nelbo.results.check import ModelCheck, Ranked, differing
from nelbo.results.context import environment
from nelbo.results.unit import Unit
from nelbo.tasks.check.rounds import (
    LAST,
    LIMIT,
    MOST,
    TRIED,
    USUAL,
    Rounds,
    blocks,
    lowest,
)
from nelbo.tasks.check.search import Candidate, Draws, Remembered
from nelbo.tasks.check.words import SCHEDULES, call_of, conventions, least_apart, stated_by
from nelbo.tasks.evaluate import evaluate
from nelbo.typed_json import Json, text_at, whole_at
from nelbo.types import Grid
from nelbo.wrapping import wrap
from nelbo.wrapping.stated import label_of

__all__ = ["check"]

FITTED = 512  # images that the affine function is fitted to
EACH = 20  # evaluations of an image whose warnings are looked for
KEPT = 24  # that a look at a network in company may take


def check(
    model: Model | str | Path | Pipeline | Callable[..., object],
    images: object,
    *,
    shape: tuple[int, ...] | None = None,
    levels: int | None = None,
    arguments: Mapping[str, object] | None = None,
    search: bool = True,
    seed: int = 0,
    progress: Progress = lambda done, expected, text: None,
) -> ModelCheck:
    """Whether a network is read as it was trained: its errors by what is stated, and by others.

    model: a model, whose stated conventions are held against those searched, or a network alone, of
    images of that shape and number of levels, for which the best are searched. Some 200 readings of
    predictions, schedules, paths, times, scales and ranges are compared at the same images and
    noise by half of the integral of SNR |x_0 - x0-hat|^2 over log SNR, in rounds of fewer readings
    and more images, by at most 10,000 network evaluations in all. images: as for `evaluate`; 64 are
    used, up to 128 where an interval is wide, and others fit the affine function that a denoiser
    should beat. arguments: what else a network is called with. search: False for the
    stated reading and its warnings alone.

    Clipping, variances and V_1 are choices of whoever measures, and are not searched. Stated words
    by which the network fails or gives NaN are warned of, if another reading gives numbers.

    Raises:
        BadInput: a network without shape or levels, no Gaussian model, a model of logits, whose
            output has one reading, fewer than 16 images, or a network that fails in every
            reading, or whose output depends on the other images of its batch or on chance;
            evaluating the stated model raises as `evaluate` does.
    """
    started = time.perf_counter()
    seed, search = seed_of(seed), flag("search", search)
    stated = _stated(model, search)
    about = _about(stated, shape, levels)
    network: Any = model if stated is None else _network(stated)
    remembered = Remembered(network)
    readings = _readings(remembered, stated, about, arguments) if search else []
    as_stated = None if stated is None else Candidate(stated_by(stated), stated)
    of_data = readings[0].model if stated is None else stated
    data = examples_of(of_data, images, seed)
    measured, others = _parted(data, seed)
    draws = partial(_draws, measured, of_data, seed)
    unit = Unit.of(of_data.support)
    per_dim = partial(unit.per_dim, dims=of_data.dims)
    with (
        _counted(stated, remembered) as made,
        evaluating(remembered),
        without_gradients(of_data.device),
    ):
        if stated is None and _gives_variances(readings[0], draws(range(1), 2), remembered):
            readings = _readings(remembered, stated, about, arguments, "learned-range")
        warnings = _warned(as_stated, measured, draws, bool(readings), seed)
        rounds = Rounds(
            draws, len(measured), remembered, lambda: LIMIT - KEPT - made(), per_dim, progress
        )
        ranked = rounds.told_apart(_rivals(rounds.halved(readings), as_stated, bool(readings)))
    if not ranked:
        (as_stated or readings[0]).require_finite()
    best = _simplest_first(ranked, as_stated, readings, per_dim)
    evaluations = made()
    if as_stated is None:
        evaluations += _in_company(_read(network, {**best[0].words, **about}, arguments), data)
    top = lowest(ranked)
    used = [draws(each, LAST) for each in blocks(len(top.part))]
    return ModelCheck(
        name=of_data.name,
        stated=None if as_stated is None else _stated_beside(as_stated, best, per_dim),
        best=[_ranked(each, top, per_dim) for each in best],
        affine=_affine(used, others.values, per_dim, of_data),
        call=call_of(best[0].words, about, arguments) if best else "",
        warnings=warnings,
        searched=len(readings),
        network_evaluations=evaluations,
        images=len(top.part),
        data={"name": data.name, "sha256": data.sha256, "images": len(data)},
        unit=unit,
        seed=seed,
        seconds=time.perf_counter() - started,
        environment=environment(of_data.device, of_data.dtype),
    )


def _draws(measured: Examples, model: Model, seed: int, images: range, snrs: int) -> Draws:
    """Of these images, as far as there are so many, at so many log SNRs."""
    part = measured.subset(range(images.start, min(images.stop, len(measured))))
    return Draws.of(part.values, model.condition_of(part), snrs, seed + images.start)


@contextmanager
def _counted(stated: Model | None, remembered: Remembered) -> Iterator[Callable[[], int]]:
    """Counts the rows that the network is called with, by the stated model and by the readings."""
    if stated is None:
        yield lambda: remembered.evaluations
        return
    rows = 0

    def count(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        nonlocal rows
        rows += len(inputs[0])

    handle = _network(stated).register_forward_pre_hook(count)
    try:
        yield lambda: rows
    finally:
        handle.remove()


def _warned(
    stated: Candidate | None,
    measured: Examples,
    draws: Callable[[range, int], Draws],
    searched: bool,
    seed: int,
) -> Sequence[str]:
    """What an evaluation by the stated words warns of, or that they give no number.

    searched: whether others are tried; without them what raises there is raised.
    """
    if stated is None:
        return []
    if searched:
        tried = draws(range(TRIED[0]), TRIED[1])
        stated.measure(tried)
        if not (stated.is_finite and stated.at_ends(tried)):
            return [f"no number by what is stated: {stated.trouble}"]
    few = measured.subset(range(min(USUAL, len(measured))))
    try:
        budget = EACH * len(few)
        return evaluate(stated.model, few, budget=budget, seed=seed, check=True).warnings
    except NonFinite as error:
        if not searched:
            raise
        return [f"no number by what is stated: {error}"]


def _in_company(model: Model, data: Examples) -> int:
    """Refuses a network whose output for an image is not its own, as `evaluate` does; its calls."""
    with measuring([model]):
        seen = examine([model], data, Processes(), True)
    return 0 if seen is None else whole_at(seen, "network_evaluations")


def _stated(model: object, search: bool) -> Model | None:
    """The model, or None of a network alone, of which nothing can be done but to search."""
    if isinstance(model, Model | str | Path) or hasattr(model, "scheduler"):
        given: Any = model
        return as_model(given)
    if not callable(model):
        raise BadInput(f"check takes a model or a network (x_t, time); got {shown(model)}")
    if not search:
        raise BadInput("a network alone states nothing: search must be True")
    return None


def _network(stated: Model) -> nn.Module:
    """The network itself, without what a path makes of (x_t, log SNR) for it."""
    own = stated.called
    return own.network if isinstance(own, OnPath) else own


def _about(
    stated: Model | None, shape: tuple[int, ...] | None, levels: int | None
) -> dict[str, Json]:
    """What every reading says of the data."""
    if stated is None:
        if shape is None or levels is None:
            raise BadInput("check of a network alone needs shape= (C, H, W) and levels=")
        return {"shape": shape, "levels": levels}
    if shape is not None or levels is not None:
        raise BadInput(f"{stated.name} is a model, which has its shape and levels: leave them out")
    if stated.log_snr is None or not isinstance(stated, Denoiser):
        raise BadInput(f"{stated.name} is no Gaussian model: its readings are not searched")
    if not isinstance(stated.support, Grid):
        return {"shape": stated.shape, "decoder": "density"}
    return {"shape": stated.shape, "levels": stated.support.n}


def _readings(
    network: Remembered,
    stated: Model | None,
    about: Mapping[str, Json],
    arguments: Mapping[str, object] | None,
    variance: str = "small",
) -> list[Candidate]:
    """What could be meant, each as a model; none where the output is of logits.

    variance: of a network alone.
    """
    if stated is not None:
        if stated.given:
            raise BadInput(
                f"{stated.name} is a model of p(x | {', '.join(stated.given)}), whose readings are "
                "not searched: search=False, --no-search, checks what is stated"
            )
        if stated.facts["parametrization"] == "levels":
            return []
        variance = str(stated.facts.get("variance"))
    T = 1000 if stated is None else stated.whole_T
    words = conventions(T, "levels" in about, variance if "learned" in variance else "small")
    name = label_of(None, network.network) if stated is None else stated.name
    clip = {"clip": True} if stated is not None and stated.facts["clip"] else {}
    schedules = {each: schedule_of(each, {"T": T}, f"schedule {each}") for each in SCHEDULES}

    def model(words: Mapping[str, Json]) -> Model:
        table = (
            {"schedule": schedules[text_at(words, "schedule", "name")]}
            if "schedule" in words
            else {}
        )
        given = {**words, **table, **about, **clip}  # a schedule once, for all that share it
        return _read(network, given, arguments, name)

    return [Candidate(each, model(each)) for each in words]


def _read(
    network: Callable[..., object],
    words: Mapping[str, object],
    arguments: Mapping[str, object] | None,
    name: str | None = None,
) -> Model:
    """The network as these words of `wrap` read it."""
    given: dict[str, Any] = dict(words)
    return wrap(network, **given, arguments=arguments, name=name)


def _gives_variances(reading: Candidate, few: Draws, network: Remembered) -> bool:
    """Whether the output has two numbers for each of x_t: the second is of V_t."""
    reading.measure(few)
    return network.channels == 2 * reading.model.shape[0]


def _parted(data: Examples, seed: int) -> tuple[Examples, Examples]:
    """(Those that are measured, others), in a random order: a folder may be sorted by class.

    Raises:
        BadInput: too few images.
    """
    if len(data) < 2 * FEWEST:
        raise BadInput(f"check needs at least {2 * FEWEST} images; {data.name} has {len(data)}")
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))
    measured = min(MOST, len(data) // 2)
    return data.subset(order[:measured]), data.subset(order[measured:])


def _rivals(left: Sequence[Candidate], stated: Candidate | None, searched: bool) -> list[Candidate]:
    """What the last round is of: without stated words that were tried and gave no number."""
    if stated is None or (searched and not stated.is_finite):
        return list(left)
    return [*left, stated]


def _stated_beside(
    stated: Candidate, best: Sequence[Candidate], per_dim: Callable[[float], float]
) -> Ranked:
    """What is stated beside the best of the others, or alone."""
    beside = [*best[:1], *([stated] if stated.is_finite else [])]
    return _ranked(stated, lowest(beside), per_dim)


def _ranked(one: Candidate, other: Candidate, per_dim: Callable[[float], float]) -> Ranked:
    """A reading beside another, paired by image; its part is that of the other and the difference.

    Where they have equal images, that is its own.
    """
    least = least_apart(one.words, other.words)
    if not one.is_finite:
        return Ranked(one.words, None, None, None, least, 0)
    difference, images = one.beside(other), len(one.above(other))
    half = difference.half_width()
    part = one.mean
    if images < len(other.part):
        part += other.mean - float(other.part[:images].mean())
    return Ranked(
        words=one.words,
        part=per_dim(part),
        above=per_dim(difference.mean),
        half=None if half is None else per_dim(half),
        least=least,
        images=images,
    )


def _simplest_first(
    ranked: Sequence[Candidate],
    stated: Candidate | None,
    readings: Sequence[Candidate],
    per_dim: Callable[[float], float],
) -> list[Candidate]:
    """Of readings that none is better than, the nearest to what is stated, or a chain's."""
    words = {} if stated is None else stated.words
    best = [one for one in ranked if one is not stated]
    tied = [one for one in best if all(_ranked(one, other, per_dim).tied for other in best)]
    if not tied:
        return best
    first = min(tied, key=lambda one: (len(differing(words, one.words)), readings.index(one)))
    return [first, *(one for one in best if one is not first)]


def _affine(
    draws: Sequence[Draws], others: Tensor, per_dim: Callable[[float], float], model: Model
) -> float | None:
    """The part of the bound of an affine function of x_t, fitted to other images."""

    def even(values: Tensor) -> Tensor:
        """On [-1, 1], as log SNR is counted."""
        support = model.support
        x = support.values(values.flatten(1).cpu(), torch.float64)
        if isinstance(support, Grid):
            x = 2 * (x - support.lo) / (support.hi - support.lo) - 1
        return x

    if len(others) < FEWEST:
        return None
    fit = AffineFit(even(others[:FITTED]).clone())  # which is changed, where points are themselves
    return per_dim(float(torch.cat([each.affine(fit, even(each.levels)) for each in draws]).mean()))
