"""A model of a diffusers folder: every setting that changes its bound, honoured and reported."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, final

from nelbo import arguments
from nelbo.errors import BadInput
from nelbo.formats.diffusers.condition import ZERO
from nelbo.formats.diffusers.folder import Folder
from nelbo.formats.diffusers.latents import Encoder, Latent, read_encoder
from nelbo.formats.diffusers.networks import Network
from nelbo.formats.diffusers.scheduler import VARIANCES, Scheduler, Thresholded
from nelbo.formats.hub import snapshot_of
from nelbo.gaussian.decoder import Density, Discretized
from nelbo.gaussian.reverse import TIME_INPUTS
from nelbo.gaussian.schedule import Schedule
from nelbo.gaussian.variance import Variance
from nelbo.model import Model, gaussian_model, try_network
from nelbo.model.settings import Setting, Settings, Source, about_betas, chosen
from nelbo.networks.adapter import Adapter
from nelbo.typed_json import Json
from nelbo.types import Grid, Reals, Support

__all__ = ["Options", "Parts", "decoder_of", "foreign_model", "grid_of", "reals_of"]

LEVELS, RANGE = 256, (-1.0, 1.0)
V_1: float | str = "beta_tilde_2"
DISTILLED = ("LCMScheduler", "TCDScheduler")  # samplers of consistency models
OTHERWISE = "; its configs say this size and T: size= (--size), scheduler= (--scheduler) say others"


@final
@dataclass(frozen=True)
class Options:
    """What a diffusers folder does not say, or what to do in place of what it says.

    levels, range: the grid of the data, by default 256 levels on [-1, 1]. variance: what a second
    half of channels is for, where the config has a fixed variance. clip: instead of the config's
    clipping. V_1: the decoder's variance, by default beta_tilde_2. label, size, condition and
    guidance: see `read_network`. scheduler: another config file. decoder: discretized-gaussian for
    levels, the default for pixels, or density for real numbers, the only one for latents. latent:
    see `Encoder`. variant: see `weights_files`. log_snr: (first, last), between which the bound
    runs where time is continuous, by default the path's own ends.
    """

    levels: int | None = None
    range: tuple[float, float] | None = None
    variance: Literal["learned-range", "drop"] | None = None
    clip: bool | None = None
    V_1: float | str | None = None
    label: int | None = None
    size: int | tuple[int, int] | None = None
    scheduler: str | Path | None = None
    decoder: Literal["discretized-gaussian", "density"] | None = None
    latent: Latent | None = None
    condition: str | Path | None = None
    guidance: float | None = None
    variant: str | None = None
    log_snr: tuple[float, float] | None = None

    def typed(self) -> "Options":
        """The same by values of the right types, scalars of numpy and torch too.

        Raises:
            BadInput: a value of another type.
        """
        kinds: dict[str, Callable[[str, object], Any]] = {
            **dict.fromkeys(("levels", "label"), arguments.whole),
            "range": arguments.interval,
            "clip": arguments.flag,
            "guidance": arguments.number,
            "V_1": lambda name, x: x if isinstance(x, str) else arguments.number(name, x),
            "size": _sides,
            "log_snr": arguments.falling,
            **dict.fromkeys(("variance", "decoder", "latent", "variant"), _word),
            "condition": lambda name, x: (
                x if isinstance(x, str) and x == ZERO else arguments.path(name, x)
            ),
        }
        given = {name: x for name, x in vars(self).items() if x is not None and name in kinds}
        return replace(self, **{name: kinds[name](name, x) for name, x in given.items()})

    @classmethod
    def of(cls, stated: Mapping[str, Json]) -> "Options":
        """From what `stated` gives."""
        given: dict[str, Any] = {
            name: tuple(x) if isinstance(x, list) else x for name, x in stated.items()
        }
        return cls(**given)

    @property
    def stated(self) -> dict[str, Json]:
        """The options that were given, as JSON."""
        given = {name: value for name, value in vars(self).items() if value is not None}
        return {name: str(x) if isinstance(x, Path) else x for name, x in given.items()}

    @property
    def given(self) -> str:
        """The names of the options that were given."""
        return ", ".join(self.stated)


def _word(name: str, value: object) -> str:
    return arguments.instance(name, value, str)


def _sides(name: str, value: object) -> int | tuple[int, int]:
    """N, or (rows, columns)."""
    if arguments.scalar(value) is not None:
        return arguments.whole(name, value, 1)
    sides = arguments.whole_numbers(name, value)
    if len(sides) != 2 or min(sides) < 1:
        raise BadInput(f"{name} is N or (rows, columns); got {arguments.shown(value)}")
    return sides[0], sides[1]


@final
@dataclass(frozen=True, eq=False)
class Parts:
    """What a model is made of beside its scheduler; given: the options that it was read by."""

    folder: Folder
    network: Network
    name: str
    options: Options
    weights: Literal["ema", "raw"] | None = None
    given: Mapping[str, Json] | None = None

    @property
    def settings(self) -> dict[str, Setting]:
        """Those of the network, and which of its weights are used."""
        source: Source = "config" if self.weights is None else "option"
        return {"weights": Setting(self.folder.weights, source), **self.network.settings}

    @property
    def of_hub(self) -> dict[str, Json]:
        """The commit that the folder is, where it is in the hub's cache."""
        snapshot = snapshot_of(self.folder.network)
        return {} if snapshot is None else {"hub": snapshot._asdict()}

    @property
    def of_weights(self) -> dict[str, Json]:
        """That there is no average of the weights, where there is none."""
        return {"lacks_ema": True} if self.folder.lacks_ema else {}

    def of_distillation(self, scheduler: str) -> dict[str, Json]:
        """That a network was distilled for few steps, where its scheduler or its input shows it."""
        if scheduler not in DISTILLED and self.options.guidance is None:
            return {}
        return {"distilled": "bound of the distilled network, not of its sampler"}

    @property
    def of_network(self) -> dict[str, Json]:
        """What a report says of the network."""
        settings = self.network.settings
        named = ["label", "condition"] + ["guidance"] * (self.options.guidance is not None)
        conditions = {key: settings[key].value for key in named if key in settings}
        return {"name": self.network.name, "folder": self.folder.network.name, **conditions}


