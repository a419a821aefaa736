"""A model of a network on a path: EDM, VE, flow matching, SDEs, or somebody's own a_t and s_t."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import final

from nelbo.arguments import falling, shown
from nelbo.errors import BadInput, closest
from nelbo.gaussian.continuous import LevelLikelihood
from nelbo.gaussian.decoder import Decoder
from nelbo.gaussian.on_path import OnPath, Reading, c_in
from nelbo.gaussian.path import Path, TablePath
from nelbo.model import Model
from nelbo.model.on_path import PathModel, ends_of
from nelbo.model.parts import LIKELIHOODS, SCALES, TIMES
from nelbo.model.settings import Setting, Settings, Source
from nelbo.networks.adapter import Adapter
from nelbo.typed_json import Json, number_of
from nelbo.types import Grid, Support
from nelbo.wrapping.kinds import (
    Common,
    clip_range,
    decoder_of,
    ending_of,
    kind_of_data,
    no_vain_clip,
    typed,
)
from nelbo.wrapping.stated import given_of_images, keywords, label_of, name_of, network_facts
from nelbo.wrapping.stated_path import path_of
from nelbo.wrapping.words import prediction, read_as, sigma_data_of

__all__ = ["FAMILIES", "on_a_path"]

FAMILIES: dict[str, dict[str, Json]] = {
    "edm": {
        "path": "edm",
        "predicts": "edm-F",
        "time_input": "log(sigma)/4",
        "scale": "c_in",
        "range": (-1.0, 1.0),
    },
    "edm-denoiser": {
        "path": "edm",
        "predicts": "x_0",
        "time_input": "sigma",
        "scale": "none",
        "range": (-1.0, 1.0),
    },
    "ncsnpp": {
        "path": "ve",
        "predicts": "score",
        "time_input": "sigma",
        "scale": "none",
        "range": (0.0, 1.0),
    },
    "flow-matching": {
        "path": {"name": "flow", "data_at": 1},
        "predicts": "flow-velocity",
        "time_input": "t",
        "scale": "none",
    },
    "diffusers-flow": {
        "path": {"name": "flow", "data_at": 0},
        "predicts": "flow-velocity",
        "time_input": "1000 t",
        "scale": "none",
    },
    "sit": {"path": {"name": "flow", "data_at": 1}, "time_input": "t", "scale": "none"},
}
"""What networks of a family have in common; what a user says besides takes its place."""


@final
@dataclass(frozen=True)
class _Chosen:
    """Each setting by the user's word, else by the family's; and which of the two it is."""

    given: Mapping[str, object]
    family: Mapping[str, object]

    def __call__(self, name: str) -> object:
        value = self.given.get(name)
        return self.family.get(name) if value is None else value

    def source(self, name: str) -> Source:
        if self.given.get(name) is not None:
            return "option"
        return "family" if name in self.family else "default"


def on_a_path(
    network: Callable[..., object],
    common: Common,
    *,
    family: object,
    path: object,
    predicts: object,
    time_input: object,
    scale: object,
    log_snr: object,
) -> Model:
    """The model of `wrap` where there is a path or a family.

    Raises:
        BadInput: an unknown choice, one that is missing, or choices that do not go together.
    """
    given = {"path": path, "predicts": predicts, "time_input": time_input, "scale": scale}
    chosen = _Chosen({**given, "range": common.range}, _family(family))
    along, about = path_of(chosen("path"))
    output = prediction(_stated("predicts", chosen("predicts")), along=True)
    ending, decoder_source = ending_of(common.decoder, output)
    if ending != "density":
        common = replace(common, range=chosen("range"))  # type: ignore[arg-type]
    shape, levels, range, clip, V_1 = typed(common)
    _check_V_1(V_1)
    classes, conditions = given_of_images(common.classes, common.conditions)
    shape, support, kind = kind_of_data(ending, common.data, shape, (levels, range, clip))
    time = _times(_stated("time_input", chosen("time_input")))
    no_vain_clip(output, clip)
    sigma_data = sigma_data_of(common.sigma_data, output, chosen("scale"))
    scaling = _scaling(chosen("scale"), sigma_data)
    between = None if log_snr is None else falling("log_snr", log_snr)
    ends = ends_of(along, support, between, chosen.source("path"))
    adapter = Adapter(network, keywords(common.arguments), conditions=conditions)
    settings = {
        "path": Setting(about, chosen.source("path")),
        "predicts": Setting(output, chosen.source("predicts")),
        **({} if sigma_data is None else {"sigma_data": sigma_data}),
        "time_input": Setting(name_of(chosen("time_input")), chosen.source("time_input")),
        "scale": Setting(name_of(chosen("scale") or "none"), chosen.source("scale")),
        **_with_source(kind, "range", chosen.source("range")),
        **ends,
        "decoder": Setting(ending, decoder_source),
        "V_1": Setting("inverse_snr_1", "class"),
        "clip": Setting(clip or False, "default" if clip is None else "option"),
    }
    about_network = network_facts(network, common.arguments or {}, adapter.beside)
    notes: dict[str, Json] = {"path": about, "time_input": name_of(chosen("time_input"))}
    made = PathModel(
        OnPath(adapter, along, time=time, scale=scaling),
        read_as(chosen("predicts"), support, sigma_data, along),
        _decoder(common.decoder or ending, support, along),
        clip_range(clip, support),
        support,
        shape,
        label_of(common.name, network),
        Settings(network=about_network, sources=settings, notes=notes),
    )
    first, last = (number_of(ends[f"log SNR {which}"].value) for which in ("first", "last"))
    model = made.steps() if isinstance(along, TablePath) else made.limit(first, last)
    return replace(model, classes=classes, conditions=conditions)


def _family(family: object) -> Mapping[str, object]:
    if family is None:
        return {}
    if not isinstance(family, str) or family not in FAMILIES:
        meant = closest(str(family), FAMILIES)
        hint = f"; did you mean {meant}?" if meant else ""
        raise BadInput(f"family is one of {', '.join(FAMILIES)}; got {shown(family)}{hint}")
    return FAMILIES[family]


def _stated(name: str, value: object) -> object:
    """The value, which has no default.

    Raises:
        BadInput: it was not given.
    """
    if value is None:
        raise BadInput(f"wrap needs {name}=: it cannot be seen in a network")
    return value


def _check_V_1(V_1: float | str | None) -> None:
    if V_1 not in (None, "inverse_snr_1"):
        raise BadInput(
            f"V_1 = {V_1} is not for a path: there it is 1/SNR at the top, inverse_snr_1; "
            "nelbo improve finds the best for a chain of steps; leave it out"
        )


def _with_source(kind: dict[str, Setting], name: str, source: Source) -> dict[str, Setting]:
    return {**kind, name: replace(kind[name], source=source)} if name in kind else kind


def _times(given: object) -> Reading:
    if callable(given):
        return given
    if not isinstance(given, str) or given not in TIMES:
        raise BadInput(
            f"time_input is one of {', '.join(TIMES)}, or a function of a Level; got {shown(given)}"
        )
    return TIMES[given]


def _scaling(given: object, sigma_data: Setting | None) -> Reading:
    if given is None:
        return SCALES["none"]
    if callable(given):
        return given
    if given == "c_in" and sigma_data is not None:
        return partial(c_in, number_of(sigma_data.value))
    if not isinstance(given, str) or given not in SCALES:
        raise BadInput(
            f"scale is one of {', '.join(SCALES)}, c_in, or a function of a Level; "
            f"got {shown(given)}"
        )
    return SCALES[given]


def _decoder(
    given: str | Decoder | Callable[[Grid], Decoder], support: Support, path: Path
) -> Decoder | LevelLikelihood:
    limit = isinstance(support, Grid) and not isinstance(path, TablePath)
    if isinstance(given, str) and given in LIKELIHOODS and limit:
        return LIKELIHOODS[given](support)  # type: ignore[arg-type]
    return decoder_of(given, support)
