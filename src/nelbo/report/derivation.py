"""The derivation as a page of the documentation, in Markdown."""

import math
import re
from collections.abc import Sequence

from nelbo.derivation import Row
from nelbo.results.derivation import ChainDerivation, Derivation

__all__ = ["begun", "markdown", "section"]

PREAMBLE = """# The derivation, executed

This page is written by the program (`markdown(derive())`). The lines are objects of
`nelbo.derivation`, and the values below are theirs on {count} chains that are small enough
to be exact. `nelbo derive` prints them, `nelbo derive MODEL` does the same on a model by Monte
Carlo, and `--html FILE` makes a page with pictures.

A line's value is minus the logarithm that it is about, in nats: lines (1) to (3) are -log p(x_0),
all later ones are L, the negative ELBO. (1) to (8) go from the likelihood to the loss, D1 to D11
from the loss to the three terms. Nothing in them says how a conditional is computed, so they hold
for every family.
"""

FALSE_PREAMBLE = """## False lines

Common mistakes: not equalities. Each is held against the true line that it would replace; where one
happens to agree, it says so.
"""


def markdown(derivation: Derivation) -> str:
    """The lines with formulas, reasons, conditions and values, as a page of the documentation."""
    chains = derivation.chains
    parts = [PREAMBLE.format(count=len(chains)), "The chains:\n"]
    parts += [f"- **{chain.name}**: {chain.description}." for chain in chains]
    parts.append("\n## From the likelihood to the loss\n")
    for rows in zip(*(chain.valuation.rows for chain in chains), strict=True):
        if rows[0].line.label == "D1":
            parts.append("## From the loss to the three terms\n")
        parts.append(section(rows, chains))
    parts.append(FALSE_PREAMBLE)
    for rows in zip(*(chain.valuation.false for chain in chains), strict=True):
        parts.append(section(rows, chains))
    parts.append("## What else is to be seen\n")
    for chain in chains:
        parts.append(f"**{chain.name}**\n")
        parts += [f"- {what}: {value}" for what, value in chain.summary() if what != "D1 to D10"]
        parts.append("")
    return "\n".join(parts).rstrip() + "\n"


def begun(reason: str) -> str:
    """With a capital, unless it begins with a symbol: q(x_0), t = 1."""
    return reason if re.match(r"\w(\(| =)", reason) else f"{reason[0].upper()}{reason[1:]}"


def section(rows: Sequence[Row], chains: Sequence[ChainDerivation]) -> str:
    """A line of several chains: formula, reason, condition, and a table of its values."""
    line = rows[0].line
    reason = f"{begun(line.because)}."
    if line.true and line.relation:
        reason = f"*{line.relation}* &nbsp; {reason}"
    if line.condition:
        reason += (
            f" Condition: {line.condition}." if line.true else f" Agrees where {line.condition}."
        )
    heads = [chain.name for chain in chains]
    values = [f"{row.value:.6f}" if math.isfinite(row.value) else "infinite" for row in rows]
    verdicts = [row.verdict for row in rows]
    table = [heads, ["---"] * len(heads), values, verdicts]
    cells = "\n".join(
        f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in r)} |" for r in table
    )
    return f"### {line.label}\n\n$$\n{line.latex}\n$$\n\n{reason}\n\n{cells}\n"
