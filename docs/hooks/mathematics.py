"""Formulas as MathML when the pages are built, so that no browser has to fetch a renderer."""

import re

from nelbo.report.derivation_page import mathml

DISPLAYED = re.compile(r"^\$\$\n(.+?)\n\$\$$", re.M | re.S)
LONG = 160  # characters of TeX, which a page is not wide enough for


def on_page_markdown(markdown: str, **_: object) -> str:
    """Every $$ block of a page as a <math> element that the browser draws by itself."""
    return DISPLAYED.sub(lambda match: _displayed(match[1]), markdown)


def _displayed(latex: str) -> str:
    kind = "formula long" if len(latex) > LONG else "formula"
    return f'<div class="{kind}" tabindex="0">{mathml(latex)}</div>'  # with it keys can scroll