def foreign_model(parts: Parts, scheduler: Scheduler) -> Model:
    """The model of a network and a scheduler that have been read.

    Raises:
        BadInput: what cannot be bounded, or is not specified and may not be guessed.
    """
    folder, network, options = parts.folder, parts.network, parts.options
    kind, kind_source = _variance_type(network, scheduler, options, folder.network)
    decoder, decoder_source = decoder_of(network, options, folder)
    scheduler = scheduler.unclipped() if decoder == "density" else scheduler
    support: Support
    if decoder == "density":
        support, encoder, settings = reals_of(network, options, folder)
    else:
        support, encoder, settings = grid_of(network, scheduler.clip, options, folder)
    first, V_1_source = chosen(options.V_1, V_1)
    settings |= {
        "scheduler": Setting(scheduler.name, "config", changes_bound=False),
        **scheduler.settings,
        "variance_type": Setting(kind, kind_source),
        "V_1": Setting(first, V_1_source, changes_bound=kind != "learned"),
        "decoder": Setting(decoder, decoder_source),
        **parts.settings,
    }
    model = gaussian_model(
        Adapter(network.module, network.arguments, channels=_kept_channels(network, kind)),
        scheduler.schedule,
        parametrization=scheduler.parametrization,
        variance=_variance(kind, first),
        decoder=Discretized(support) if isinstance(support, Grid) else Density(),
        time_input=TIME_INPUTS["index"],
        clip=scheduler.clip,
        grid=support,
        shape=network.shape,
        name=parts.name,
        settings=_settings(parts, scheduler, kind, settings),
        weights=folder.weights,
        spacing=scheduler.spacing,
    )
    try_network(model, OTHERWISE)
    return replace(model, encoder=encoder)


def decoder_of(network: Network, options: Options, folder: Folder) -> tuple[str, Source]:
    """discretized-gaussian or density, and what says so.

    Raises:
        BadInput: latents asked for bits/dim, which are of levels, or an unknown decoder.
    """
    if options.decoder not in (None, "discretized-gaussian", "density"):
        raise BadInput(
            f"decoder is discretized-gaussian or density for diffusers folders; "
            f"got {options.decoder!r}"
        )
    declared = options.decoder == "discretized-gaussian" and not network.conditional
    if folder.autoencoder is None and (declared or not network.latent):
        return chosen(options.decoder, "discretized-gaussian")  # four channels may be RGBA
    if options.decoder == "discretized-gaussian":
        raise BadInput(
            f"{folder.network} is a network of latents, which have no levels and no bits/dim of "
            "pixels: its bound is that of a density, in nats/dim (decoder density)"
        )
    return chosen(options.decoder, "density")


def reals_of(
    network: Network, options: Options, folder: Folder
) -> tuple[Reals, Encoder | None, dict[str, Setting]]:
    """Data that are real numbers, what makes them of images, and the settings of both.

    Raises:
        BadInput: levels, a range, or a kind of latent where there is none.
    """
    if options.levels is not None or options.range is not None:
        raise BadInput(
            f"{folder.network}: a density is of real numbers, without levels and range: leave "
            "them out (four channels are pixels by decoder discretized-gaussian)"
        )
    if folder.autoencoder is not None:
        return Reals("latents"), *read_encoder(folder.autoencoder, options.latent, options.variant)
    if options.latent is not None:
        raise BadInput(f"{folder.network} has no autoencoder beside it: leave latent out")
    return Reals("latents" if network.latent else "data"), None, {}


