"""What a model is: every setting, where it is from, and what should be known before measuring."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import final

import torch
from rich.table import Table
from rich.text import Text

from nelbo.bound.terms import prior_term
from nelbo.categorical.masked import MaskedForward
from nelbo.errors import printable
from nelbo.formats import Pipeline, as_model
from nelbo.gaussian.forward import GaussianForward
from nelbo.model import Model, Setting, try_network
from nelbo.model.settings import as_json
from nelbo.networks.mode import without_gradients
from nelbo.results import bits_per_dim
from nelbo.results.saved import Saved, sealed
from nelbo.results.warnings import of_schedule
from nelbo.typed_json import Json, list_at, part_at, text_at, texts_at
from nelbo.types import Grid

__all__ = ["Inspection", "inspect"]

SCHEMA = "nelbo.inspection/1"
SMALL_L_T = 0.01  # bits/dim
OF_RECIPE = (
    "schedule",
    "path",
    "parametrization",
    "scale",
    "sigma_data",
    "transition",
    "variance",
    "V_1",
    "clip",
    "decoder",
)
OF_NUMBERS = ("variance", "V_1", "clip")  # states have none


@final
@dataclass(frozen=True, eq=False, repr=False)
class Inspection(Saved):
    """The settings of a model, what else it is, and warnings.

    `L_T` is the largest that L_T can be for any image of the model's grid, in bits/dim; None for
    real numbers, which may be any.
    """

    about: Mapping[str, Json]
    settings: Mapping[str, Setting]
    L_T: float | None
    warnings: tuple[str, ...]

    @property
    def heading(self) -> str:
        """The model in a line."""
        shape = "x".join(map(str, list_at(self.about, "shape")))
        digest = text_at(self.about, "sha256")[:8]
        most = "of any size" if self.L_T is None else f"at most {self.L_T:.2g} bits/dim"
        return (
            f"{self.about['name']} ({digest}): {self.about['T']} steps over images of {shape}, "
            f"{self.about['parameters']:,} parameters, L_T {most}"
        )

    def to_dict(self) -> dict[str, Json]:
        """One object: what the model is, its facts, its settings by name, and the warnings."""
        return sealed(
            {
                "schema": SCHEMA,
                **self.about,
                "settings": as_json(self.settings),
                "L_T_at_most_bits_per_dim": self.L_T,
                "warnings": list(self.warnings),
            }
        )

    def table(self) -> Table:
        """A row for each setting: its value, its source, and whether it changes the bound."""
        heads = ("setting", "value", "source", "affects the bound")
        table = Table(*heads, box=None, header_style="bold")
        for name, setting in self.settings.items():
            value = "none" if setting.value is None else _text(setting.value)
            table.add_row(
                _cell(name),
                _cell(value),
                _cell(setting.source),
                "yes" if setting.changes_bound else "no",
            )
        return table


def inspect(model: Model | str | Path | Pipeline) -> Inspection:
    """Every setting of the model with its source, and warnings; nothing is measured.

    The settings of a model of another library say whether they are from its config, a default or
    an option; those of ours are all from its recipe. model: also a path, a name of the hub or a
    pipeline.

    Raises:
        BadInput: no model, or as `nelbo.load`; a network that cannot take the images or times.
    """
    model = as_model(model)
    if model.settings.options is None:  # those of folders were tried when they were read
        try_network(model)
    facts = {name: x for name, x in model.facts.items() if name not in ("sources", "options")}
    sources = model.settings.sources
    settings = _of_recipe(model) if sources is None else sources
    L_T = _largest_L_T(model)
    about = {
        "name": model.name,
        "sha256": model.sha256(),
        "weights": model.weights,
        "shape": list(model.shape),
        **model.support.facts,
        "parameters": sum(x.numel() for x in model.network.parameters()),
        "T": model.T,
        **facts,
    }
    return Inspection(about, settings, L_T, tuple(_warnings(model, settings, L_T)))


def _of_recipe(model: Model) -> dict[str, Setting]:
    grid, facts, states = model.grid, model.facts, model.family == "categorical"
    own = [name for name in OF_RECIPE if not (states and name in OF_NUMBERS)]
    stated = {name: facts[name] for name in own if name in facts}
    stated |= {"levels": grid.n, "weights": model.weights}
    if not states:
        stated["range"] = [grid.lo, grid.hi]
    network = {f"network.{name}": value for name, value in part_at(facts, "network").items()}
    improved: dict[str, Json] = {}
    if "improved" in facts:
        improved = {name: facts[name] for name in ("variance", "V_1")}
        improved["steps"] = f"{model.T} of the recipe's"
    # dropout is for training alone
    settings = {
        name: Setting(value, "recipe", changes_bound=name != "network.dropout")
        for name, value in {**stated, **network}.items()
    }
    return settings | {name: Setting(value, "improve") for name, value in improved.items()}


def _largest_L_T(model: Model) -> float | None:
    """The largest L_T of any image, in bits/dim: it adds up over dimensions, each at its worst."""
    if not isinstance(model.support, Grid):
        return None
    gaussian = isinstance(model.chain.q, GaussianForward)
    ends = gaussian or isinstance(model.chain.q, MaskedForward)  # which ends in masks, whatever x_0
    # that of a Gaussian chain grows with |x_0|, so one of the ends of the grid has it
    levels = (0, model.grid.n - 1) if ends else range(model.grid.n)
    with without_gradients():
        terms = [
            float(prior_term(model.chain, model.x_0(torch.full((1, *model.shape), level))))
            for level in levels
        ]
    return bits_per_dim(max(terms), model.dims)


def _warnings(model: Model, settings: Mapping[str, Setting], L_T: float | None) -> Iterator[str]:
    facts = model.facts
    if L_T is not None and L_T > SMALL_L_T:
        yield (
            f"L_T may be as large as {L_T:.3g} bits/dim: the chain ends before the data are gone, "
            "and samples start from a noise that it never reaches"
        )
    if getattr(getattr(model.chain.q, "schedule", None), "alpha_bar", torch.ones(1))[-1] == 0:
        yield "zero terminal SNR: alpha_bar_T = 0, so L_T is 0 exactly"
    yield from _of_clipping(facts)
    if part_at(facts, "network").get("variance_channels") == "dropped":
        yield "half of the network's channels, for a learned variance, are dropped"
    if facts.get("distilled"):
        yield str(facts["distilled"])
    if facts.get("lacks_ema"):
        yield "there is no moving average (EMA): these are the raw weights of training"
    if str(part_at(facts, "network").get("weights_digest")).startswith("none"):
        yield "the network is a plain callable: its weights are in no digest"
    yield from of_schedule(facts)
    guessed = [name for name in ("levels", "range", "V_1") if _is_default(settings.get(name))]
    if guessed:
        yield f"no file says {', '.join(guessed)}: the usual values are taken; give them to be sure"


def _of_clipping(facts: Mapping[str, Json]) -> Iterator[str]:
    if facts.get("clip"):
        yield "x0-hat is clipped: this is the bound of the clipped model, and not of the bare one"
    elif facts.get("ignored"):
        yield (
            f"the config says {' and '.join(texts_at(facts, 'ignored'))}, which its scheduler's "
            "class does not read: x0-hat is not clipped"
        )


def _is_default(setting: Setting | None) -> bool:
    return setting is not None and setting.source == "default" and setting.changes_bound


def _cell(text: str) -> Text:
    """As it is, whatever it holds: no markup, nothing that a terminal obeys."""
    return Text(printable(text))


def _text(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {item}" for name, item in value.items())
    return f"{value:.6g}" if isinstance(value, float) else str(value)
