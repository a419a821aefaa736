"""The page of a likelihood by the ODE: the figure, the bound beside it, and its three errors."""

from nelbo.report.kind_curves import solver_steps
from nelbo.report.page.charted import charted
from nelbo.report.page.headline import plus_minus
from nelbo.report.page.sheet import (
    Section,
    Sheet,
    Table,
    groups,
    lines,
    of_interval,
    subject,
)
from nelbo.results.ode import DEQUANTISED, against_bound, solver_text, trace_text
from nelbo.results.read_ode import OdeRead
from nelbo.typed_json import object_at, text_at

__all__ = ["NOT_A_BOUND", "ode_sheet"]

NOT_A_BOUND = (
    "This is the likelihood of the deterministic flow with the same network, and not a bound: it "
    "may lie on either side of what the chain itself has."
)


def ode_sheet(result: OdeRead) -> Sheet:
    """Its headline is the figure, and the sentence that it is not a bound."""
    name, data = subject(result.tree)
    value = f"{result.figure.value:.4f}"
    return Sheet(
        title=f"{value} {result.unit.name}, {name}, by the ODE",
        heading=f"{name} on {data}",
        figure=value,
        unit=f"{result.unit}, by the probability-flow ODE",
        lead=[NOT_A_BOUND],
        intervals=of_interval(result.figure),
        warnings=result.warnings,
        sections=[_beside(result), _difference(result), _errors(result)],
        settings=groups(result.tree),
        download="ode",
    )


def _beside(result: OdeRead) -> Section:
    figures = [
        ("the ODE", "not a bound", result.figure.value, result.figure.half),
        ("the bound", "of the same images", result.bound.value, result.bound.half),
    ]
    lead = (
        "Both are of the same network and the same images. \N{PLUS-MINUS SIGN} is half of a 95 % "
        "interval for new images of this kind."
    )
    return Section("bound", "Beside the bound", lead, lines(figures, result.unit.name)[0])


def _difference(result: OdeRead) -> Section:
    own = result.difference
    figures = [
        ("new images of this kind", "sampling of images", own.value, own.half),
        ("this test set", "Monte Carlo", own.value, own.half_monte_carlo),
    ]
    laid, zero = lines(figures, result.unit.name, signed=True)
    verdict = against_bound(own.value, own.half, own.half_monte_carlo, result.unit.name).text
    lead = f"Paired image by image: {verdict}. To the left of the line at 0 the ODE is lower."
    return Section("difference", "ODE minus bound", lead, laid, zero)


def _errors(result: OdeRead) -> Section:
    how = object_at(result.tree, "estimator")
    rows = [
        ("solver", plus_minus(result.shares["solver"]), solver_text(how)),
        ("trace", plus_minus(result.shares["trace"]), f"probes: {trace_text(how)}"),
        (
            "dequantisation",
            plus_minus(result.shares["dequantisation"]),
            f"{DEQUANTISED[text_at(how, 'dequantise')]}, {how['draws']} draws an image",
        ),
        ("all three", plus_minus(result.figure.half_monte_carlo), "the Monte Carlo interval"),
    ]
    return Section(
        "errors",
        "The three errors",
        "What the Monte Carlo interval is made of: half of the 95 % interval that each source "
        "would leave alone. Where one is not known, the sum is not.",
        tables=[Table("Errors", ["source", result.unit.name, "how"], rows, {1})],
        charts=charted(solver_steps(result), "solver"),
    )
