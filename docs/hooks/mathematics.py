"""Formulas as MathML when the pages are built, so that no browser has to fetch a renderer."""

import re

from latex2mathml.converter import convert

DISPLAYED = re.compile(r"^\$\$\n(.+?)\n\$\$$", re.M | re.S)


def on_page_markdown(markdown: str, **_: object) -> str:
    """Every $$ block of a page as a <math> element that the browser draws by itself."""
    return DISPLAYED.sub(lambda found: f"<div>{convert(found[1], display='block')}</div>", markdown)
