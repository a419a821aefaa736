"""What a page shows of the positions of a masked model's examples."""

import math

from nelbo.data import Examples, Images
from nelbo.data.symbols import Alphabet
from nelbo.estimation import Evaluator, measuring
from nelbo.estimation.positions import nats_of_positions
from nelbo.model import InOrderModel, Model, has_positions, in_any_order
from nelbo.report.page import Picture, Positions, charted
from nelbo.report.positions import by_position, pixel_levels, spans
from nelbo.sampling.pictures import picture_sheet
from nelbo.sampling.texts import symbols_of as symbols_of_shape
from nelbo.types import Grid

__all__ = ["positions_of", "symbols_of"]

EXAMPLES, CALLS = 16, 32  # that are looked at, and of each order


def positions_of(model: Model, examples: Examples | None, seed: int) -> Positions:
    """Along one order of each of the first 16 examples, in 32 calls; nothing of other models.

    A model of one order has its own.
    """
    if examples is None or not has_positions(model):
        return Positions()
    some = examples.first(min(EXAMPLES, len(examples)))
    along: Model = model if isinstance(model, InOrderModel) else in_any_order(model)
    if along.T > CALLS and not along.exact:
        along = along.every(CALLS)
    with measuring([along]):
        bits = nats_of_positions(Evaluator([along], some, seed)) / math.log(2)
    order = "Its order" if along.exact else "One random order of each"
    examples_are = "images" if isinstance(some, Images) else "windows"
    how = f"{order}, {along.T} calls, the first {len(some)} {examples_are}."
    charts = charted(by_position(bits, some.values >= 0, how), "by-position")
    if isinstance(some, Images):
        most = float(bits.mean((0, 1)).max())
        alt = f"mean bits of each pixel, black for 0 and white for {most:.2f}"
        png = picture_sheet(pixel_levels(bits), 256, 1)
        return Positions(how, charts, Picture(png, alt, (f"white: {most:.2f} bits",)))
    symbols = symbols_of(model)
    if symbols is None:
        return Positions(how, charts)
    levels, ids = some.values.long(), some.ids.tolist()
    return Positions(how, charts, None, *spans(bits, levels, ids, symbols.decode))


def symbols_of(model: Model) -> Alphabet | None:
    """What the model's text is made of; None of other models."""
    if not isinstance(model.support, Grid):
        return None
    return symbols_of_shape(model.shape, model.grid.n, model.alphabet)
