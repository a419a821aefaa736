"""L_T of images: the term that nothing random is left in."""

import torch
from jaxtyping import Float64
from torch import Tensor

from nelbo.bound.terms import prior_term
from nelbo.errors import NonFinite
from nelbo.estimation.evaluator import Evaluator

__all__ = ["prior_terms"]


def prior_terms(evaluator: Evaluator) -> Float64[Tensor, "N models"]:
    """L_T of each image by each model, in nats, in float64.

    Raises:
        NonFinite: it is NaN or infinite for some image.
    """
    values, models = evaluator.images.values, evaluator.models
    prior = torch.empty(len(values), len(models), dtype=torch.float64)  # in one piece: see Replies
    for some, row in zip(values.split(evaluator.chunk), prior.split(evaluator.chunk), strict=True):
        for column, model in zip(row.unbind(1), models, strict=True):
            column.copy_(prior_term(model.chain, model.x_0(some, torch.float64)))
    bad = ~prior.isfinite().all(1)
    if bad.any():
        T, ids = evaluator.models[0].T, evaluator.images.ids[bad].tolist()[:5]
        raise NonFinite(f"L_T is not finite, t = {T}, for images {ids} of {evaluator.images.name}")
    return prior
