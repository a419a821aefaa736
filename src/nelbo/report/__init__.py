"""Results for people and programs. Nowhere else do nats become bits per dimension."""

from nelbo.report.evaluation import Evaluation, Step, bits_per_dim, environment
from nelbo.report.page import page
from nelbo.report.pictures import picture_grid

__all__ = ["Evaluation", "Step", "bits_per_dim", "environment", "page", "picture_grid"]
