"""A model from wherever it is: ours, a diffusers folder, the hub, or a function in a file."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from nelbo import arguments
from nelbo.arguments import device_of
from nelbo.errors import BadInput
from nelbo.formats.diffusers.folder import is_diffusers
from nelbo.formats.foreign import Options
from nelbo.formats.foreign_folder import load_foreign
from nelbo.formats.given import Pipeline, load_given
from nelbo.formats.hub import is_hub_name, place_of, snapshot_of
from nelbo.formats.improved import is_improved, keep_improved, load_improved
from nelbo.formats.integers import keep_integers
from nelbo.formats.masked_lm import is_transformers, load_masked_lm, read_masked_lm
from nelbo.formats.python_file import is_function, load_function
from nelbo.formats.run import described_by, file_of, load_ours, recipe_of, trained_on
from nelbo.model import Model
from nelbo.typed_json import Json

__all__ = [
    "Pipeline",
    "as_model",
    "described_by",
    "file_of",
    "is_function",
    "keep_improved",
    "keep_integers",
    "load",
    "options_of",
    "read_masked_lm",
    "recipe_of",
    "says_all",
    "trained_on",
]

if TYPE_CHECKING:
    import torch


def as_model(model: "Model | str | Path | Pipeline") -> Model:
    """A model as it is; what `load` makes of a path, a name of the hub or a pipeline.

    Raises:
        BadInput: as `load`.
    """
    return model if isinstance(model, Model) else load(model)


def load(
    path: str | Path | Pipeline,
    *,
    weights: Literal["ema", "raw"] | None = None,
    device: "str | torch.device | None" = None,
    levels: int | None = None,
    range: tuple[float, float] | None = None,
    variance: Literal["learned-range", "drop"] | None = None,
    clip: bool | None = None,
    V_1: float | str | None = None,
    label: int | None = None,
    size: int | tuple[int, int] | None = None,
    scheduler: str | Path | None = None,
    decoder: Literal["discretized-gaussian", "density"] | None = None,
    latent: Literal["sample", "mean"] | None = None,
    condition: str | Path | None = None,
    guidance: float | None = None,
    variant: str | None = None,
    log_snr: tuple[float, float] | None = None,
    of: Model | None = None,
) -> Model:
    """The model in a run folder, a checkpoint file or a diffusers folder, ready to measure.

    A diffusers folder is a pipeline, a model folder with a scheduler's config, accelerate's
    checkpoint-N, or the hub's OWNER/NAME, hf:OWNER/NAME[/FOLDER][@REVISION]. Also file.py:function:
    the Model that the function returns, called without arguments, on its own device. In place of a
    path, a pipeline of diffusers that is in memory: its own network is measured, where it is, by
    its own scheduler. A folder of transformers with a masked-LM head is a model of text.

    weights: the moving average of training, or the last step's; by default the average where
        there is one.
    levels, range: how many levels a pixel of the data has, and the real numbers that the first
        and the last stand for; default 256 on (-1, 1).
    variance: what a second half of output channels is for, where the config says a fixed
        variance: learned-range uses it, drop does not.
    clip: whether x0-hat is clipped, in place of what the config says.
    V_1: the decoder's variance: a number, beta_1 or beta_tilde_2, the default.
    label: the class that the bound is conditional on; default none, where the network has that.
    size: rows and columns of the images, where the config does not say; of text the tokens of a
        window, by default as many as the network takes.
    scheduler: the config file of the scheduler, or its folder, where it is not in this one.
    decoder: discretized-gaussian, the default for pixels, or density for data that are real
        numbers, the only one for latents: its bound is in nats/dim of the latents, and never in
        bits/dim of the pixels.
    latent: what of q(latent | image) the folder's autoencoder makes of images: sample, the
        default, with noise of (seed, image id), or mean.
    condition: the embedding that a UNet2DConditionModel is conditional on: a .npy or .safetensors
        file with one tensor (tokens, width), or "zero".
    guidance: the guidance scale that a distilled network receives (LCM), where it receives one.
        There is no guidance by two calls, which is another network.
    variant: which of several files of weights is read, by the word in its name: fp16, non_ema.
    log_snr: (first, last), between which the bound of flow matching, EDM or VE runs; default the
        path's own ends.
    of: the model itself, where the path is what `nelbo improve` found for a function's.

    Raises:
        BadInput: nothing is there, it is damaged or of another kind, or it has no bound; a setting
            of a diffusers folder given for a model of our own, which says everything itself, or
            any for a function.
    """
    options = Options(
        levels=levels,
        range=range,
        variance=variance,
        clip=clip,
        V_1=V_1,
        label=label,
        size=size,
        scheduler=scheduler,
        decoder=decoder,
        latent=latent,
        condition=condition,
        guidance=guidance,
        variant=variant,
        log_snr=log_snr,
    ).typed()
    place_on = None if device is None else device_of(device)
    if weights is not None:
        arguments.word("weights", weights, ("ema", "raw"))
    if of is not None:
        arguments.instance("of", of, Model)  # type: ignore[type-abstract]
    if not isinstance(path, str | os.PathLike):
        return load_given(path, options, weights, place_on)
    if is_function(path) and of is None:
        if options != Options() or weights is not None:
            given = ", ".join(filter(None, (options.given, weights and "weights")))
            raise BadInput(f"{path} makes its model itself: {given} is for checkpoints and folders")
        function = load_function(path)
        function.network.to(place_on or function.device)
        return function
    model = _of_files(path, options, weights, of)
    model.network.eval().to(place_on or ("cpu" if of is None else of.device))
    return model


def _of_files(
    path: str | os.PathLike[str],
    options: Options,
    weights: Literal["ema", "raw"] | None,
    of: Model | None,
) -> Model:
    """The model of a path or a name of the hub."""
    if options.scheduler is not None:
        arguments.path("scheduler", options.scheduler)
    path = Path(path) if isinstance(path, os.PathLike) else path
    place = place_of(path)
    if says_all(place) and options != Options():
        if not is_improved(place):
            file_of(place)  # or what is not there at all would get the message that it has settings
        raise BadInput(f"{place} stores its own settings: {options.given} is for diffusers folders")
    name = _name(path, place)
    if of is not None and not is_improved(place):
        raise BadInput(f"{place} is no folder that nelbo improve made: leave of= out")
    if is_improved(place):
        return load_improved(place, name, weights, of)
    if says_all(place):
        return load_ours(place, weights or "ema")
    if is_transformers(place):
        return load_masked_lm(place, name, options, weights)
    return load_foreign(place, name, options, weights)


def _name(path: str | Path, place: Path) -> str:
    """What results call it: as it was typed for the hub, else the folder's name."""
    snapshot = snapshot_of(place)
    if not Path(path).exists():
        return str(path)
    return Path(path).resolve().name if snapshot is None else snapshot.name


def options_of(stated: Mapping[str, Json]) -> dict[str, Any]:
    """The options of `load` that a result says a folder was read by."""
    return {name: x for name, x in vars(Options.of(stated)).items() if x is not None}


def says_all(path: str | Path) -> bool:
    """Whether it takes no options beside its files: ours, improved, or a function."""
    place = Path(path)
    if is_function(path):
        return True
    if not place.exists() and is_hub_name(str(path)):
        return False
    return is_improved(place) or not (place.is_dir() and is_diffusers(place))
