"""The derivation as one self-contained HTML page, with what it shows drawn beside it."""

import html
import re

from jinja2 import Environment, PackageLoader, StrictUndefined
from latex2mathml.converter import convert
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nelbo.derivation import Line, Row, Valuation
from nelbo.report.svg import OUTSIDE, inline_svg
from nelbo.results.derivation import Derivation, shown, shown_value

__all__ = ["derivation_page", "mathml"]

# Okabe and Ito: told apart without colour vision
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#c9ced6"
INDEX = re.compile(r"(?<=[xLE])_([01]:T|t-1|[0-9Ttq])")
VARIABLES = {
    "#000000": "currentColor",
    "#333333": "currentColor",
    BLUE.lower(): "var(--blue)",
    ORANGE.lower(): "var(--orange)",
    GREEN.lower(): "var(--green)",
    GREY: "var(--grey)",
}
"""What a colour of a picture is called in the page, which may be light or dark."""
HUES = re.compile("|".join(VARIABLES))
MOST_BARS = 40  # steps that a picture can show one by one


def derivation_page(derivation: Derivation) -> str:
    """The page; equal derivations give equal bytes. It refers to nothing outside itself."""
    templates = Environment(
        loader=PackageLoader("nelbo.report", "."), autoescape=True, undefined=StrictUndefined
    )
    valuations = [chain.valuation for chain in derivation.chains]
    rows = list(zip(*(v.rows for v in valuations), strict=True))
    labels = {row.line.label: row.line for v in valuations for row in v.false}
    false = [(line, [_find(v, line) for v in valuations]) for line in labels.values()]
    return templates.get_template("derivation.html").render(
        derivation=derivation,
        rows=rows,
        false_lines=false,
        shown=shown,
        shown_value=shown_value,
        mathml=mathml,
        typeset=typeset,
        gaps=[
            _svg(_gap(v), f"gap-{i}", "minus the log of the mean weight of K paths")
            for i, v in enumerate(valuations)
        ],
        telescopes=[
            _svg(_telescope(v), f"telescope-{i}", "what each t adds and takes away")
            for i, v in enumerate(valuations)
        ],
    )


def mathml(latex: str) -> str:
    """The formula as MathML, as an HTML page has it."""
    sums = re.sub(r"\\(sum|prod)_", r"\\\1\\limits_", latex)
    text = OUTSIDE.sub("", convert(sums, display="block"))
    # TeX sets a thin space between log and what it is of; MathML knows no such rule.
    return text.replace("<mi>log</mi>", '<mi>log</mi><mspace width="0.17em"></mspace>')


def typeset(text: str) -> str:
    """Plain text as HTML, its indices set as such: x_t-1 is x with a subscript."""
    return INDEX.sub(r"<sub>\1</sub>", html.escape(text))


def _find(valuation: Valuation, line: Line) -> Row | None:
    return next((row for row in valuation.false if row.line.label == line.label), None)


def _gap(v: Valuation) -> Figure:
    """The importance-weighted means falling from L towards -log p_theta(x_0)."""
    figure = Figure(figsize=(6.2, 3.4), layout="constrained")
    axes = figure.subplots()
    paths = [point.paths for point in v.curve]
    values = [point.value for point in v.curve]
    errors = [2 * (point.se or 0.0) for point in v.curve]
    nelbo, exact = v["D11"].value if v.z is None else v["D10"].value, v.gap_kl is not None
    _level(axes, nelbo, "L, line (5)", ORANGE, above=True)
    if exact:
        _level(axes, v["(2)"].value, "−log p(x₀), line (2)", GREEN)
        axes.axhspan(v["(2)"].value, nelbo, color=GREY, alpha=0.3, lw=0)
        if not v.support:
            _level(axes, v["(3)"].value, "what q reaches, line (3)", GREY)
    axes.errorbar(paths, values, errors, fmt="o-", color=BLUE, markersize=5, capsize=3)
    axes.set_xscale("log", base=2)
    axes.set_xticks(paths, [str(number) for number in paths])
    axes.minorticks_off()
    axes.set(xlabel="paths K in the weighted mean (bars: two standard errors)", ylabel="nats")
    _plain(axes)
    axes.margins(y=0.15)
    return figure


def _level(axes: Axes, value: float, label: str, colour: str, above: bool = False) -> None:
    axes.axhline(value, color=colour, lw=1.5, ls="--")
    axes.annotate(
        label,
        (1, value),
        (0, 3 if above else -4),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        ha="right",
        va="bottom" if above else "top",
        color="#333",
    )


def _telescope(v: Valuation) -> Figure:
    """Every log q(x_t | x_0) enters once with + and once with -; the two ends alone are left."""
    figure = Figure(figsize=(6.2, 3.4), layout="constrained")
    axes = figure.subplots()
    m = list(v.marginals)
    T = len(m)
    t = list(range(1, T + 1))
    plus, minus = [0.0, *m[1:]], [-x for x in m[:-1]] + [0.0]
    if T <= MOST_BARS:
        inner = {"width": 0.36, "color": GREY, "hatch": "////", "edgecolor": "white", "lw": 0}
        axes.bar([x - 0.2 for x in t[1:-1]], plus[1:-1], **inner)  # type: ignore[arg-type]
        axes.bar([x + 0.2 for x in t[1:-1]], minus[1:-1], **inner)  # type: ignore[arg-type]
    else:
        axes.fill_between(t[1:-1], plus[1:-1], color=GREY, lw=0)
        axes.fill_between(t[1:-1], minus[1:-1], color=GREY, lw=0, alpha=0.6)
    width = max(0.36, T / 60)
    axes.bar([1], minus[:1], width, color=ORANGE, label="−log q(x₁|x₀), left")
    axes.bar([T], plus[-1:], width, color=BLUE, label="+log q(x_T|x₀), left")
    axes.plot([], [], color=GREY, lw=6, label="±log q(x_t|x₀), cancelled")
    axes.axhline(0, color="#333", lw=0.8)
    axes.set(xlabel="t", ylabel="nats, mean over paths")
    if T <= MOST_BARS:
        axes.set_xticks(t)
    figure.legend(frameon=False, fontsize=9, loc="outside lower center", ncols=3)
    _plain(axes)
    return figure


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)


def _svg(figure: Figure, name: str, label: str) -> str:
    """The figure in the page's own colours, with what is read out in its place."""
    for patch in (figure.patch, *(axes.patch for axes in figure.axes)):
        patch.set_visible(False)
    bare = HUES.sub(lambda hue: VARIABLES[hue[0]], inline_svg(figure, name))
    return bare.replace("<svg", f'<svg role="img" aria-label="{html.escape(label)}"', 1)
