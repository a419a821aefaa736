"""Bits per dimension as a torchmetrics metric; the extra `metrics`, nelbo[metrics].

It counts, means and merges; what it is given was measured elsewhere, by `nelbo.evaluate` or
`nelbo.loss`.
"""

from collections.abc import Callable, Sequence
from typing import Self, final

import numpy as np
import torch
from jaxtyping import Float64
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from nelbo.arguments import shown, whole
from nelbo.errors import BadInput, NonFinite
from nelbo.results import Evaluation, PerImage, bits_per_dim

try:
    from torchmetrics import Metric
except ImportError:
    raise BadInput("BitsPerDim needs torchmetrics: pip install 'nelbo[metrics]'") from None

__all__ = ["BitsPerDim"]

TERMS = ("L_T", "L_mid", "L_0")
STATE = "moments"


@final
class BitsPerDim(Metric):
    """The mean over images of L and of its three terms, in bits per dimension.

    Give `update` an Evaluation, its `per_image`, or nats per image (B,), such as `nelbo.loss`
    returns, a tensor, array or list, with L_T, L_mid and L_0 of each where they are known.
    `compute` gives bits_per_dim, its standard error `se` for sampling of images, and the terms
    where every update had them. se is NaN
    of one image.

    Images count once each, whatever batch or process they come in, so no image may be given twice:
    a sampler that fills up the last batch of a process with images of the first spoils the mean.
    The state is float64 and stays so: no `.to(dtype)`, `.half()` or `set_dtype` rounds it.

    Arguments:
        dims: the dimensions of an image, `model.dims`.
        settings: what every torchmetrics.Metric takes.

    Raises:
        BadInput: dims below 1.

    Example:
        >>> metric = BitsPerDim(dims=64)
        >>> metric.update(torch.tensor([88.0, 89.0]))
        >>> round(float(metric.compute()["bits_per_dim"]), 3)
        1.995
    """

    is_differentiable = False
    higher_is_better = False
    full_state_update = False
    moments: Float64[Tensor, "3 4"]

    def __init__(self, dims: int, **settings: object) -> None:
        super().__init__(**settings)
        dims = whole("dims", dims)
        if dims < 1:
            raise BadInput(f"an image has at least 1 dimension; got dims = {dims}")
        self.dims = dims
        self.add_state(STATE, torch.zeros(3, 4, dtype=torch.float64), dist_reduce_fx=merged)

    def update(
        self,
        nats: Evaluation | PerImage | Tensor | NDArray[np.generic] | Sequence[float],
        *,
        L_T: Tensor | NDArray[np.generic] | Sequence[float] | None = None,
        L_mid: Tensor | NDArray[np.generic] | Sequence[float] | None = None,
        L_0: Tensor | NDArray[np.generic] | Sequence[float] | None = None,
    ) -> None:
        """Adds images: an Evaluation, its per_image, or nats per image with or without the terms.

        Raises:
            BadInput: a density, images of other dims, columns of different lengths, one or two of
                the terms.
            NonFinite: a value is NaN or infinite.
        """
        columns = self._columns(nats, (L_T, L_mid, L_0))
        moments = torch.zeros_like(self.moments)
        for place, column in enumerate(columns):
            values = column.to(self.moments)
            mean = values.mean()
            moments[:, place] = torch.stack(
                [torch.full_like(mean, len(values)), mean, (values - mean).square().sum()]
            )
        if not moments.isfinite().all():
            raise NonFinite(f"BitsPerDim was given NaN or infinity among {len(columns[0])} images")
        self.moments = merged(torch.stack([self.moments, moments]))

    def compute(self) -> dict[str, Float64[Tensor, ""]]:
        """bits_per_dim, se, and L_T, L_mid, L_0 where they are known; each a float64 scalar.

        Raises:
            BadInput: no image yet, or terms of some images only.
        """
        (count, *known), means, squares = self.moments.tolist()
        if count == 0:
            raise BadInput("BitsPerDim has seen no image: call update before compute")
        if any(number not in (0, count) for number in known):
            raise BadInput(f"terms of {known[0]:.0f} of {count:.0f} images: give all or none")
        se = (squares[0] / (count - 1) / count) ** 0.5 if count > 1 else float("nan")
        values = {"bits_per_dim": means[0], "se": se}
        if known[0]:
            values |= dict(zip(TERMS, means[1:], strict=True))
        return {
            name: torch.tensor(bits_per_dim(x, self.dims), dtype=torch.float64, device=self.device)
            for name, x in values.items()
        }

    def plot(
        self,
        val: dict[str, Tensor] | Sequence[dict[str, Tensor]] | None = None,
        ax: Axes | None = None,
    ) -> tuple[Figure | None, Axes | NDArray[np.generic]]:
        """Figure and axes with what `compute` gave, or with a sequence of it as curves."""
        return self._plot(val, ax)

    def _columns(self, nats: object, terms: Sequence[object]) -> list[Tensor]:
        """The total, then the terms or nothing, each a value per image."""
        table = nats.per_image if isinstance(nats, Evaluation) else nats
        if isinstance(table, PerImage):
            table.unit.require_bits()
            if table.dims != self.dims:
                raise BadInput(f"images of {table.dims} dimensions for a metric of {self.dims}")
            return [table.total, table.L_T, table.L_mid, table.L_0]
        columns = [_column(table), *(_column(term) for term in terms if term is not None)]
        if len(columns) not in (1, 1 + len(TERMS)):
            raise BadInput(f"give all of {', '.join(TERMS)} or none; got {len(columns) - 1}")
        shapes = {tuple(column.shape) for column in columns}
        if columns[0].ndim != 1 or len(columns[0]) == 0 or len(shapes) > 1:
            raise BadInput(f"nats are (B,), one per image; got {sorted(shapes)}")
        return columns

    def _apply(self, fn: Callable[[Tensor], Tensor], exclude_state: Sequence[str] = ()) -> Self:
        """What `.to`, `.half` and the like do: the state moves to the device, uncast."""
        super()._apply(fn, exclude_state=[STATE, *exclude_state])
        self.moments = self.moments.to(self.device)
        self._computed = None  # the cached result was cast
        return self


def _column(values: object) -> Tensor:
    """Nats per image as a float64 tensor without a gradient.

    Raises:
        BadInput: they are no real numbers.
    """
    plain = isinstance(values, list | tuple | np.ndarray)
    try:
        column = torch.tensor(np.asarray(values, np.float64)) if plain else values
    except (TypeError, ValueError):
        column = None
    if not isinstance(column, Tensor) or column.is_complex() or column.dtype == torch.bool:
        raise BadInput(f"nats are (B,), one per image; got {shown(values)}")
    return column.detach().double()


def merged(parts: Float64[Tensor, "P 3 4"]) -> Float64[Tensor, "3 4"]:
    """Count, mean and sum of squared deviations of each column, of all parts together.

    A sum of squares would lose the digits that the mean has (Chan, Golub and LeVeque 1983).
    """
    count, mean, squares = parts.unbind(1)
    total = count.sum(0)
    middle = (count * mean).sum(0) / total.clamp(min=1)
    return torch.stack([total, middle, (squares + count * (mean - middle).square()).sum(0)])
