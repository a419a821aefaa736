"""What every result can do where a person looks: a short line, a notebook's cell, a file."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nelbo.bound.statistics import Mean
from nelbo.results.saved import Provenance, Saved, showing
from nelbo.results.stored import Interval
from nelbo.results.unit import BITS, Unit

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Measured", "Shown", "Tabulated"]


class Shown(Saved):
    """A result: what it says is `to_dict`, and how it is shown follows from that.

    total: its figure in nats per image, with the error of the sampling of images; monte_carlo: the
    same with that of Monte Carlo.
    """

    total: Mean
    monte_carlo: Mean
    dims: int
    unit: Unit

    @property
    @abstractmethod
    def headline(self) -> str:
        """The result in one line."""

    @property
    def per_dim(self) -> float:
        """The figure per dimension, in `unit`."""
        return self.unit.per_dim(self.total.mean, self.dims)

    @property
    def bits_per_dim(self) -> float:
        """The figure in bits per dimension.

        Raises:
            BadInput: it is of a density.
        """
        self.unit.require_bits()
        return self.per_dim

    def half_width(self, mean: Mean) -> float | None:
        """Half of a mean's 95 % interval in `unit`; None where it is not known."""
        half = mean.half_width()
        return None if half is None else self.unit.per_dim(half, self.dims)

    @property
    def half(self) -> float | None:
        """Half of the 95 % interval of the sampling of images, in `unit`."""
        return self.half_width(self.total)

    @property
    def half_monte_carlo(self) -> float | None:
        """Half of the 95 % interval of Monte Carlo, in `unit`."""
        return self.half_width(self.monte_carlo)

    def figure(self, data: Mean, noise: Mean) -> Interval:
        """A mean with both of its 95 % intervals, in `unit`."""
        value = self.unit.per_dim(data.mean, self.dims)
        return Interval(value, self.half_width(data), self.half_width(noise))

    def _interval(self, mean: Mean) -> list[float] | None:
        """A mean's 95 % interval in `unit`."""
        interval = mean.interval()
        return None if interval is None else [self.unit.per_dim(x, self.dims) for x in interval]

    def _plus_minus(self, mean: Mean) -> str:
        half = self.half_width(mean)
        return "± unknown" if half is None else f"± {half:.2g}"

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.headline}>"


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Measured(Shown, Provenance):
    """A figure of one model on some data, with how it was measured."""

    total: Mean
    monte_carlo: Mean
    dims: int
    unit: Unit = BITS


class Tabulated(Measured):
    """A result that is also a line of a table, a figure, and a row for each image."""

    def to_latex(self, columns: Sequence[str] | None = None) -> str:
        """A `tabular` of booktabs with one line; columns: as `nelbo report --columns` has them.

        Raises:
            BadInput: an unknown column.
        """
        return str(showing().table(self, ".tex", columns))

    def to_markdown(self, columns: Sequence[str] | None = None) -> str:
        """The same as a table of Markdown.

        Raises:
            BadInput: an unknown column.
        """
        return str(showing().table(self, ".md", columns))

    def plot(self, ax: "Axes | None" = None, figure: str = "steps") -> "Axes":
        """Draws on the axes: steps, rate, distortion or histogram; the axes.

        ax: axes of matplotlib, in whose style it is drawn; new ones of pyplot by default.

        Raises:
            BadInput: another figure, or one that the result holds nothing for.
        """
        drawn: Axes = showing().plot(self, ax, figure)
        return drawn

    def to_dataframe(self) -> Any:  # noqa: ANN401
        """A pandas.DataFrame with a row for each image, indexed by its id.

        Raises:
            BadInput: pandas is not installed.
        """
        return showing().dataframe(self)
