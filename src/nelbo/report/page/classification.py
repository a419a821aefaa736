"""The page of a classification: accuracy, calibration, and which class is taken for which."""

from nelbo.report.kind_curves import calibration
from nelbo.report.page.charted import charted
from nelbo.report.page.charts import shown
from nelbo.report.page.sheet import Section, Sheet, Table, data_named, groups
from nelbo.results.classification import Classification
from nelbo.typed_json import known_of

__all__ = ["classification_sheet"]


def classification_sheet(result: Classification) -> Sheet:
    """Its headline is the accuracy; without labels, how many images there are."""
    tree, count = result.tree, len(result.ids)
    name, data = result.model["name"], data_named(result.data)
    labelled = result.accuracy is not None and result.interval is not None
    return Sheet(
        title=f"{name} as a classifier of {data}",
        heading=f"{name} on {data}, {count:,} images",
        figure=f"{100 * (result.accuracy or 0):.2f} %" if labelled else f"{count:,}",
        unit="of the images are right" if labelled else "images, whose data have no labels",
        lead=[_lead(result)],
        intervals=_intervals(result) if labelled else (),
        warnings=result.warnings,
        sections=[_calibration(result), _confusion(result)] if labelled else [_given(result)],
        settings=groups(tree),
        download="classification",
    )


def _lead(result: Classification) -> str:
    prior, decided = "uniform", int(result.decided.sum())
    if len(set(result.prior)) > 1:
        prior = ", ".join(f"{p:.4g}" for p in result.prior)
    return (
        f"p(class | x) from the bounds of log p(x | class); the prior over the {len(result.prior)} "
        f"classes: {prior}. {decided:,} images are decided; in each image the class "
        f"of the lowest bound was kept with {100 * (1 - result.error):g} %. "
        f"{result.each:.1f} network evaluations an image."
    )


def _intervals(result: Classification) -> list[tuple[str, str]]:
    low, high = result.interval or (0.0, 1.0)
    return [
        ("95 % interval", f"{100 * low:.2f} to {100 * high:.2f} %"),
        ("calibration error", shown(result.calibration_error)),
        ("log loss, nats", shown(known_of(result.tree["log_loss"]))),
    ]


def _calibration(result: Classification) -> Section:
    rows = [
        (
            f"{b.low:.1f} to {b.high:.1f}",
            f"{b.images:,}",
            f"{b.confidence:.4f}",
            f"{b.accuracy:.4f}",
        )
        for b in result.reliability
    ]
    columns = ["confidence", "images", "mean", "right"]
    return Section(
        "calibration",
        "Calibration",
        "Whether a posterior of 0.9 is right nine times of ten.",
        tables=[Table("Calibration", columns, rows, {1, 2, 3})],
        charts=charted(calibration(result), "calibration-curve"),
    )


def _confusion(result: Classification) -> Section:
    numbers = range(len(result.prior))
    rows = [
        (str(label), *(f"{n:,}" if n else "\N{MIDDLE DOT}" for n in counts))
        for label, counts in enumerate(result.confusion or ())
    ]
    table = Table("Confusion", ["class", *map(str, numbers)], rows, {n + 1 for n in numbers})
    lead = "Images of the class of the row that were given the class of the column."
    return Section("confusion", "Which class is taken for which", lead, tables=[table])


def _given(result: Classification) -> Section:
    given = result.classes.tolist()
    rows = [(str(label), f"{given.count(label):,}") for label in range(len(result.prior))]
    table = Table("Classes", ["class", "images"], rows, {1})
    lead = "How many images were given each class."
    return Section("classes", "The classes", lead, tables=[table])
