"""Images in the order of their bounds: the easiest, the hardest, and those unlike the rest."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from io import StringIO
from typing import final

import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from nelbo.data.images import shown
from nelbo.errors import BadInput, printable
from nelbo.results.context import likelihood_of
from nelbo.results.rounding import with_half
from nelbo.results.saved import sealed
from nelbo.results.shown import Measured
from nelbo.typed_json import Json, number_at

__all__ = ["Fence", "ImageBounds", "ImageRanking"]

SCHEMA = "nelbo.image_ranking/1"
LEVEL = 0.95
OF_NORMAL = 1.4826  # the standard deviation of a normal law over its median absolute deviation
FEWEST = 8  # images below which nothing is called unlike the rest


@final
@dataclass(frozen=True, eq=False)
class ImageBounds:
    """The bound of each of N images in nats, with the Monte Carlo error of this image alone.

    dof: the degrees of freedom behind each se, infinite where there is no error. again: whether
    the value is of the second look, whose noise had no part in choosing the image.

    Raises:
        BadInput: columns of different lengths.
    """

    ids: Int64[Tensor, " N"]
    values: Float64[Tensor, " N"]
    se: Float64[Tensor, " N"]
    dof: Float64[Tensor, " N"]
    again: Bool[Tensor, " N"]
    sources: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        lengths = [len(x) for x in (self.ids, self.values, self.se, self.dof, self.again)]
        if len({*lengths, len(self.sources) or len(self.ids)}) > 1:
            raise BadInput(f"an image has one value in each column; got {lengths}")

    def half(self, together: int = 1) -> Float64[Tensor, " N"]:
        """Half of each 95 % interval by Student's t; of `together` intervals at once, Bonferroni's.

        The chance that any of them misses is then at most 5 %.
        """
        from scipy.special import stdtrit

        quantile = stdtrit(self.dof.clamp(max=1e9).numpy(), 1 - (1 - LEVEL) / (2 * together))
        return torch.as_tensor(quantile, dtype=torch.float64) * self.se


@final
@dataclass(frozen=True)
class Fence:
    """Where normal images would lie, all of them at once with 95 %, per dimension.

    median ± width * spread, spread being 1.4826 times the median absolute deviation.
    """

    median: float
    spread: float
    width: float

    @property
    def low(self) -> float:
        """Below, an image is unlike the rest."""
        return self.median - self.width * self.spread

    @property
    def high(self) -> float:
        """Above, an image is unlike the rest."""
        return self.median + self.width * self.spread


@final
@dataclass(frozen=True, eq=False, repr=False)
class ImageRanking(Measured):
    """N images from the lowest bound to the highest, each with its interval and possible ranks.

    easiest and hardest: places of the listed images, chosen by the first look. total and
    monte_carlo: of all images together, by the first look.
    """

    bounds: ImageBounds
    easiest: Int64[Tensor, " count"]
    hardest: Int64[Tensor, " count"]

    @cached_property
    def order(self) -> Int64[Tensor, " N"]:
        """The places of the images from the lowest bound to the highest."""
        return self.bounds.values.argsort(stable=True)

    @cached_property
    def ranks(self) -> tuple[Int64[Tensor, " N"], Int64[Tensor, " N"]]:
        """(lowest, highest) rank of each image, 1..N, right for all at once with 95 %.

        An image is certainly behind those whose whole interval lies below its own (Klein, Wright
        and Wieczorek 2020, theorem 2). The intervals hold together, those of both looks.
        """
        values, half = self.bounds.values, self._together
        low, high = (values - half).sort().values, (values + half).sort().values
        below = torch.searchsorted(high, values - half)
        above = len(values) - torch.searchsorted(low, values + half, right=True)
        return 1 + below, len(values) - above

    @cached_property
    def fence(self) -> Fence | None:
        """Where the images would lie if they were normal; None of fewer than eight."""
        values = self.bounds.values / (self.dims * self.unit.nats)
        if len(values) < FEWEST:
            return None
        from scipy.special import ndtri

        median = values.median()
        spread = OF_NORMAL * float((values - median).abs().median())
        width = float(ndtri(1 - (1 - LEVEL) / (2 * len(values))))
        return Fence(float(median), spread, width)

    @cached_property
    def unlike(self) -> Bool[Tensor, " N"]:
        """Whether an image lies outside the fence with its whole interval, all at once."""
        if self.fence is None:
            return torch.zeros(len(self.bounds.ids), dtype=torch.bool)
        scale = self.dims * self.unit.nats
        values, half = self.bounds.values / scale, self._together / scale
        return (values + half < self.fence.low) | (values - half > self.fence.high)

    @property
    def headline(self) -> str:
        """The range of the bounds, of which model and data, in one line."""
        values = self.bounds.values / (self.dims * self.unit.nats)
        low, high = float(values.min()), float(values.max())
        name, data = f"{self.model['name']}{likelihood_of(self.model)}", self.data["name"]
        count = f"{len(self.bounds.ids):,}"
        return printable(
            f"{low:.4f} to {high:.4f} {self.unit}, {name} on each of {count} of {data}"
        )

    @cached_property
    def _together(self) -> Float64[Tensor, " N"]:
        """Half of the intervals that hold at once: one for each image and look."""
        return self.bounds.half(len(self.bounds.ids) + int(self.bounds.again.sum()))

    def rows(self) -> list[dict[str, Json]]:
        """A dict for each image in the order of its bound, as the JSON and the table have it."""
        scale = self.dims * self.unit.nats
        bounds, half = self.bounds, self.bounds.half() / scale
        values = bounds.values / scale
        lowest, highest = self.ranks
        return [
            {
                "rank": number,
                "id": int(bounds.ids[i]),
                self.unit.key: float(values[i]),
                "low": float(values[i] - half[i]),
                "high": float(values[i] + half[i]),
                "rank_low": int(lowest[i]),
                "rank_high": int(highest[i]),
                "again": bool(bounds.again[i]),
                "unlike": bool(self.unlike[i]),
                **({"file": shown(bounds.sources[i])} if bounds.sources else {}),
            }
            for number, i in enumerate(self.order.tolist(), 1)
        ]

    def listed(self, places: Int64[Tensor, " count"]) -> list[dict[str, Json]]:
        """The rows of the images at these places, in the order of their bounds."""
        ids = set(self.bounds.ids[places].tolist())
        return [row for row in self.rows() if row["id"] in ids]

    def to_dict(self) -> dict[str, Json]:
        """The JSON object, schema nelbo.image_ranking/1."""
        ids, fence = self.bounds.ids, self.fence
        unlike = self.order[self.unlike[self.order]]
        return sealed(
            {
                "schema": SCHEMA,
                **self.unit.headline(self.total.mean, self.dims),
                "ci95": self._interval(self.total),
                "ci95_monte_carlo": self._interval(self.monte_carlo),
                "easiest": [row["id"] for row in self.listed(self.easiest)],
                "hardest": [row["id"] for row in self.listed(self.hardest)[::-1]],
                "unlike": ids[unlike].tolist(),
                "fence": fence and {**vars(fence), "low": fence.low, "high": fence.high},
                "per_image": self.rows(),
                "images": len(ids),
                "dims": self.dims,
                **self._provenance(),
            }
        )

    def to_csv(self) -> str:
        """A line for each image in the order of its bound."""
        text, rows = StringIO(), self.rows()
        lines = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        lines.writeheader()
        lines.writerows(rows)
        return text.getvalue()

    def __str__(self) -> str:
        """The lists, with intervals and possible ranks."""
        return "\n".join(map(printable, self._lines()))

    def _lines(self) -> Iterator[str]:
        rows, count = self.rows(), f"{len(self.bounds.ids):,}"
        yield self.headline
        yield (
            f"  all {count}: {self.per_dim:.4f} {self._plus_minus(self.total)}, sampling of images"
        )
        yield f"  {'':>9}  {'rank, and ranks possible':<24}  {self.unit.name}, 95 % Monte Carlo"
        yield "  the easiest"
        yield from map(self._line, self.listed(self.easiest))
        yield "  the hardest"
        yield from map(self._line, self.listed(self.hardest)[::-1])
        yield from self._unlike(rows)
        yield (
            f"  {self.network_evaluations:,} network evaluations in {self.seconds:.1f} s, "
            f"{self._looks()}, seed {self.estimator['seed']}"
        )
        yield from (f"  warning: {warning}" for warning in self.warnings)

    def _unlike(self, rows: Sequence[Mapping[str, Json]]) -> Iterator[str]:
        fence = self.fence
        if fence is None:
            return
        unlike = [row for row in rows if row["unlike"]]
        yield (
            f"  unlike the rest, outside {fence.low:.4f} to {fence.high:.4f}: "
            f"{len(unlike) or 'none'}"
        )
        most = len(self.easiest)
        far = sorted(unlike, key=lambda row: -abs(number_at(row, self.unit.key) - fence.median))
        yield from map(self._line, far[:most])
        if len(unlike) > most:
            yield f"  {'':>9}  and {len(unlike) - most} more, in the JSON and the table"

    def _looks(self) -> str:
        again = int(self.bounds.again.sum())
        if not again:
            return f"estimator {self.estimator['name']}"
        first, second = self.estimator["first"], self.estimator["again"]
        return f"{first} an image, then {second} fresh ones of each of {again}"

    def _line(self, row: Mapping[str, Json]) -> str:
        name = row.get("file", f"image {row['id']}")
        ranks = f"{row['rank']:,} ({row['rank_low']:,} to {row['rank_high']:,})"
        low, high = number_at(row, "low"), number_at(row, "high")
        value = with_half(number_at(row, self.unit.key), (high - low) / 2)
        return f"  {'':>9}  {ranks:<24}  {value}  {name}"
