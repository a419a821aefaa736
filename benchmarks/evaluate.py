"""What the exhaustive bound costs beside the bare network forwards: CPU time on one thread.

    python benchmarks/evaluate.py [--repeats 5] [--output benchmarks/results/NAME.json]

Bare is the same number of forwards on the same batches and nothing else, in inference mode. The
two take turns, and the median of their ratios counts: other work on the machine slows both. One
image is also set beside a loop of forwards of batch 1, which is what a loop over t amounts to.
"""

import torch
from networks import LEVELS, T, cases
from timing import options, ratio, write

import nelbo
from nelbo.data import Images

SIZE = 16  # rows in a batch
STEPS = (1000, 100, 100)  # of the exhaustive bound, by case


def model(network, side, steps):
    whole = nelbo.wrap(
        network.eval(), schedule="linear", predicts="eps", variance="small", clip=False,
        V_1="beta_tilde_2", time_input="index", shape=(1, side, side), levels=LEVELS, range=(-1, 1),
    )  # fmt: skip
    return whole if steps == T else whole.every(steps)


def exhaustive(network, side, steps, size, repeats):
    """16 images at every t against the same number of forwards in the same batches."""
    chain = model(network, side, steps)
    images = Images("noise", None, torch.randint(LEVELS, (16, 1, side, side)), LEVELS)
    rows = 16 * (steps + 1)
    x = torch.randn(size, 1, side, side)
    time_input = torch.randint(T, (size,)).float()

    def bare():
        with torch.inference_mode():
            for _ in range(rows // size):
                network(x, time_input)

    def bound():
        nelbo.evaluate(chain, images, exhaustive=True, batch_size=size)

    return ratio(bound, bare, repeats)


def one_image(network, side, steps, repeats):
    """One image at every t against forwards of batch 1: how many times faster."""
    chain = model(network, side, steps)
    images = Images("noise", None, torch.randint(LEVELS, (1, 1, side, side)), LEVELS)
    x, time_input = torch.randn(1, 1, side, side), torch.zeros(1)

    def loop():
        with torch.inference_mode():
            for _ in range(steps + 1):
                network(x, time_input)

    return ratio(loop, lambda: nelbo.evaluate(chain, images, exhaustive=True), repeats)


def main() -> None:
    chosen = options(__doc__, repeats=5)
    results = {}
    for case, steps in zip(cases(), STEPS, strict=True):
        network, side = case.network(), case.side
        figures = exhaustive(network, side, steps, SIZE, chosen.repeats)
        alone = one_image(network, side, T if side == 8 else 100, chosen.repeats)
        results[case.name] = {
            "parameters": sum(x.numel() for x in network.parameters()),
            "steps": steps,
            "batch": SIZE,
            "exhaustive over bare": figures["ratio"],
            "exhaustive over bare, spread": figures["ratio, spread"],
            "one image, times faster than batch 1": alone["ratio"],
        }
        print(case.name, results[case.name], flush=True)
    write(results, chosen.output)


if __name__ == "__main__":
    main()