def _variance_type(
    network: Network, scheduler: Scheduler, options: Options, folder: Path
) -> tuple[str, Source]:
    """One of diffusers' names, and its source.

    Raises:
        BadInput: channels and config contradict each other, and no option decides.
    """
    kind, wanted = scheduler.variance_type, options.variance
    if wanted not in (None, "learned-range", "drop"):
        raise BadInput(f"variance is learned-range or drop; got {wanted!r}")
    learned = kind.startswith("learned")
    if not network.doubled:
        if learned:
            raise BadInput(
                f"variance_type {kind} needs twice the data's channels, and {folder} gives as many "
                "as it takes: it sees more than x_t, or the scheduler is another model's"
            )
        if wanted is not None:
            raise BadInput(f"{folder} has no channels for a variance: leave variance {wanted} out")
        return kind, scheduler.settings["variance_type"].source
    if wanted == "drop" and learned:
        raise BadInput(f"variance drop needs a fixed variance_type; {folder} has {kind}")
    if wanted is None and not learned:
        raise BadInput(
            f"{folder} gives channels for a variance and its scheduler has {kind}: say whether "
            "they are used, variance learned-range, or dropped, variance drop (--variance)"
        )
    if wanted == "learned-range":
        return "learned_range", "option"
    return kind, scheduler.settings["variance_type"].source


def grid_of(
    network: Network,
    reach: tuple[float, float] | None,
    options: Options,
    folder: Folder,
    usual: tuple[float, float] = RANGE,
    usual_source: Source = "default",
) -> tuple[Grid, None, dict[str, Setting]]:
    """The grid of the data with its settings, and no encoder.

    reach: what x0-hat is clipped to. usual: the range where nothing says another.

    Raises:
        BadInput: the config shows that the range is not the usual one and no option says which.
    """
    if options.latent is not None:
        raise BadInput(f"{folder.network} is a network of pixels: leave latent out")
    unusual = "center_input_sample" if network.centred and usual == RANGE else None
    if reach is not None and reach != RANGE:
        unusual = f"clip_sample_range {reach[1]:g}"
    if options.range is None and unusual:
        raise BadInput(
            f"{folder.network}: {unusual} says that the data are not on [-1, 1]: give their range "
            "(range=, --range)"
        )
    levels, levels_source = chosen(options.levels, LEVELS)
    (lo, hi), range_source = chosen(options.range, usual)
    range_source = usual_source if options.range is None else range_source
    settings = {"levels": Setting(levels, levels_source), "range": Setting([lo, hi], range_source)}
    return Grid(levels, lo, hi), None, settings


def _kept_channels(network: Network, kind: str) -> int | None:
    """How many output channels are used where some are not."""
    return network.shape[0] if network.doubled and not kind.startswith("learned") else None


def _variance(kind: str, first: float | str) -> Callable[[Schedule], Variance]:
    return partial(VARIANCES[kind], V_1=first)


def _settings(
    parts: Parts, scheduler: Scheduler, kind: str, settings: dict[str, Setting]
) -> Settings:
    schedule, dropped = scheduler.schedule, _kept_channels(parts.network, kind) is not None
    foreign = scheduler.name != "DDPMScheduler"
    reverse = ", its q with the reverse steps of DDPMScheduler" if foreign else ""
    notes: dict[str, Json] = {
        **parts.of_hub,
        "scheduler": scheduler.name + reverse,
        "spacing": _spacing(scheduler),
        "time_input": "index",
        **parts.of_weights,
        **parts.of_distillation(scheduler.name),
    }
    if scheduler.ignored:
        notes["ignored"] = list(scheduler.ignored)
    rule = scheduler.parametrization
    if isinstance(rule, Thresholded):
        notes["clip"] = f"dynamic threshold {rule.ratio:g}, at most {rule.most:g}"
    return Settings(
        schedule=about_betas(schedule),
        network=parts.of_network | ({"variance_channels": "dropped"} if dropped else {}),
        sources=settings,
        options=parts.given,
        notes=notes,
    )


def _spacing(scheduler: Scheduler) -> str:
    """Whose steps a shorter chain keeps, and how they lie."""
    words = [f"the whole times of {scheduler.name}"]
    if "timestep_spacing" in scheduler.settings:
        words.append(str(scheduler.settings["timestep_spacing"].value))
    if "steps_offset" in scheduler.settings:
        words.append(f"offset {scheduler.settings['steps_offset'].value}")
    return ", ".join(words)
