"""A figure as a chart of a page: SVG in the page's colours, words as text, a table behind it."""

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from matplotlib.figure import Figure

from nelbo.report.plots import BLUE, BROWN, GREEN, INK, ORANGE, PALE, PURPLE, house_style
from nelbo.report.svg import inline_svg

__all__ = ["Chart", "chart", "shown"]

WIDTH, HEIGHT = 480, 270  # of every chart, in units of 1/72 inch, so that one is about a pixel
TEXT = 11.5
MARKERS = 3.5
COLOURS = {
    BLUE: "var(--one)",
    ORANGE: "var(--two)",
    GREEN: "var(--three)",
    PURPLE: "var(--four)",
    BROWN: "var(--five)",
    INK: "currentColor",
    PALE: "var(--axis)",
    "#b0b0b0": "var(--grid)",
    "#ffffff": "var(--card)",
}
FONT = re.compile(r"font(-size|-family)?:[^;\"]*;?\s*")
HEAD = re.compile(r"<svg[^>]*>")


@final
@dataclass(frozen=True)
class Chart:
    """What a page shows of one figure.

    rows: the table, a row for each point, ends with what the tooltip of the point says; points:
    where they are in the SVG, "" where the axis leaves one out. view names it among the others
    of one card.
    """

    id: str
    title: str
    meaning: str
    view: str
    svg: str
    x: str
    y: str
    remarks: Sequence[str]
    notes: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def shown(value: float | None, digits: int = 4) -> str:
    """A number in a table; — where it is not known."""
    return "—" if value is None or value != value else f"{value:.{digits}g}"


def chart(
    figure: Figure,
    id: str,
    meaning: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    points: Sequence[tuple[float, float]],
    view: str = "",
    title: str | None = None,
) -> Chart:
    """The figure's title, axis labels, remarks and caption become text; its label what is read out.

    points: (x, y) of each row, in the data's coordinates; title: another than the figure's.
    """
    (axes,) = figure.axes
    title, notes = title or axes.get_title("left"), figure.get_supxlabel().replace("\n", " ")
    x, y = axes.get_xlabel(), axes.get_ylabel()
    remarks = [text.get_text() for text in axes.texts]
    for text in list(axes.texts):
        text.remove()
    with house_style():
        axes.set(title="", xlabel="", ylabel="")
        axes.set_title("", loc="left", pad=0)
        figure.supxlabel("")
        axes.tick_params(labelsize=TEXT)
        axes.minorticks_off()
        for patch in (figure.patch, axes.patch):
            patch.set_visible(False)
        figure.set_dpi(72)
        figure.set_size_inches(WIDTH / 72, HEIGHT / 72)
        svg = inline_svg(figure, id)
    return Chart(
        id=id,
        title=title,
        meaning=meaning,
        view=view,
        svg=_themed(svg, str(figure.get_label()), _places(figure, points)),
        x=x,
        y=y,
        remarks=remarks,
        notes=notes,
        columns=columns,
        rows=rows,
    )


def _places(figure: Figure, points: Sequence[tuple[float, float]]) -> str:
    (axes,) = figure.axes
    low, high = sorted(axes.get_ylim())
    places = []
    for x, y in points:
        if not low <= y <= high:
            places.append("")
            continue
        right, up = axes.transData.transform((x, y))
        places.append(f"{right:.1f},{HEIGHT - up:.1f}")
    return " ".join(place or "-" for place in places)


def _themed(svg: str, label: str, places: str) -> str:
    svg = FONT.sub("", svg)
    for colour, variable in COLOURS.items():
        svg = re.sub(re.escape(colour), variable, svg, flags=re.IGNORECASE)
    head = (
        f'<svg class="plot" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" tabindex="0" '
        f'aria-label="{html.escape(label)}" data-points="{places}">'
    )
    return HEAD.sub(lambda match: head, svg, count=1)
