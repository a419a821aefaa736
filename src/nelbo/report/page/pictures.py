"""Pictures of a page: what a model draws and the images that it was measured on."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import final

from nelbo.report.page.charts import Chart
from nelbo.report.positions import Span

__all__ = ["Picture", "Pictures", "Positions", "Texts"]


@final
@dataclass(frozen=True)
class Picture:
    """A PNG, what it is for who cannot see it, and the lines under it."""

    png: bytes
    alt: str
    caption: Sequence[str] = ()

    @property
    def uri(self) -> str:
        """The picture itself, in place of where it would be."""
        return f"data:image/png;base64,{base64.b64encode(self.png).decode()}"


@final
@dataclass(frozen=True)
class Positions:
    """Where in an example the bits are, of a masked model: how it was measured, and what is shown.

    pixels: the mean of each, of images; easy and hard: spans of a text, each kind from its end on.
    """

    how: str = ""
    charts: Sequence[Chart] = ()
    pixels: Picture | None = None
    easy: Sequence[Span] = ()
    hard: Sequence[Span] = ()


@final
@dataclass(frozen=True)
class Texts:
    """Samples of text, and the first of them on its way: (t, what is not masked there)."""

    samples: Sequence[str] = ()
    way: Sequence[tuple[str, str]] = ()


@final
@dataclass(frozen=True)
class Pictures:
    """What there is to see.

    reconstructions and strip are columns, one for each t, `shown` images high; best and worst are
    single images; seed decides all that is drawn.
    """

    samples: Picture | None = None
    strip: Sequence[Picture] = ()
    reconstructions: Sequence[Picture] = ()
    best: Sequence[Picture] = ()
    worst: Sequence[Picture] = ()
    shown: int = 0
    seed: int = 0
    positions: Positions = field(default_factory=Positions)
    texts: Texts = field(default_factory=Texts)
