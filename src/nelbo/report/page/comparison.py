"""Several results as one self-contained HTML page: which is lowest, by how much, where, and why."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from nelbo.report import ranking_plots
from nelbo.report.page.assembly import attached, environment
from nelbo.report.page.charts import Chart, chart, shown
from nelbo.report.page.headline import Part, data_name, parts, plus_minus
from nelbo.report.page.marks import mark
from nelbo.report.page.provenance import settings
from nelbo.report.plots import histogram_edges
from nelbo.report.ranking_plots import Curves
from nelbo.results.ranking import Difference, Entry, Ranking

__all__ = ["comparison_page"]

MOST_IN_MATRIX = 6
UNKNOWN = "—"
OUTCOMES = (
    *("name", "sha256", "phases", "controls", "images", "pilot", "L_0_draws", "evaluated_t"),
    *("L_0_smallest_chance", "chance_of_missing_a_t"),
)  # shown elsewhere, or not chosen

Strip = tuple[float, float, float]
"""Where an interval begins, how wide it is, and where its middle is: percentages of a strip."""


@final
@dataclass(frozen=True)
class Place:
    """One model's line of the table, and its bar of terms, `width` % of the longest."""

    name: str
    mark: str
    value: str
    half: str
    half_monte_carlo: str
    above: str
    steps: str
    evaluations: str
    strip: Strip
    parts: Sequence[Part]
    width: float
    command: str
    sha256: str


@final
@dataclass(frozen=True)
class Verdict:
    """A difference as the page tells it, and how sure it is, in a sign and in words."""

    a: str
    b: str
    value: str
    half: str
    exactly: str
    how: str
    state: str
    sign: str
    word: str
    strip: Strip
    zero: float


@final
@dataclass(frozen=True)
class Setting:
    """What differs, of the model or of how it was measured, with each model's value."""

    group: str
    name: str
    values: Sequence[str]


@final
@dataclass(frozen=True)
class Overlaid:
    """A chart of several curves, whose they are, and who has none."""

    chart: Chart
    legend: Sequence[tuple[str, str]]
    absent: Sequence[str]


def comparison_page(ranking: Ranking) -> str:
    """The page; equal inputs give equal bytes. It refers to nothing outside itself."""
    entries, best = ranking.entries, ranking.best
    beside = [ranking.between(best, entry) for entry in entries[1:]]
    differing, alike = _settings(entries)
    unit = ranking.unit.name
    return (
        environment()
        .get_template("comparison.html")
        .render(
            unit=ranking.unit,
            best=best,
            data_name=data_name(best.result),
            headline=f"{best.result.per_dim:.4f}",
            lead=_lead(ranking),
            warnings=ranking.warnings,
            names=[entry.name for entry in entries],
            places=_places(ranking),
            verdicts=_verdicts(beside),
            matrix=_matrix(ranking) if 2 < len(entries) <= MOST_IN_MATRIX else None,
            together=len(ranking.differences),
            not_paired=sorted({d.why_not for d in ranking.differences if d.why_not is not None}),
            paired=[_paired(n, d, unit) for n, d in enumerate(beside) if d.paired],
            bits=[
                _overlaid(ranking_plots.bits(ranking, "t"), ranking, "bits", "linear"),
                _overlaid(ranking_plots.bits(ranking, "log t"), ranking, "bits-log", "log"),
            ],
            rate=_overlaid(ranking_plots.rate(ranking), ranking, "rate"),
            distortion=_overlaid(ranking_plots.distortion(ranking), ranking, "rate-distortion"),
            differing=differing,
            alike=alike,
            **attached(ranking.to_dict()),
        )
    )


def _lead(ranking: Ranking) -> str:
    """What came out, in two sentences."""
    best, second = ranking.entries[:2]
    difference = ranking.between(best, second)
    how = "paired by image" if difference.paired else "as of separate images"
    above = f"{0.0 - difference.mean.mean:.4f} {plus_minus(difference.mean.half_width())} above it"
    return (
        f"{best.name} has the lowest bound. The next, {second.name}, is {above} (95 %, {how}): "
        f"{_sentence(difference)}"
    )


def _sentence(difference: Difference) -> str:
    state = _state(difference)
    if state == "unknown":
        return "whether the two differ is not known."
    if state == "warning":
        return "the two are not told apart."
    if difference.told_apart:
        together = f", also with all {difference.together} differences taken together"
        return f"the two are told apart{together if difference.together > 1 else ''}."
    return (
        f"told apart if taken alone, not with all {difference.together} differences taken together."
    )


def _state(difference: Difference) -> str:
    """As the badges of checks are called."""
    if difference.interval is None:
        return "unknown"
    low, high = difference.interval
    return "warning" if low <= 0 <= high else "passed"


def _places(ranking: Ranking) -> list[Place]:
    results = [entry.result for entry in ranking.entries]
    low = min(result.per_dim - (result.half or 0.0) for result in results)
    high = max(result.per_dim + (result.half or 0.0) for result in results)
    longest = max(result.per_dim for result in results)
    return [
        Place(
            name=entry.name,
            mark=mark(number),
            value=f"{entry.result.per_dim:.4f}",
            half=plus_minus(entry.result.half),
            half_monte_carlo=plus_minus(entry.result.half_monte_carlo),
            above=_above(ranking, entry),
            steps=_steps(entry),
            evaluations=f"{entry.result.tree['network_evaluations']:,}",
            strip=_strip(entry.result.per_dim, entry.result.half, low, high),
            parts=parts(entry.result),
            width=100 * entry.result.per_dim / longest if longest > 0 else 0.0,
            command=str(entry.result.tree.get("command") or ""),
            sha256=str(entry.result.model.get("sha256")),
        )
        for number, entry in enumerate(ranking.entries)
    ]


