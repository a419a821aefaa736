"""The chart of curves on a page, with their numbers behind it."""

from nelbo.report import ranking_plots
from nelbo.report.page.charts import Chart, chart, shown
from nelbo.report.ranking_plots import Curves

__all__ = ["charted"]


def charted(made: tuple[Curves, list[str]] | None, id: str) -> list[Chart]:
    """The chart of the curves, with their numbers behind it."""
    if made is None:
        return []
    curves, names = made
    rows, points = [], []
    for curve in curves.curves:
        for number, (x, y) in enumerate(zip(curve.x.tolist(), curve.y.tolist(), strict=True)):
            half = None if curve.half is None else float(curve.half[number])
            rows.append([names[curve.entry], shown(x), shown(y), shown(half, 2)])
            points.append((x, y))
    columns = ["curve", curves.x, curves.y, "± 95 %"]
    figure = ranking_plots.draw(curves, names)
    return [chart(figure, id, curves.meaning, columns, rows, points)]
