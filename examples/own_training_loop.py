"""Train a model by the bound in your own loop, then measure it: `python own_training_loop.py`."""

import argparse

import torch

import nelbo
from nelbo import data, recipe


def main(steps: int, budget: int) -> None:
    images = data.load("digits:train")
    model = recipe.build(recipe.read("digits"), shape=(1, 8, 8), n=17)
    optimizer = torch.optim.AdamW(model.network.parameters(), lr=2e-3)
    for _ in range(steps):
        batch = images.levels[torch.randint(len(images), (128,))]
        loss = nelbo.loss(model, batch).mean() / model.dims  # nats per dimension
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(nelbo.evaluate(model, data.load("digits:test"), budget=budget))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--smoke", action="store_true", help="a few steps only")
    main(*((3, 2000) if parser.parse_args().smoke else (1000, 50_000)))
