"""The bound of a network while Lightning trains it; the extra `lightning`, nelbo[lightning]."""

import os
from collections.abc import Callable
from typing import final

from nelbo.arguments import function, shown, whole
from nelbo.data import as_images, load
from nelbo.errors import BadInput
from nelbo.estimation import Processes, Settings
from nelbo.model import Model
from nelbo.networks.mode import evaluating
from nelbo.results import Evaluation, bits_per_dim
from nelbo.tasks.evaluate import evaluate

try:
    from lightning.pytorch import Callback, LightningModule, Trainer
    from lightning.pytorch.strategies import DDPStrategy
    from lightning.pytorch.trainer.states import TrainerFn
except ImportError:
    raise BadInput("NELBOCallback needs lightning: pip install 'nelbo[lightning]'") from None

__all__ = ["NELBOCallback"]


@final
class NELBOCallback(Callback):
    """Logs bits_per_dim, L_T, L_mid and L_0 of the same images at the same noise every n epochs.

    With them `half_width` of the 95 % interval, sampling of images, and `half_width_monte_carlo`,
    Monte Carlo; all in bits per dimension, under `val/`. They are measured with each
    validation of such an epoch, or at its end where there is none. The network is used as it is:
    neither its weights, nor its parts' modes, nor any random state changes.

    The processes of DDP share the work; under a strategy that shards the network each does all of
    it. Every process logs the same values. Networks that differ between processes, by running
    statistics of their own, are refused: give them torch.nn.SyncBatchNorm.

    Arguments:
        model_of: from the LightningModule to the model of its network, such as
            `lambda module: nelbo.wrap(module.network, ...)`.
        images: what `nelbo.evaluate` takes, or a spec such as digits:test.
        every_n_epochs: how often.
        precision, budget, seed, batch_size, check: those of `nelbo.evaluate`.
        prefix: of the names that are logged.

    Raises:
        BadInput: every_n_epochs below 1, or what `nelbo.data` refuses.
    """

    def __init__(
        self,
        model_of: Callable[[LightningModule], Model],
        images: object,
        *,
        every_n_epochs: int = 1,
        precision: float = 0.01,
        budget: int | None = None,
        seed: int = 0,
        batch_size: int | None = None,
        check: bool = True,
        prefix: str = "val",
    ) -> None:
        super().__init__()
        every_n_epochs = whole("every_n_epochs", every_n_epochs)
        if every_n_epochs < 1:
            raise BadInput(f"every_n_epochs must be at least 1; got {every_n_epochs}")
        if not isinstance(prefix, str):
            raise BadInput(f"prefix must be a text; got {shown(prefix)}")
        # refused here, and not after an epoch of training
        Settings(precision=precision, budget=budget, seed=seed, batch_size=batch_size, check=check)
        self.model_of = function("model_of", model_of)
        self.images = load(images) if isinstance(images, str | os.PathLike) else images
        self.every_n_epochs = every_n_epochs
        self.precision, self.budget, self.seed = precision, budget, seed
        self.batch_size = batch_size
        self.check = check
        self.prefix = prefix
        self.latest: Evaluation | None = None
        self.measured = False  # in this epoch

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuses before the training what could not be measured after its first epoch.

        Raises:
            BadInput: model_of gives no model, one elsewhere than the module, or one of other data.
        """
        model = self._model(pl_module)
        self.images = as_images(self.images, n=model.grid.n, grid=model.grid)
        model.x_0(self.images.levels[:1])
        model.condition_of(self.images)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.measured = False

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        requested = trainer.state.fn == TrainerFn.VALIDATING  # by trainer.validate
        if requested or (self._due(trainer) and not trainer.sanity_checking):
            self._measure(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._due(trainer) and not self.measured:
            self._measure(trainer, pl_module)

    def _due(self, trainer: Trainer) -> bool:
        return (trainer.current_epoch + 1) % self.every_n_epochs == 0

    def _measure(self, trainer: Trainer, pl_module: LightningModule) -> None:
        with evaluating(pl_module):
            evaluation = evaluate(
                self._model(pl_module),
                self.images,
                precision=self.precision,
                budget=self.budget,
                seed=self.seed,
                batch_size=self.batch_size,
                check=self.check,
                processes=_processes(trainer),
                command="NELBOCallback",
            )
        self.latest, self.measured = evaluation, True
        values = {f"{self.prefix}/{name}": value for name, value in _values(evaluation).items()}
        pl_module.log_dict(values, on_step=False, on_epoch=True, sync_dist=True)

    def _model(self, pl_module: LightningModule) -> Model:
        """The model of the module's network, on the module's device."""
        model = self.model_of(pl_module)
        if not isinstance(model, Model):
            raise BadInput(
                "model_of gives a nelbo model, such as nelbo.wrap(module.network, ...); got a "
                f"{type(model).__name__}"
            )
        model.network.to(pl_module.device)  # of the network itself only arguments were elsewhere
        if model.device != pl_module.device:
            raise BadInput(
                f"the LightningModule is on {pl_module.device} and its model on {model.device}: "
                "wrap the network itself, an nn.Module, not a function that calls it"
            )
        return model


def _values(evaluation: Evaluation) -> dict[str, float]:
    """What is logged of it, in bits/dim; no interval where none is known."""
    terms = {
        name: bits_per_dim(mean.mean, evaluation.dims)
        for name, (mean, _) in evaluation.terms.items()
    }
    widths = {
        "half_width": evaluation.half_width(evaluation.total),
        "half_width_monte_carlo": evaluation.half_width(evaluation.monte_carlo),
    }
    known = {name: width for name, width in widths.items() if width is not None}
    return {"bits_per_dim": evaluation.bits_per_dim, **terms, **known}


def _processes(trainer: Trainer) -> Processes:
    """Those that hold the whole network each; a sharded one is evaluated by all at once."""
    if isinstance(trainer.strategy, DDPStrategy):
        return Processes(trainer.global_rank, trainer.world_size)
    return Processes()
