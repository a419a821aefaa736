"""What a measurement is: figures with their intervals, as objects and as JSON. Nothing here draws.

Nowhere else do nats become a unit per dimension.
"""

from nelbo.results.comparison import Comparison, Side
from nelbo.results.context import environment, likelihood_of
from nelbo.results.evaluation import Curve, Evaluation, Look, Step, Term
from nelbo.results.improvement import BeforeAfter
from nelbo.results.loading import load
from nelbo.results.per_image import PerImage
from nelbo.results.ranking import Ranking, rank
from nelbo.results.unit import BITS, Unit, bits_per_dim

__all__ = [
    "BITS",
    "BeforeAfter",
    "Comparison",
    "Curve",
    "Evaluation",
    "Look",
    "PerImage",
    "Ranking",
    "Side",
    "Step",
    "Term",
    "Unit",
    "bits_per_dim",
    "environment",
    "likelihood_of",
    "load",
    "rank",
]
