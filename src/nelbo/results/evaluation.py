"""The bound of a data set as people and programs read it, in the unit that its data have."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import final

from nelbo.bound.statistics import Mean
from nelbo.errors import BadInput, printable
from nelbo.results.context import kind_of, likelihood_of, order_of, unchecked
from nelbo.results.evaluation_parts import Curve, Look, Point, Read, Step, Term, level_of
from nelbo.results.per_image import PerImage, digest
from nelbo.results.saved import sealed
from nelbo.results.shown import Tabulated
from nelbo.results.stored import keeping_to, stating
from nelbo.results.unit import TEXT_KEYS, in_text_units
from nelbo.typed_json import (
    Json,
    number_at,
    number_of,
    object_at,
    part_at,
    rows_at,
    text_at,
    whole_at,
)

__all__ = ["SCHEMA", "Curve", "Evaluation", "Look", "Point", "Step", "Term", "figures_digest"]

SCHEMA = "nelbo.evaluation/1"
WRITTEN_BY = "nelbo evaluate MODEL --json FILE writes one"
FIGURES = (
    *("bits_per_dim", "nats_per_dim", *TEXT_KEYS, "unit"),
    *("ci95", "ci95_monte_carlo", "nats_per_image"),
    *("terms", "per_step", "rate_distortion", "looks", "per_image_sha256"),
    *("images", "dims", "network_evaluations", "kind"),
)


def figures_digest(tree: Mapping[str, Json]) -> str:
    """The SHA-256 of the figures of a result's JSON object, whatever its command and machine."""
    figures = {name: tree[name] for name in FIGURES if name in tree}
    return hashlib.sha256(json.dumps(figures, sort_keys=True).encode()).hexdigest()


@final
@dataclass(frozen=True, eq=False, repr=False)
class Evaluation(Tabulated):
    """The bound of a data set under a model, by term, with two intervals; or -log p, exactly.

    Means are nats per image. Of each pair the first has the error of the sampling of images, the
    second that of Monte Carlo. rows: those of `per_image`. log_snr is that of t, where the chain
    has one; warnings say why the figure may not be the model's. baselines: what the same images
    cost by no model, in bits/dim by name, where it was computed.
    """

    terms: Mapping[str, tuple[Mean, Mean]]
    per_step: Sequence[Step]
    looks: Sequence[Look]
    distortion: Curve | None
    images: int
    rows: PerImage | None = None
    log_snr: Mapping[int, float] | None = None
    baselines: Mapping[str, float] | None = None

    @classmethod
    def from_dict(cls, tree: object, source: str = "the result") -> "Evaluation":
        """The evaluation that a JSON object tells, which messages call `source`.

        Its table of images is a file of its own, and is not there.

        Raises:
            BadInput: another schema, or a part that is missing or of another kind.
        """
        schema = tree.get("schema") if isinstance(tree, Mapping) else None
        if not isinstance(tree, Mapping) or schema is None:
            raise BadInput(f"{source} is no result of nelbo: it names no schema; {WRITTEN_BY}")
        if schema != SCHEMA:
            raise BadInput(
                f"{source} is of schema {schema}, a page is made of {SCHEMA}; {WRITTEN_BY}"
            )
        with keeping_to(SCHEMA, source, WRITTEN_BY):
            read = Read(tree)
            made = cls(
                total=read.of_images(tree),
                monte_carlo=read.monte_carlo(tree),
                terms=read.terms(),
                per_step=read.steps(),
                looks=read.looks(),
                distortion=read.curve(),
                images=read.images,
                dims=read.dims,
                network_evaluations=whole_at(tree, "network_evaluations"),
                seconds=number_at(tree, "seconds"),
                estimator=read.named("estimator"),
                model=read.named("model"),
                data=read.named("data"),
                environment=object_at(tree, "environment"),
                command=text_at(tree.get("command", "")),
                unit=read.unit,
                log_snr=read.log_snr(),
                warnings=read.warnings(),
                baselines=read.baselines(),
            )
            return stating(made, tree=tree)

    @property
    def per_image(self) -> PerImage:
        """The bound and its terms for each image, in nats.

        Raises:
            BadInput: the evaluation was read from its JSON, which does not hold them.
        """
        if self.rows is None:
            raise BadInput(
                "a result that was read from JSON has no rows of images: nelbo evaluate MODEL "
                "--per-image FILE writes them"
            )
        return self.rows

    @property
    def levels(self) -> int | None:
        """Of the data; None for real numbers."""
        return None if self.data.get("levels") is None else whole_at(self.data, "levels")

    @property
    def figures(self) -> list[Term]:
        """The three terms in the unit."""
        return [
            Term(name, self.unit.per_dim(mean.mean, self.dims), self.half_width(mean))
            for name, (mean, _) in self.terms.items()
        ]

    @property
    def rate(self) -> list[Point]:
        """The curve in the unit; errors in levels, or in the data's own unit where they have none.

        A level is the grid's width over n - 1.
        """
        curve = self.distortion
        if curve is None:
            return []
        errors: list[float | None] = [None] * len(curve.t)
        if curve.squared_error is not None:
            level, scaled = level_of(self.data), (curve.squared_error / self.dims).tolist()
            errors = [math.sqrt(error) / level for error in scaled]
        rates = (curve.rate / self.unit.of_image(self.dims)).tolist()
        return [Point(*point) for point in zip(curve.t.tolist(), rates, errors, strict=True)]

    def log_snr_at(self, t: int) -> float | None:
        """None where it is infinite or not known, and of a chain that has none."""
        value = math.inf if self.log_snr is None else self.log_snr.get(t, math.inf)
        return value if math.isfinite(value) else None

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
        return dict(self.tree)

    @cached_property
    def tree(self) -> Mapping[str, Json]:
        """What `to_dict` gives, made once."""
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
            "per_step": self._steps(),
            "rate_distortion": None
            if self.distortion is None
            else [{"t": p.t, self.unit.key: p.rate, "rmse": p.rmse} for p in self.rate],
            "looks": [
                {
                    "network_evaluations": look.evaluations,
                    self.unit.key: self._per_dim(look.mean.mean),
                    "ci95_monte_carlo": self._interval(look.mean),
                }
                for look in self.looks
            ],
            **({} if self.rows is None else {"per_image_sha256": digest(self.rows.columns())}),
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
        if not whole_at(self.estimator, "subset", "pilot"):
            return f"all {of:,} {self.unit.examples}: no fewer are drawn"
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

    def _steps(self) -> list[dict[str, Json]]:
        """All at once: there may be thousands."""
        key, image = self.unit.key, self.unit.of_image(self.dims)
        rows: list[dict[str, Json]] = [
            {"t": s.t, key: s.mean / image, "se": None if s.se is None else s.se / image}
            for s in self.per_step
        ]
        if self.log_snr is None:
            return rows
        known = [self.log_snr.get(step.t, math.inf) for step in self.per_step]
        return [
            {**row, "log_snr": value if math.isfinite(value) else None}
            for row, value in zip(rows, known, strict=True)
        ]
