"""A model of a diffusers folder, on whichever path its scheduler's config says."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from nelbo.errors import BadInput
from nelbo.formats.diffusers.folder import find, read_json
from nelbo.formats.diffusers.networks import read_network
from nelbo.formats.diffusers.path_scheduler import PathScheduler, read_path_scheduler
from nelbo.formats.diffusers.scheduler import Scheduler, read_scheduler
from nelbo.formats.foreign import Options, Parts, foreign_model
from nelbo.formats.foreign_path import foreign_path_model
from nelbo.model import Model
from nelbo.typed_json import Json

__all__ = ["any_scheduler", "load_foreign", "model_of"]


def load_foreign(
    path: Path, name: str, options: Options, weights: Literal["ema", "raw"] | None
) -> Model:
    """The model of a diffusers pipeline, model folder, or accelerate checkpoint.

    Raises:
        BadInput: what cannot be bounded, or is not specified and may not be guessed; a network that
            cannot take the images or times that its configs name.
    """
    folder = find(path, weights, options.scheduler)
    try:
        scheduler = any_scheduler(read_json(folder.scheduler), options)
    except BadInput as error:
        raise BadInput(f"{folder.scheduler}: {error}") from None
    network = read_network(
        folder.network,
        label=options.label,
        size=options.size,
        condition=options.condition,
        guidance=options.guidance,
        variant=options.variant,
    )
    return model_of(Parts(folder, network, name, options, weights, options.stated), scheduler)


def any_scheduler(raw: Mapping[str, Json], options: Options) -> Scheduler | PathScheduler:
    """The scheduler of a config: of a path of its own, or of DDPM's chain.

    Raises:
        BadInput: neither, or settings that leave no bound; log_snr of a chain of betas.
    """
    scheduler = read_path_scheduler(raw)
    if scheduler is not None:
        return scheduler
    if options.log_snr is not None:
        raise BadInput("log_snr is of continuous time, and this is a chain of betas: leave it out")
    return read_scheduler(raw, options.clip)


def model_of(parts: Parts, scheduler: Scheduler | PathScheduler) -> Model:
    """The model of a network and of either kind of scheduler.

    Raises:
        BadInput: as `foreign_model` and `foreign_path_model`.
    """
    if isinstance(scheduler, PathScheduler):
        return foreign_path_model(parts, scheduler)
    return foreign_model(parts, scheduler)
