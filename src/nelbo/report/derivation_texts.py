"""The derivation for a paper, as LaTeX, and for a course, as a Jupyter notebook."""

import json
import re
from collections.abc import Iterator, Sequence

from nelbo.derivation import Line, Row
from nelbo.report.derivation import begun, section
from nelbo.report.rows import escaped
from nelbo.results.derivation import Derivation, shown_value
from nelbo.typed_json import Json

__all__ = ["latex", "notebook"]

MADE = "% Derivation made by nelbo"  # by which it is known when it is to be replaced
INDEXED = re.compile(r"([xL]_(?:[01]:T|t-1|[0-9Ttq]))")
SYMBOLS = {"‖": r"$\Vert$", "−": "$-$", "≥": r"$\ge$", "≠": r"$\ne$", "≲": r"$\lesssim$"}
FORMULA = r"""% A formula with its label; one that is wider than the column is made to fit it.
\providecommand{\nelboformula}[2]{\sbox0{$\displaystyle #2$}%
  \ifdim\wd0>0.8\linewidth\sbox0{\resizebox{0.8\linewidth}{!}{\usebox0}}\fi
  \[\usebox0\tag{#1}\]}"""


def latex(derivation: Derivation) -> str:
    r"""Every line with its reason, and a table of the values, for \input.

    Needs amsmath, amssymb, booktabs and graphicx.
    """
    lines = [f"{MADE}; needs amsmath, amssymb, booktabs and graphicx.", FORMULA]
    valuations = [chain.valuation for chain in derivation.chains]
    rows = list(zip(*(v.rows for v in valuations), strict=True))
    false = list(zip(*(v.false for v in valuations), strict=True))
    lines += [text for group in rows for text in _statement(group[0].line)]
    lines.append(r"\paragraph{False lines.} Common mistakes: not equalities.")
    lines += [text for group in false for text in _statement(group[0].line)]
    lines += _values(derivation, [*rows, *false])
    return "\n".join(lines) + "\n"


def _statement(line: Line) -> Iterator[str]:
    yield rf"\nelboformula{{{line.label.strip('()')}}}{{{line.latex}}}"
    condition = f" ({line.condition})" if line.condition else ""
    relation = rf"\textbf{{{_text(line.relation)}}} " if line.true and line.relation else ""
    yield rf"\noindent {relation}{_text(begun(line.because) + condition)}."


def _values(derivation: Derivation, groups: Sequence[Sequence[Row]]) -> Iterator[str]:
    """A table: nats of every line on every chain."""
    heads = [_text(chain.name) for chain in derivation.chains]
    yield rf"\sbox0{{\begin{{tabular}}{{l{'r' * len(heads)}}}"
    yield rf"\toprule line, nats & {' & '.join(heads)} \\ \midrule"
    for group in groups:
        cells = " & ".join(_text(shown_value(row)) for row in group)
        yield rf"{escaped(group[0].line.label)} & {cells} \\"
    yield r"\bottomrule \end{tabular}}"
    yield r"\par\noindent\ifdim\wd0>\linewidth\resizebox{\linewidth}{!}{\usebox0}\else\usebox0\fi"


def _text(text: str) -> str:
    """Plain text as LaTeX, its indices and symbols set as mathematics."""
    parts = INDEXED.split(text)
    return "".join(
        "${}_{{{}}}$".format(*part.split("_")) if number % 2 else _symbols(escaped(part))
        for number, part in enumerate(parts)
    )


def _symbols(text: str) -> str:
    return "".join(SYMBOLS.get(character, character) for character in text)


def notebook(derivation: Derivation) -> str:
    """A cell for each line: the formula, why it follows, its values; last, the command again."""
    chains = derivation.chains
    about = "\n".join(f"- **{chain.name}**: {chain.description}." for chain in chains)
    cells = [_cell(f"# From log p(x_0) to the three terms, line by line\n\n{about}")]
    for rows in zip(*(chain.valuation.rows for chain in chains), strict=True):
        cells.append(_cell(section(rows, chains)))
    cells.append(_cell("## False lines\n\nCommon mistakes: not equalities."))
    for rows in zip(*(chain.valuation.false for chain in chains), strict=True):
        cells.append(_cell(section(rows, chains)))
    if derivation.command:
        cells.append(_code(f"!{derivation.command}"))
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    tree = {
        "metadata": {"made by": "nelbo derive", "kernelspec": kernel},
        "nbformat": 4,
        "nbformat_minor": 4,
        "cells": cells,
    }
    return json.dumps(tree, indent=1, ensure_ascii=False) + "\n"


def _cell(text: str) -> dict[str, Json]:
    return {"cell_type": "markdown", "metadata": {}, "source": text}


def _code(text: str) -> dict[str, Json]:
    return {
        "cell_type": "code",
        "execution_count": None,
        "metadata": {},
        "outputs": [],
        "source": text,
    }
