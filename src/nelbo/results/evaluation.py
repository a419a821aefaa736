"""The bound of a data set as people and programs read it, in the unit that its data have."""

import hashlib
import json
import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from typing import final

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from nelbo.bound.statistics import Mean
from nelbo.errors import printable
from nelbo.results.per_image import PerImage, digest
from nelbo.results.saved import sealed
from nelbo.results.shown import Tabulated
from nelbo.results.unit import TEXT_KEYS, in_text_units
from nelbo.typed_json import (
    Json,
    list_at,
    number_of,
    object_at,
    part_at,
    rows_at,
    text_at,
    whole_at,
)

__all__ = [
    "Curve",
    "Evaluation",
    "Look",
    "Step",
    "environment",
    "figures_digest",
    "kind_of",
    "likelihood_of",
    "order_of",
    "unchecked",
]

SCHEMA = "nelbo.evaluation/1"
FIGURES = (
    *("bits_per_dim", "nats_per_dim", *TEXT_KEYS, "unit"),
    *("ci95", "ci95_monte_carlo", "nats_per_image"),
    *("terms", "per_step", "rate_distortion", "looks", "per_image_sha256"),
    *("images", "dims", "network_evaluations", "kind"),
)


def environment(device: torch.device, dtype: torch.dtype, world_size: int = 1) -> dict[str, Json]:
    """What else decides the digits: versions, device, dtype, TF32, number of processes.

    TF32 is on where products of matrices or convolutions may use it; torch's default is the latter.
    """
    of_convolutions = torch.backends.cudnn.conv.fp32_precision  # type: ignore[attr-defined]
    allowed = (torch.backends.cuda.matmul.fp32_precision, of_convolutions)
    tf32 = device.type == "cuda" and "tf32" in allowed
    return {
        "nelbo": _own_version(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "device": str(device),
        "dtype": str(dtype).removeprefix("torch."),
        "tf32": tf32,
        "threads": torch.get_num_threads(),
        "world_size": world_size,
    }


@cache  # it reads and parses a file, which a small evaluation would notice
def _own_version() -> str:
    return version("nelbo")


def unchecked(estimator: Mapping[str, Json]) -> list[str]:
    """A line where the network was not checked before it was measured."""
    if "check" not in estimator or estimator["check"] is not None:
        return []
    return ["  not checked: whether an image's output depends on other images or on chance"]


def likelihood_of(model: Mapping[str, Json]) -> str:
    """What a figure of the model is of, where that is not p(x), as the end of a line."""
    return f" of {model['likelihood']}" if "likelihood" in model else ""


def kind_of(model: Mapping[str, Json]) -> str:
    """likelihood, of a model of one order, whose -log p is exact; bound, of any other."""
    return "likelihood" if "order" in model else "bound"


def order_of(model: Mapping[str, Json]) -> str:
    """The order that the likelihood is exact in, as the end of a line; nothing of a bound."""
    if "order" not in model:
        return ""
    order = object_at(model, "order")
    return f", exact -log p in the order {order['name']}, {order['calls']} calls"


def figures_digest(tree: Mapping[str, Json]) -> str:
    """The SHA-256 of the figures of a result's JSON object, whatever its command and machine."""
    figures = {name: tree[name] for name in FIGURES if name in tree}
    return hashlib.sha256(json.dumps(figures, sort_keys=True).encode()).hexdigest()


@final
@dataclass(frozen=True)
class Step:
    """The term of t over the images evaluated there: L_0 at t = 1, L_{t-1} after; nats."""

    t: int
    mean: float
    se: float | None


@final
@dataclass(frozen=True)
class Look:
    """The estimate when so many evaluations were done, with its Monte Carlo error; nats."""

    evaluations: int
    mean: Mean


@final
@dataclass(frozen=True)
class Curve:
    """The rate: cumulative bits before x_t is known, and how far x0-hat(x_t) then is from x_0.

    rate is L_T + the sum of L_{s-1} over s > t, squared_error |x_0 - x0-hat|^2, None where it was
    not computed or the chain has no x0-hat; both per image.
    """

    t: Int64[Tensor, " points"]
    rate: Float64[Tensor, " points"]
    squared_error: Float64[Tensor, " points"] | None


@final
@dataclass(frozen=True, repr=False)
class Evaluation(Tabulated):
    """The bound of a data set under a model, by term, with two intervals; or -log p, exactly.

    Means are nats per image. Of each pair the first has the error of the sampling of images, the
    second that of Monte Carlo. log_snr is that of t = 0..T, where the chain has one; warnings say
    why the figure may not be the model's. baselines: what the same images cost by no model, in
    bits/dim by name, where it was computed.
    """

    terms: Mapping[str, tuple[Mean, Mean]]
    per_step: Sequence[Step]
    per_image: PerImage
    looks: Sequence[Look]
    distortion: Curve | None
    images: int
    log_snr: Float64[Tensor, " steps"] | None = None
    baselines: Mapping[str, float] | None = None

    @property
    def headline(self) -> str:
        """The bound, what it is of, and on what, in one line."""
        split = self.data.get("split")
        data = f"{self.data['name']}:{split}" if split else f"{self.data['name']}"
        model = f"{self.model['name']}{likelihood_of(self.model)}"
        bound = f"{self.per_dim:.4f} {self._plus_minus(self.total)} {self.unit}"
        return printable(f"{bound}, {model} on {self.images:,} of {data}")

    def to_dict(self) -> dict[str, Json]:
        """The JSON object, schema nelbo.evaluation/1."""
        tree: dict[str, Json] = {
            "schema": SCHEMA,
            "kind": kind_of(self.model),
            **self.unit.headline(self.total.mean, self.dims),
            "ci95": self._interval(self.total),
            "ci95_monte_carlo": self._interval(self.monte_carlo),
            "nats_per_image": self.total.mean,
            "terms": {
                name: {
                    self.unit.key: self._per_dim(data.mean),
                    "se": self._per_dim(data.se),
                    "se_monte_carlo": self._per_dim(noise.se),
                }
                for name, (data, noise) in self.terms.items()
            },
            "per_step": [
                {
                    "t": step.t,
                    self.unit.key: self._per_dim(step.mean),
                    "se": self._per_dim(step.se),
                    **self._log_snr(step.t),
                }
                for step in self.per_step
            ],
            "rate_distortion": None if self.distortion is None else self._curve(self.distortion),
            "looks": [
                {
                    "network_evaluations": look.evaluations,
                    self.unit.key: self._per_dim(look.mean.mean),
                    "ci95_monte_carlo": self._interval(look.mean),
                }
                for look in self.looks
            ],
            "per_image_sha256": digest(self.per_image.columns()),
            "images": self.images,
            "dims": self.dims,
            **self._provenance(),
            **({} if self._text is None else {"text_units": self._text}),
            **({} if self.baselines is None else {"baselines": dict(self.baselines)}),
        }
        return sealed({**tree, "figures_sha256": figures_digest(tree)})

    def __str__(self) -> str:
        """The figure with both intervals, then its three terms and what it took."""
        evaluations, examples = f"{self.network_evaluations:,}", self.unit.examples
        lines = [
            f"{self.per_dim:.4f} {self.unit}{likelihood_of(self.model)}{order_of(self.model)}",
            f"  {f'sampling of {examples}':<18} {self._plus_minus(self.total)} "
            f"(95 %, {self.images:,} {examples})",
            self._of_these(),
        ]
        later = "L_inf" if self.model.get("time") == "continuous" else "sum of L_(t-1)"
        names = {"L_T": "L_T", "L_mid": later, "L_0": "L_0"}
        for key, label in names.items():
            term, _ = self.terms[key]
            lines.append(f"  {label:<17}  {self._per_dim(term.mean):.6f} {self._plus_minus(term)}")
        lines += self._of_text()
        if self.unit.density_of is not None:  # nothing else decides as much of a density
            lines.append(f"  decoder {self.model['decoder']}, V_1 {self.model['V_1']:.6g}")
        if "encoded" in self.data:
            encoded, keys = (
                object_at(self.data, "encoded"),
                ("latent", "scaling_factor", "shift_factor"),
            )
            made = ", ".join(f"{key} {encoded[key]}" for key in keys)
            lines.append(f"  of images: {made}")
        lines.append(
            f"  {evaluations} network evaluations in {self.seconds:.1f} s, "
            f"estimator {self.estimator['name']}, seed {self.estimator['seed']}"
        )
        lines += self._ended()
        lines += unchecked(self.estimator)
        for name, bits in sorted((self.baselines or {}).items(), key=lambda one: -one[1]):
            lines.append(f"  by no model: {bits:.4f}  {name}")
        for control in rows_at(self.estimator.get("controls", ())):
            if not control["passed"]:
                lines.append(
                    f"  without the control {control['name']}, whose sum is {control['z']:+.1f} "
                    "standard errors from what is stated of it"
                )
        lines += [f"  warning: {warning}" for warning in self.warnings]
        return "\n".join(map(printable, lines))

    def _why(self) -> str:
        """Why there were no more evaluations, for a person."""
        why, precision = text_at(self.estimator, "stopped_by"), self.estimator["precision"]
        wanted = f"± {precision:g} {self.unit}"
        half = self.half_width(self.monte_carlo)
        if why == "precision" and half is not None and half <= number_of(precision):
            return f"reached --precision: {wanted}, Monte Carlo"
        if why == "precision":
            return f"a pilot planned this for {wanted}; the interval says what came of it"
        if why.startswith("a tenth of"):
            return "the Monte Carlo error is a tenth of what the spread between images leaves"
        return f"{wanted} is not reached after {why}, which is the most"

    def _ended(self) -> list[str]:
        """Why there were no more evaluations, nor images, where a precision decided it."""
        stopped = [f"  stopped: {self._why()}"] if "stopped_by" in self.estimator else []
        return stopped + ([f"  {self._drawn()}"] if "subset" in self.estimator else [])

    def _drawn(self) -> str:
        """Which of the data were evaluated, where that was left to the precision."""
        of = whole_at(self.estimator, "subset", "of")
        wanted = f"± {self.estimator['precision']:g} {self.unit}, sampling of {self.unit.examples}"
        if of == self.images:
            return f"all {of:,} {self.unit.examples}: a pilot planned no fewer for {wanted}"
        return (
            f"{self.images:,} of {of:,} {self.unit.examples}, drawn at random: a pilot planned "
            f"this for {wanted}"
        )

    @property
    def _text(self) -> dict[str, float | None] | None:
        """The figure in every unit of text; None of what is no text."""
        if "text" not in self.data:
            return None
        return in_text_units(self.total.mean * self.images, object_at(self.data, "text"))

    def _of_text(self) -> list[str]:
        """How the text was cut, and the figure in the other units."""
        values, text = self._text, part_at(self.data, "text")
        if values is None:
            return []
        named = {key.replace("_per_", "/"): value for key, value in values.items()}
        others = [f"{v:.4f} {k}" for k, v in named.items() if v is not None and k != self.unit.name]
        size = "" if text["bytes"] is None else f"{text['bytes']:,} bytes, "
        cut = f", context {text['context']}, stride {text['stride']}" if "context" in text else ""
        kept = "" if text.get("lossless", True) else "; the tokens are not all of the text"
        return [
            f"  {', '.join(others)}",
            f"  of {size}{text['tokens'] or text['counted']:,} tokens{cut}{kept}",
        ]

    def _of_these(self) -> str:
        if kind_of(self.model) == "likelihood":
            return "  this test set      exact: nothing is drawn"
        of = f"these {self.unit.examples}" if "subset" in self.estimator else "this test set"
        return f"  Monte Carlo        {self._plus_minus(self.monte_carlo)} (95 %, {of})"

    def _per_dim(self, nats: float | None) -> float | None:
        return None if nats is None else self.unit.per_dim(nats, self.dims)

    def _log_snr(self, t: int) -> dict[str, float | None]:
        """Of a chain that has one; None where it is infinite."""
        if self.log_snr is None:
            return {}
        value = float(self.log_snr[t])
        return {"log_snr": value if math.isfinite(value) else None}

    def _curve(self, curve: Curve) -> list[dict[str, Json]]:
        """Reconstruction errors in levels, the grid's width over n - 1; in their own unit without.

        None where they are not known.
        """
        level = 1.0
        if self.data["levels"] is not None:
            lo, hi = map(number_of, list_at(self.data, "grid"))
            level = (hi - lo) / (whole_at(self.data, "levels") - 1)
        errors = [None] * len(curve.t) if curve.squared_error is None else curve.squared_error
        return [
            {
                "t": t,
                self.unit.key: self._per_dim(rate),
                "rmse": None if error is None else math.sqrt(float(error) / self.dims) / level,
            }
            for t, rate, error in zip(curve.t.tolist(), curve.rate.tolist(), errors, strict=True)
        ]
