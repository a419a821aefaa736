"""Formulas as MathML when the pages are built, so that no browser has to fetch a renderer."""

import re

from nelbo.report.derivation_page import mathml

DISPLAYED = re.compile(r"^\$\$\n(.+?)\n\$\$$", re.M | re.S)


def on_page_markdown(markdown: str, **_: object) -> str:
    """Every $$ block of a page as a <math> element that the browser draws by itself."""
    return DISPLAYED.sub(lambda found: f"<div>{mathml(found[1])}</div>", markdown)
