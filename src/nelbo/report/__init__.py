"""Results for people and programs. Nowhere else do nats become bits per dimension."""

from nelbo.report.derivation import ChainDerivation, Derivation, markdown
from nelbo.report.evaluation import Evaluation, Step, bits_per_dim, environment
from nelbo.report.page import page
from nelbo.report.pictures import picture_grid

__all__ = [
    "ChainDerivation",
    "Derivation",
    "Evaluation",
    "Step",
    "bits_per_dim",
    "environment",
    "markdown",
    "page",
    "picture_grid",
]
