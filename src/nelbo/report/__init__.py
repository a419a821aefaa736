"""Results for people and programs. Nowhere else do nats become a unit per dimension."""

from nelbo.report.comparison import Comparison, Side
from nelbo.report.derivation import ChainDerivation, Derivation, markdown
from nelbo.report.evaluation import Curve, Evaluation, Look, Step, environment, likelihood_of
from nelbo.report.improvement import BeforeAfter
from nelbo.report.page import Picture, Pictures, Reported, comparison_page, page
from nelbo.report.per_image import PerImage
from nelbo.report.pictures import picture_grid, picture_sheet
from nelbo.report.ranking import Ranking, rank
from nelbo.report.unit import BITS, Unit, bits_per_dim

__all__ = [
    "BITS",
    "BeforeAfter",
    "ChainDerivation",
    "Comparison",
    "Curve",
    "Derivation",
    "Evaluation",
    "Look",
    "PerImage",
    "Picture",
    "Pictures",
    "Ranking",
    "Reported",
    "Side",
    "Step",
    "Unit",
    "bits_per_dim",
    "comparison_page",
    "environment",
    "likelihood_of",
    "markdown",
    "page",
    "picture_grid",
    "picture_sheet",
    "rank",
]
