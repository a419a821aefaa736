"""What the tasks work on: a chain with its data's shape and grid, and all that a report says."""

from nelbo.model.autoregressive import AutoregressiveModel, autoregressive_model
from nelbo.model.batch_loss import loss
from nelbo.model.categorical import CategoricalModel, categorical_model, with_network
from nelbo.model.continuous import ContinuousModel, LimitModel, continuous_model
from nelbo.model.digest import digest
from nelbo.model.examples import examples_of
from nelbo.model.gaussian import GaussianModel, gaussian_model, improved
from nelbo.model.masked import (
    AnyOrderModel,
    InOrderModel,
    has_positions,
    in_any_order,
    in_order,
    revealing,
)
from nelbo.model.model import Denoiser, Encoder, Model
from nelbo.model.settings import Setting, Settings
from nelbo.model.spacing import evenly_in
from nelbo.model.tokens import masked_model
from nelbo.model.trial import try_network
from nelbo.model.weights import clip_gradients, parameter_groups

__all__ = [
    "AnyOrderModel",
    "AutoregressiveModel",
    "CategoricalModel",
    "ContinuousModel",
    "Denoiser",
    "Encoder",
    "GaussianModel",
    "InOrderModel",
    "LimitModel",
    "Model",
    "Setting",
    "Settings",
    "autoregressive_model",
    "categorical_model",
    "clip_gradients",
    "continuous_model",
    "digest",
    "evenly_in",
    "examples_of",
    "gaussian_model",
    "has_positions",
    "improved",
    "in_any_order",
    "in_order",
    "loss",
    "masked_model",
    "parameter_groups",
    "revealing",
    "try_network",
    "with_network",
]
