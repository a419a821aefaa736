"""A figure as SVG markup inside an HTML page: no dates, no namespaces, text as text, own ids."""

import re
from io import BytesIO

import matplotlib
from matplotlib.figure import Figure

__all__ = ["OUTSIDE", "inline_svg"]

OUTSIDE = re.compile(r'<metadata>.*?</metadata>|\sxmlns(:xlink)?="[^"]*"', re.DOTALL)
NOISE = re.compile(
    r"<!--.*?-->|<defs>\s*<style.*?</style>\s*</defs>|(?<= )xlink:(?=href)"
    r'|\stransform="rotate\(-?0 [^"]*"',
    re.DOTALL,
)
REFERENCE = re.compile(r'(?:url\(#|href="#)([^)"]+)')
LONG = re.compile(r"-?\d+\.\d{3,}")
TAG = re.compile(r"<[^>]*>")
MARKS = re.compile(r'(?:<use [^>]*style="([^"]*)"/>\s*)(?:<use [^>]*style="\1"/>\s*)+')
SPACE = re.compile(r"\n\s*|(?<=[\d>]) +(?=\"|<)")


def inline_svg(figure: Figure, name: str) -> str:
    """The markup; what it refers to in itself has an id that begins with `name`, nothing else one.

    Coordinates have two decimals: a hundredth of a point.
    """
    buffer = BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "nelbo", "svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue().decode()
    text = NOISE.sub("", OUTSIDE.sub("", text[text.index("<svg") :]))
    used = dict.fromkeys(REFERENCE.findall(text))
    short = {old: f"{name}-{number}" for number, old in enumerate(used)}

    def renamed(match: re.Match[str]) -> str:
        return f' id="{short[match[1]]}"' if match[1] in short else ""

    text = re.sub(r'\sid="([^"]*)"', renamed, text)
    text = REFERENCE.sub(lambda match: match[0].replace(match[1], short[match[1]]), text)
    text = MARKS.sub(_styled_once, text)
    return SPACE.sub(" ", TAG.sub(lambda tag: LONG.sub(_rounded, tag[0]), text)).strip()


def _rounded(number: re.Match[str]) -> str:
    return f"{float(number[0]):.2f}"


def _styled_once(marks: re.Match[str]) -> str:
    """Marks of one style in a group that has it."""
    style = f' style="{marks[1]}"'
    return f"<g{style}>{marks[0].replace(style, '')}</g>"
