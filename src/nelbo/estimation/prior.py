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
    batches = []
    for values in torch.split(evaluator.images.values, evaluator.chunk):
        parts = [
            prior_term(model.chain, model.x_0(values, torch.float64)) for model in evaluator.models
        ]
        batches.append(torch.stack([part.double().cpu() for part in parts], dim=1))
    prior = torch.cat(batches)
    bad = ~prior.isfinite().all(1)
    if bad.any():
        T, ids = evaluator.models[0].T, evaluator.images.ids[bad].tolist()[:5]
        raise NonFinite(f"L_T is not finite, t = {T}, for images {ids} of {evaluator.images.name}")
    return prior
