"""Which class each image has by a model of p(x | class): posteriors, accuracy and calibration."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import final

import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from nelbo.data.images import shown
from nelbo.errors import printable
from nelbo.results.saved import Provenance, sealed
from nelbo.results.stored import check_parts, ends_of, keeping_to, provenance_at, stating
from nelbo.typed_json import (
    Json,
    known_at,
    list_at,
    number_at,
    number_of,
    rows_at,
    text_at,
    whole_at,
    whole_of,
)

__all__ = ["SCHEMA", "Bin", "Classification", "wilson"]

SCHEMA = "nelbo.classification/1"
WRITTEN_BY = "nelbo classify MODEL --json FILE writes one"
BINS = 10  # of the confidence, of equal width
NORMAL = 1.959963984540054  # the 97.5 % quantile


def wilson(hits: int, count: int) -> tuple[float, float]:
    """The 95 % interval of a share, hits of count (Wilson 1927)."""
    share, z = hits / count, NORMAL
    middle = share + z * z / (2 * count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    whole = 1 + z * z / count
    return (middle - half) / whole, (middle + half) / whole


@final
@dataclass(frozen=True)
class Bin:
    """Images whose confidence, the posterior of the class that they are given, is in a range."""

    low: float
    high: float
    images: int
    confidence: float
    accuracy: float


@final
@dataclass(frozen=True, eq=False, repr=False)
class Classification(Provenance):
    """p(class | x) of N images and K classes, from bounds of log p(x | class) and a prior.

    posterior: proportional to prior * exp(-bound). behind: how many nats the runner-up is behind
    the class that is given, prior included, and se its standard error; of a runner-up that dropped
    out, when it did. decided: whether one candidate was left. labels: those of the data, None where
    it has none. error: the most chance in each image that the class of the lowest exact bound
    dropped out.
    """

    ids: Int64[Tensor, " N"]
    posterior: Float64[Tensor, "N K"]
    behind: Float64[Tensor, " N"]
    se: Float64[Tensor, " N"]
    decided: Bool[Tensor, " N"]
    evaluations: Int64[Tensor, " N"]
    labels: Int64[Tensor, " N"] | None
    sources: tuple[str, ...]
    prior: Sequence[float]
    error: float

    @classmethod
    def from_dict(cls, tree: Mapping[str, Json], source: str = "the result") -> "Classification":
        """The classification that a JSON object tells, which messages call `source`.

        Raises:
            BadInput: a part that is missing or of another kind, or an accuracy that is not that of
                the images.
        """
        with keeping_to(SCHEMA, source, WRITTEN_BY):
            check_parts(tree)
            rows = rows_at(tree, "per_image")
            if len(rows) != tree["images"]:
                raise ValueError("images and per_image contradict each other")
            prior = [number_of(p) for p in list_at(tree, "prior")]
            labelled = tree["accuracy"] is not None
            for row in rows:
                _check_row(row, len(prior), labelled)
            made = cls(
                ids=_whole(rows, "id"),
                posterior=torch.tensor([r["posterior"] for r in rows], dtype=torch.float64),
                behind=_known(rows, "behind"),
                se=_known(rows, "behind_se"),
                decided=torch.tensor([row["decided"] is True for row in rows]),
                evaluations=_whole(rows, "network_evaluations"),
                labels=_whole(rows, "label") if labelled else None,
                sources=tuple(text_at(row, "file") for row in rows if "file" in row),
                prior=prior,
                error=number_at(tree, "error"),
                **provenance_at(tree),
            )
            stating(made, tree=tree)._check()
            return made

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of the accuracy; None without labels."""
        return None if self.hits is None else wilson(self.hits, len(self.ids))

    @property
    def confusion(self) -> list[list[int]] | None:
        """How many images of each class (row) were given each class (column)."""
        if self.labels is None:
            return None
        count = len(self.prior)
        cells = torch.bincount(self.labels * count + self.classes, minlength=count * count)
        table: list[list[int]] = cells.view(count, count).tolist()
        return table

    @cached_property
    def classes(self) -> Int64[Tensor, " N"]:
        """The class of the largest posterior of each image."""
        return self.posterior.argmax(1)

    @property
    def hits(self) -> int | None:
        """Images that are given the class of their label; None without labels."""
        return None if self.labels is None else int((self.classes == self.labels).sum())

    @property
    def accuracy(self) -> float | None:
        """The share of images that are given the class of their label; None without labels."""
        return None if self.hits is None else self.hits / len(self.ids)

    @property
    def each(self) -> float:
        """Network evaluations for each image."""
        return float(self.evaluations.double().mean())

    @property
    def reliability(self) -> list[Bin]:
        """Confidence against accuracy, in ten ranges of equal width; those that hold images."""
        if self.labels is None:
            return []
        confidence = self.posterior.amax(1)
        right = (self.classes == self.labels).double()
        place = (confidence * BINS).long().clamp(max=BINS - 1)
        return [
            Bin(
                number / BINS,
                (number + 1) / BINS,
                int(own.sum()),
                float(confidence[own].mean()),
                float(right[own].mean()),
            )
            for number in range(BINS)
            if (own := place == number).any()
        ]

    @property
    def calibration_error(self) -> float | None:
        """sum over ranges of the share of images times |accuracy - confidence| (ECE).

        Naeini, Cooper and Hauskrecht 2015; None without labels.
        """
        if self.labels is None:
            return None
        parts = [b.images * abs(b.accuracy - b.confidence) for b in self.reliability]
        return sum(parts) / len(self.ids)

    @property
    def log_loss(self) -> float | None:
        """The mean of -log posterior(label), in nats; None without labels.

        Infinite where a label's posterior is 0: its prior is, or its bound is too far behind.
        """
        return None if self.labels is None else float(-self._of_labels.log().mean())

    @property
    def _of_labels(self) -> Float64[Tensor, " N"]:
        """The posterior of each image's label; of none without labels."""
        labels = self.classes[:0] if self.labels is None else self.labels
        return self.posterior[: len(labels)].gather(1, labels[:, None])[:, 0]

    def to_dict(self) -> dict[str, Json]:
        """The JSON object, schema nelbo.classification/1."""
        return dict(self.tree)

    @cached_property
    def tree(self) -> Mapping[str, Json]:
        """What `to_dict` gives, made once."""
        count, loss = len(self.ids), self.log_loss
        return sealed(
            {
                "schema": SCHEMA,
                "accuracy": self.accuracy,
                "accuracy_ci95": None if self.interval is None else list(self.interval),
                "calibration_error": self.calibration_error,
                "log_loss": loss if loss is not None and math.isfinite(loss) else None,
                "reliability": [vars(b) for b in self.reliability],
                "prior": list(self.prior),
                "error": self.error,
                "evaluations_per_image": self.each,
                "decided": int(self.decided.sum()),
                "per_image": list(self._rows()),
                "images": count,
                **self._provenance(),
            }
        )

    def _rows(self) -> Iterator[dict[str, Json]]:
        behind, se = self.behind.tolist(), self.se.tolist()
        for i, id in enumerate(self.ids.tolist()):
            yield {
                "id": id,
                "class": int(self.classes[i]),
                **({} if self.labels is None else {"label": int(self.labels[i])}),
                "posterior": self.posterior[i].tolist(),
                "behind": behind[i] if math.isfinite(behind[i]) else None,
                "behind_se": se[i] if math.isfinite(behind[i]) else None,
                "decided": bool(self.decided[i]),
                "network_evaluations": int(self.evaluations[i]),
                **({"file": shown(self.sources[i])} if self.sources else {}),
            }

    def __repr__(self) -> str:
        count, name = f"{len(self.ids):,}", self.data["name"]
        accuracy = "no labels" if self.accuracy is None else f"accuracy {self.accuracy:.4f}"
        return printable(f"<Classification: {self.model['name']} on {count} of {name}, {accuracy}>")

    def __str__(self) -> str:
        """Accuracy with its interval, the calibration, and what it took."""
        return "\n".join(map(printable, self._lines()))

    def _lines(self) -> Iterator[str]:
        count, hits = len(self.ids), self.hits
        if hits is None:
            yield f"{count:,} images by {len(self.prior)} classes; the data have no labels"
        else:
            low, high = wilson(hits, count)
            yield (
                f"{100 * hits / count:.2f} % right (95 %: {100 * low:.2f} to {100 * high:.2f}), "
                f"{hits:,} of {count:,} images"
            )
            yield (
                f"  calibration error {self.calibration_error:.4f}, log loss {self.log_loss:.4f} "
                "nats"
            )
            if lost := int((self._of_labels == 0).sum()):
                yield f"  the posterior of the label is 0 in {lost:,} of {count:,} images"
            yield f"  {'confidence':<12} {'images':>8} {'mean':>7} {'right':>7}"
            for b in self.reliability:
                place = f"{b.low:.1f} to {b.high:.1f}"
                yield f"  {place:<12} {b.images:>8,} {b.confidence:>7.4f} {b.accuracy:>7.4f}"
        yield f"  prior over the {len(self.prior)} classes: {self._prior()}"
        yield (
            f"  {int(self.decided.sum()):,} of {count:,} decided, the lowest bound kept with "
            f"{100 * (1 - self.error):g} % in each"
        )
        yield (
            f"  {self.each:.1f} network evaluations an image, {self.network_evaluations:,} in "
            f"{self.seconds:.1f} s, seed {self.estimator['seed']}"
        )
        yield from (f"  warning: {warning}" for warning in self.warnings)

    def _prior(self) -> str:
        if len(set(self.prior)) == 1:
            return "uniform"
        return ", ".join(f"{p:.4g}" for p in self.prior[:10]) + ", ..." * (len(self.prior) > 10)

    def _check(self) -> None:
        """ValueError where the share, its interval or its calibration is not that of the images."""
        tree, count = self.tree, len(self.ids)
        number_at(tree, "evaluations_per_image")
        if tree["decided"] != int(self.decided.sum()):
            raise ValueError("decided is not that of per_image")
        if self.hits is None or self.interval is None:
            return
        if abs(number_at(tree, "accuracy") * count - self.hits) > 1e-6:
            raise ValueError("accuracy is not that of per_image")
        ends = zip(ends_of(tree["accuracy_ci95"]) or (0.0, 0.0), self.interval, strict=True)
        if any(abs(stated - own) > 1e-9 for stated, own in ends):
            raise ValueError("accuracy_ci95 is not the interval of accuracy")
        number_at(tree, "calibration_error")
        if sum(whole_of(row["images"]) for row in rows_at(tree, "reliability")) != count:
            raise ValueError("reliability is not of all images")


def _check_row(row: Mapping[str, Json], classes: int, labelled: bool) -> None:
    """ValueError of an image that is none of so many classes."""
    given = [row["class"], *([row["label"]] if labelled else [])]
    posterior = [number_of(p) for p in list_at(row, "posterior")]
    if not all(one in range(classes) for one in given) or len(posterior) != classes:
        raise ValueError(f"image {row['id']} has no class of {classes}")


def _whole(rows: Sequence[Mapping[str, Json]], name: str) -> Int64[Tensor, " N"]:
    return torch.tensor([whole_at(row, name) for row in rows], dtype=torch.int64)


def _known(rows: Sequence[Mapping[str, Json]], name: str) -> Float64[Tensor, " N"]:
    """Infinite where it is not known: no other class was in the race."""
    known = (known_at(row, name) for row in rows)
    return torch.tensor([math.inf if x is None else x for x in known], dtype=torch.float64)
