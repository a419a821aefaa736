"""A run as one self-contained HTML page: the figure, its terms, where the bits are, samples."""

import base64
import json
from collections.abc import Sequence
from io import BytesIO
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure

from nelbo.report.evaluation import Evaluation

__all__ = ["page"]

BLUE, ORANGE = "#0072B2", "#D55E00"  # Okabe and Ito: told apart without colour vision


def page(
    evaluation: Evaluation,
    samples: bytes,
    log: Sequence[dict[str, Any]],
    table: Sequence[Sequence[str]],
) -> str:
    """The page; equal inputs give equal bytes. It refers to nothing outside itself.

    samples: a PNG; log: the training log's entries; table: rows of (what, bits/dim), the first
    one the heading.
    """
    templates = Environment(
        loader=PackageLoader("nelbo.report", "."), autoescape=True, undefined=StrictUndefined
    )
    result = evaluation.to_dict()
    return templates.get_template("page.html").render(
        result=result,
        summary=str(evaluation),
        table=table,
        samples=base64.b64encode(samples).decode(),
        by_step=_svg(_bits_by_step(result)),
        training=_svg(_training(log)) if any("loss" in entry for entry in log) else None,
        settings=_settings(result),
        json=json.dumps(result, indent=1).replace("</", "<\\/"),
    )


def _settings(result: dict[str, Any]) -> list[tuple[str, str]]:
    """What decides the figure, a row each; nested choices as key = value."""
    rows = []
    for part in ("model", "data", "environment", "estimator"):
        for key, value in result[part].items():
            if isinstance(value, dict):
                value = ", ".join(f"{name} = {item}" for name, item in value.items())
            rows.append((f"{part}: {key}", "none" if value is None else str(value)))
    return rows


def _bits_by_step(result: dict[str, Any]) -> Figure:
    steps = result["per_step"]
    t = [step["t"] for step in steps]
    bits = [step["bits_per_dim"] for step in steps]
    figure = Figure(figsize=(7, 3), layout="constrained")
    axes = figure.subplots()
    axes.plot(t, bits, ".", color=BLUE, markersize=3)
    axes.set(xlabel="t", ylabel="bits/dim of the term of t")
    if len(t) > 1:
        axes.set_yscale("log", nonpositive="clip")
    return figure


def _training(log: Sequence[dict[str, Any]]) -> Figure:
    figure = Figure(figsize=(7, 3), layout="constrained")
    axes = figure.subplots()
    losses = [entry for entry in log if "loss" in entry]
    axes.plot([entry["step"] for entry in losses], [e["loss"] for e in losses], color=ORANGE)
    axes.set(xlabel="step", ylabel=f"training loss ({losses[0]['unit']}, smoothed)")
    held_out = [entry for entry in log if "held_out" in entry]
    if held_out and losses[0]["unit"] == held_out[0]["unit"]:
        steps, bounds = [e["step"] for e in held_out], [e["held_out"] for e in held_out]
        axes.plot(steps, bounds, "o", color=BLUE, markersize=3, label="held out")
        axes.legend()
    return figure


def _svg(figure: Figure) -> str:
    """The figure as SVG markup, with nothing in it that changes between runs."""
    import matplotlib

    buffer = BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "nelbo", "svg.fonttype": "path"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue().decode()
    return text[text.index("<svg") :]
