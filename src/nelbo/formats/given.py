"""A model of what a program holds and no file: a pipeline of diffusers, or a model itself."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import torch
from torch import nn

from nelbo.errors import BadInput
from nelbo.formats.diffusers.folder import AUTOENCODERS, NETWORKS, Folder, read_json
from nelbo.formats.diffusers.networks import network_of
from nelbo.formats.diffusers.path_scheduler import PathScheduler
from nelbo.formats.diffusers.scheduler import Scheduler
from nelbo.formats.foreign import Options, Parts
from nelbo.formats.foreign_folder import any_scheduler, model_of
from nelbo.model import Model
from nelbo.typed_json import Json

__all__ = ["Pipeline", "config_of", "load_given"]


@runtime_checkable
class Pipeline(Protocol):
    """What a diffusers.DiffusionPipeline offers."""

    @property
    def components(self) -> Mapping[str, Json]: ...


def load_given(
    given: object,
    options: Options,
    weights: Literal["ema", "raw"] | None,
    device: torch.device | None,
) -> Model:
    """The model of a pipeline's own network and scheduler; a model as it is.

    Raises:
        BadInput: anything else, or a pipeline of latents, whose images are encoded by its folder.
    """
    model = given if isinstance(given, Model) else _of_pipeline(given, options, weights)
    if model is given and (options != Options() or weights is not None):
        names = ", ".join(filter(None, [options.given, "weights" * (weights is not None)]))
        raise BadInput(f"{model.name} is a model and stores its own settings: leave {names} out")
    model.network.to(device or model.device)
    return model


def _of_pipeline(given: object, options: Options, weights: Literal["ema", "raw"] | None) -> Model:
    if not isinstance(given, Pipeline):
        raise BadInput(_what_it_is(given))
    name, parts = type(given).__name__, given.components
    network = next((part for part in NETWORKS if isinstance(parts.get(part), nn.Module)), None)
    if network is None:
        raise BadInput(f"{name} has no unet and no transformer: give its network to nelbo.wrap")
    if any(parts.get(part) is not None for part in AUTOENCODERS):
        raise BadInput(
            f"{name} has an autoencoder, which is read from a folder: call its "
            "save_pretrained(folder) and give that folder"
        )
    if weights is not None:
        raise BadInput(f"{name} has one set of weights, those it holds: leave weights out")
    module = parts[network]
    config = {"_class_name": type(module).__name__, **config_of(module)}
    scheduler = _scheduler(parts.get("scheduler"), options)
    folder = Folder(Path(name), Path(name), "as they are")
    read = network_of(
        module,
        config,
        folder.network,
        options.label,
        options.size,
        options.condition,
        options.guidance,
    )
    return model_of(Parts(folder, read, name, options), scheduler)


def config_of(given: object) -> dict[str, Json]:
    """The config of a scheduler or network of diffusers, without what is its class's default."""
    config = dict(getattr(given, "config", {}))
    defaults = config.pop("_use_default_values", ())
    kept = {key: value for key, value in config.items() if key not in defaults}
    return {**kept, "_class_name": type(given).__name__}


def _scheduler(own: object, options: Options) -> Scheduler | PathScheduler:
    """That of the pipeline, or of the options: a config file, or another scheduler."""
    chosen = own if options.scheduler is None else options.scheduler
    if isinstance(chosen, str | Path):
        place = Path(chosen)
        config = read_json(place / "scheduler_config.json" if place.is_dir() else place)
    else:
        config = config_of(chosen)
    return any_scheduler(config, options)


def _what_it_is(given: object) -> str:
    kind = type(given).__name__
    if callable(given):
        return (
            f"a {kind} is a network, and no model yet: give it to nelbo.wrap with its schedule and "
            "what it predicts"
        )
    return (
        f"a model is a path, a name of the hub, a pipeline of diffusers or the result of "
        f"nelbo.wrap; got a {kind}"
    )
