"""Train with Lightning and watch the bound as it falls: `python lightning_callback.py`."""

import argparse

import lightning.pytorch as pl
import torch
from torch.utils.data import DataLoader, TensorDataset

import nelbo
from nelbo.lightning import NELBOCallback


class Digits(pl.LightningModule):
    """The bound itself as the loss."""

    def __init__(self):
        super().__init__()
        self.model = nelbo.recipe.build(nelbo.recipe.read("digits"), shape=(1, 8, 8), n=17)
        self.network = self.model.network  # so that Lightning trains, moves and saves it

    def training_step(self, batch):
        return nelbo.loss(self.model, batch[0]).mean() / self.model.dims

    def configure_optimizers(self):
        return torch.optim.AdamW(self.network.parameters(), lr=2e-3)


def main(epochs: int, budget: int) -> None:
    callback = NELBOCallback(lambda module: module.model, "digits:test", budget=budget)
    images = TensorDataset(nelbo.data.load("digits:train").levels)
    trainer = pl.Trainer(max_epochs=epochs, callbacks=[callback], logger=False)
    trainer.fit(Digits(), DataLoader(images, batch_size=128, shuffle=True, drop_last=True))
    print({name: round(float(x), 4) for name, x in trainer.callback_metrics.items()})


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--smoke", action="store_true", help="one epoch, a few evaluations")
    main(*((1, 2000) if parser.parse_args().smoke else (100, 20_000)))
