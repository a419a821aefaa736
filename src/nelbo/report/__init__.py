"""Results for people and programs. Nowhere else do nats become bits per dimension."""

from nelbo.report.comparison import Comparison, Side
from nelbo.report.derivation import ChainDerivation, Derivation, markdown
from nelbo.report.evaluation import Curve, Evaluation, Look, Step, bits_per_dim, environment
from nelbo.report.improvement import BeforeAfter
from nelbo.report.page import page
from nelbo.report.per_image import PerImage
from nelbo.report.pictures import picture_grid

__all__ = [
    "BeforeAfter",
    "ChainDerivation",
    "Comparison",
    "Curve",
    "Derivation",
    "Evaluation",
    "Look",
    "PerImage",
    "Side",
    "Step",
    "bits_per_dim",
    "environment",
    "markdown",
    "page",
    "picture_grid",
]
