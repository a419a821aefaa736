"""The charts of a training log."""

from collections.abc import Mapping, Sequence

from nelbo.report import training_plots
from nelbo.report.page.charts import Chart, chart, shown
from nelbo.typed_json import Json, known_at, known_of, list_at, number_at, text_at

__all__ = ["training"]

Log = Sequence[Mapping[str, Json]]
MOST_ROWS = 60


def training(log: Log) -> list[Chart]:
    """The loss, the held-out bound and the learning rate, each where the log has it."""
    charts = []
    if any("loss" in entry for entry in log):
        unit = next(text_at(entry, "unit") for entry in log if "loss" in entry)
        charts.append(
            chart(
                training_plots.losses(log),
                "loss",
                "What the training made small, smoothed over steps. It is on training data and "
                "on one t for each, so it is not the bound of the page.",
                *_table(log, "loss", unit),
            )
        )
    if parts := training_plots.quartered(log):
        parts = _thinned(parts)
        charts.append(
            chart(
                training_plots.losses_by_quarter(log),
                "loss-by-quarter",
                "Where along the chain the training still finds something to do.",
                ["step", *training_plots.QUARTERS],
                [[f"{e['step']:,}", *map(shown, _quarters(e))] for e in parts],
                [(number_at(e, "step"), _first(_quarters(e))) for e in parts],
            )
        )
    if any("held_out" in entry for entry in log):
        charts.append(
            chart(
                training_plots.held_out(log),
                "held-out",
                "The bound of images that are not trained on. Where it rises while the loss falls, "
                "the model has begun to learn its images by heart.",
                *_table(log, "held_out", "held out, bits/dim"),
            )
        )
    if any("learning_rate" in entry for entry in log):
        charts.append(
            chart(
                training_plots.learning_rate(log),
                "learning-rate",
                "How far an update may go: it warms up, and ends near zero.",
                *_table(log, "learning_rate", "learning rate"),
            )
        )
    return charts


def _table(
    log: Log, key: str, name: str
) -> tuple[list[str], list[list[str]], list[tuple[float, float]]]:
    """Columns, rows and points, evenly thinned."""
    entries = _thinned([entry for entry in log if key in entry])
    rows = [[f"{entry['step']:,}", shown(known_at(entry, key))] for entry in entries]
    points = [(number_at(entry, "step"), number_at(entry, key)) for entry in entries]
    return ["step", name], rows, points


def _thinned(entries: Log) -> Log:
    """At most 60 of them, the first and the last among them."""
    if len(entries) <= MOST_ROWS:
        return entries
    places = (round(i * (len(entries) - 1) / (MOST_ROWS - 1)) for i in range(MOST_ROWS))
    return [entries[place] for place in places]


def _quarters(entry: Mapping[str, Json]) -> list[float | None]:
    return [known_of(value) for value in list_at(entry, "loss_by_quarter")]


def _first(values: Sequence[float | None]) -> float:
    return next(value for value in values if value is not None)
