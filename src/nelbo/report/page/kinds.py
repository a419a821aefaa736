"""The page of a result in a file, by its kind."""

from functools import singledispatch

from nelbo.errors import BadInput
from nelbo.report.page.classification import classification_sheet
from nelbo.report.page.comparisons import comparisons_sheet
from nelbo.report.page.compression import compression_page
from nelbo.report.page.difference import difference_page
from nelbo.report.page.image_ranking import image_ranking_sheet
from nelbo.report.page.ode import ode_sheet
from nelbo.report.page.orders import orders_sheet
from nelbo.report.page.plan import plan_sheet
from nelbo.report.page.sheet import laid
from nelbo.results.classification import Classification
from nelbo.results.comparison import Comparison
from nelbo.results.comparisons import Comparisons
from nelbo.results.compression import Compression
from nelbo.results.order_bounds import OrderBounds
from nelbo.results.plan import PlanResults
from nelbo.results.read_ode import OdeRead
from nelbo.results.read_ranking import RankedImages
from nelbo.results.saved import Saved

__all__ = ["page_of"]


@singledispatch
def page_of(result: Saved) -> str:
    """The page; equal inputs give equal bytes. It refers to nothing outside itself.

    Raises:
        BadInput: a kind of which no page is made.
    """
    raise BadInput(
        f"no page is made of a result of schema {result.to_dict()['schema']}: there are pages of "
        "evaluations, plans, comparisons, likelihoods by the ODE, both sides of any order, "
        "classifications, rankings of images and bills of compressions"
    )


page_of.register(Comparison, difference_page)
page_of.register(Compression, compression_page)


@page_of.register
def _(result: Comparisons) -> str:
    return laid(comparisons_sheet(result), result.tree)


@page_of.register
def _(result: OdeRead) -> str:
    return laid(ode_sheet(result), result.tree)


@page_of.register
def _(result: OrderBounds) -> str:
    return laid(orders_sheet(result), result.tree)


@page_of.register
def _(result: Classification) -> str:
    return laid(classification_sheet(result), result.tree)


@page_of.register
def _(result: RankedImages) -> str:
    return laid(image_ranking_sheet(result), result.tree)


@page_of.register
def _(result: PlanResults) -> str:
    return laid(plan_sheet(result), result.to_dict())