def _above(ranking: Ranking, entry: Entry) -> str:
    if entry is ranking.best:
        return UNKNOWN
    difference = ranking.between(ranking.best, entry)
    return f"{_signed(-difference.mean.mean)} {plus_minus(difference.mean.half_width())}"


def _signed(value: float) -> str:
    return f"{value + 0.0:+.4f}".replace("-", "−")  # -0.0 + 0.0 is 0.0


def _steps(entry: Entry) -> str:
    model = entry.result.model
    if model.get("time") == "continuous":
        return "∞"
    steps, whole = model.get("steps"), model.get("T")
    return f"{steps:,}" if steps == whole else f"{steps:,} of {whole:,}"


def _strip(value: float, half: float | None, low: float, high: float) -> Strip:
    percent, wide = 100 / ((high - low) or 1.0), half or 0.0
    return percent * (value - wide - low), percent * 2 * wide, percent * (value - low)


def _verdicts(differences: Sequence[Difference]) -> list[Verdict]:
    """Each as what the other is above the best, so that more is worse."""
    ends = [0.0]
    for one in differences:
        ends += [-x for x in one.interval or (one.mean.mean, one.mean.mean)]
    low, high = min(ends), max(ends)
    return [
        Verdict(
            a=one.a,
            b=one.b,
            value=_signed(-one.mean.mean),
            half=plus_minus(one.mean.half_width()),
            exactly=_exactly(one),
            how="paired by image" if one.paired else "not paired",
            state=(state := _state(one)),
            sign={"passed": "✓", "warning": "!", "unknown": "?"}[state],
            word=_word(one),
            strip=_strip(-one.mean.mean, one.mean.half_width(), low, high),
            zero=_strip(0.0, 0.0, low, high)[2],
        )
        for one in differences
    ]


def _exactly(difference: Difference) -> str:
    half = plus_minus(difference.half_monte_carlo)
    at_most = difference.at_most and difference.half_monte_carlo
    return f"{half} at most" if at_most else half


def _word(difference: Difference) -> str:
    state = _state(difference)
    if state != "passed":
        return {"unknown": "not known", "warning": "not told apart"}[state]
    return "told apart" if difference.told_apart else "told apart only if alone"


def _matrix(ranking: Ranking) -> list[list[tuple[str, str, bool] | None]]:
    """Row minus column: the difference, its half, and whether it is told apart by itself."""
    rows: list[list[tuple[str, str, bool] | None]] = []
    for row, a in enumerate(ranking.entries):
        cells: list[tuple[str, str, bool] | None] = []
        for column, b in enumerate(ranking.entries):
            if row == column:
                cells.append(None)
                continue
            sign, pair = (1, (a, b)) if row < column else (-1, (b, a))
            difference = ranking.between(*pair)
            half = plus_minus(difference.mean.half_width())
            cells.append(
                (_signed(sign * difference.mean.mean), half, _state(difference) == "passed")
            )
        rows.append(cells)
    return rows


def _overlaid(curves: Curves, ranking: Ranking, id: str, view: str = "") -> Overlaid | None:
    """None where nobody has a curve."""
    if not curves.curves:
        return None
    names = [entry.name for entry in ranking.entries]
    own_x = [] if curves.x == "t" else [curves.x]
    halves = ["± 95 %"] if any(curve.half is not None for curve in curves.curves) else []
    rows, points = [], []
    for curve in curves.curves:
        places = list(zip(curve.x.tolist(), curve.y.tolist(), strict=True))
        for number, (t, (x, y)) in enumerate(zip(curve.t, places, strict=True)):
            half = [] if curve.half is None else [shown(float(curve.half[number]), 2)]
            rows.append([names[curve.entry], t, *([shown(x)] if own_x else []), shown(y), *half])
        points += places
    columns = ["model", "t", *own_x, curves.y, *halves]
    figure = ranking_plots.draw(curves, names)
    return Overlaid(
        chart=chart(figure, id, curves.meaning, columns, rows, points, view),
        legend=[(mark(curve.entry), names[curve.entry]) for curve in curves.curves],
        absent=curves.absent,
    )


def _paired(number: int, difference: Difference, unit: str) -> Chart:
    assert difference.values is not None
    edges = histogram_edges(difference.values.numpy())
    counts = np.histogram(difference.values.numpy(), edges)[0]
    centres = (edges[:-1] + edges[1:]) / 2
    return chart(
        ranking_plots.paired(difference, unit),
        f"paired-{number}",
        f"Left of 0 are the images of which {difference.a} has the lower bound. The dashed line "
        "is the mean. How wide this is, and not how wide each model's own spread is, makes the "
        "interval.",
        [f"difference, {unit}", "images"],
        [
            [f"{shown(a)} to {shown(b)}", f"{n:,}"]
            for a, b, n in zip(edges[:-1], edges[1:], counts, strict=True)
        ],
        list(zip(centres.tolist(), counts.tolist(), strict=True)),
        f"minus {difference.b}",
    )


def _settings(entries: Sequence[Entry]) -> tuple[list[Setting], int]:
    """(what differs, how many settings do not)."""
    each = [
        {(group, name): value for group, rows in settings(entry.result) for name, value, _ in rows}
        for entry in entries
    ]
    groups = dict.fromkeys(group for one_model in each for group, _ in one_model)
    keys = dict.fromkeys(key for one_model in each for key in one_model if key[1] not in OUTCOMES)
    differing, alike = [], 0
    for group, name in sorted(keys, key=lambda key: list(groups).index(key[0])):
        values = [one_model.get((group, name), UNKNOWN) for one_model in each]
        if len(set(values)) == 1:
            alike += 1
        else:
            differing.append(Setting(group, name, values))
    return differing, alike
