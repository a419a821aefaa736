"""A model of a diffusers folder on another path than DDPM's: flow matching, EDM, VE."""

from dataclasses import replace

from nelbo.errors import BadInput
from nelbo.formats.diffusers.folder import Folder
from nelbo.formats.diffusers.networks import Network
from nelbo.formats.diffusers.path_scheduler import PathScheduler
from nelbo.formats.foreign import (
    OTHERWISE,
    RANGE,
    Options,
    Parts,
    decoder_of,
    grid_of,
    reals_of,
)
from nelbo.gaussian.decoder import Density, Discretized
from nelbo.gaussian.on_path import OnPath
from nelbo.model import Model, try_network
from nelbo.model.on_path import PathModel, ends_of
from nelbo.model.settings import Setting, Settings, Source
from nelbo.networks.adapter import Adapter
from nelbo.typed_json import number_of
from nelbo.types import Grid, Support

__all__ = ["foreign_path_model"]


def foreign_path_model(parts: Parts, scheduler: PathScheduler) -> Model:
    """The limit of a network on a path; chains of any number of steps by `every`.

    Raises:
        BadInput: what is not specified and may not be guessed, options of a chain of betas, or a
            second half of channels.
    """
    folder, network, options = parts.folder, parts.network, parts.options
    _refuse(network, scheduler, options, folder)
    decoder, decoder_source = decoder_of(network, options, folder)
    support: Support
    if decoder == "density":
        support, encoder, settings = reals_of(network, options, folder)
    else:
        usual = RANGE if scheduler.range is None else scheduler.range
        source: Source = "default" if scheduler.range is None else "class"
        support, encoder, settings = grid_of(network, None, options, folder, usual, source)
    ends = ends_of(scheduler.path, support, options.log_snr, "config")
    clip = _clip(support, options, folder)
    settings |= {
        "scheduler": Setting(scheduler.name, "config", changes_bound=False),
        **scheduler.settings,
        **ends,
        "V_1": Setting("inverse_snr_1", "class"),
        "clip": Setting(clip is not None, "class" if options.clip is None else "option"),
        "decoder": Setting(decoder, decoder_source),
        **parts.settings,
    }
    adapter = Adapter(network.module, network.arguments)
    made = PathModel(
        OnPath(adapter, scheduler.path, time=scheduler.time, scale=scheduler.scale),
        scheduler.parametrization,
        Discretized(support) if isinstance(support, Grid) else Density(),
        clip,
        support,
        network.shape,
        parts.name,
        _settings(parts, scheduler, settings),
    )
    first, last = (number_of(ends[f"log SNR {which}"].value) for which in ("first", "last"))
    model = replace(made.limit(first, last), weights=folder.weights)
    try_network(model, OTHERWISE)
    return replace(model, encoder=encoder)


def _refuse(network: Network, scheduler: PathScheduler, options: Options, folder: Folder) -> None:
    for name in ("variance", "V_1"):
        if getattr(options, name) is not None:
            raise BadInput(
                f"{name} is of chains of betas: with {scheduler.name} V_t is beta-tilde_t and V_1 "
                "1/SNR at the top, and nelbo improve finds the best; leave it out"
            )
    if network.doubled:
        raise BadInput(
            f"{folder.network} gives twice the data's channels, and {scheduler.name} has no "
            "variance to learn: the scheduler is another model's"
        )


def _clip(support: Support, options: Options, folder: Folder) -> tuple[float, float] | None:
    """The range that x0-hat is clipped to: that of the data.

    Raises:
        BadInput: real numbers, which have none.
    """
    if not options.clip:
        return None
    if not isinstance(support, Grid):
        raise BadInput(
            f"{folder.network}: real numbers have no range to clip x0-hat to: leave clip out"
        )
    return support.lo, support.hi


def _settings(parts: Parts, scheduler: PathScheduler, settings: dict[str, Setting]) -> Settings:
    notes = {
        **parts.of_hub,
        "path": scheduler.path.name,
        "scheduler": scheduler.name,
        "time_input": scheduler.settings["time_input"].value,
        **parts.of_weights,
        **parts.of_distillation(scheduler.name),
    }
    network, options = parts.of_network, parts.given
    return Settings(network=network, sources=settings, options=options, notes=notes)
