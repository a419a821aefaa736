"""What a training step costs beside the bare network's, and what those of others cost.

    python benchmarks/train.py [--repeats 9] [--output benchmarks/results/NAME.json]

The floor is the network's forward and backward on inputs made beforehand, with fused AdamW and a
moving average by foreach; it clips nothing, logs nothing and draws nothing. Ours is `nelbo train`
itself: batches, keyed noise, clipping, moving average, log. Each takes turns with the floor, and
the median of the ratios of CPU time counts, on one thread. No checkpoint falls into a turn.
"""

import tempfile
import time
from pathlib import Path

import peers
import torch
from networks import Case, T, cases
from timing import cpu_seconds, medians, options, ratio, write
from torch import nn

from nelbo.tasks.train import train

IMAGES = 1024


def floor(case: Case, clip: bool = False):
    """So many bare steps as a turn has."""
    network = case.network().train()
    x, time_input = (
        torch.randn(case.batch, 1, case.side, case.side),
        torch.randint(T, (case.batch,)),
    )
    parameters = list(network.parameters())
    averaged = [p.detach().clone() for p in parameters]
    current = [p.detach() for p in parameters]
    optimizer = torch.optim.AdamW(parameters, lr=1e-4, fused=True)

    def step():
        optimizer.zero_grad()
        (network(x, time_input) - x).square().mean().backward()
        if clip:
            nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        torch._foreach_lerp_(averaged, current, 0.001)

    return _turn(step, case)


def _turn(step, case: Case):
    def turn():
        for _ in range(case.turn):
            step()

    return turn


def ours(case: Case, objective: str, repeats: int) -> dict[str, float]:
    """`nelbo train` against the floor, which has its turns while the run's progress is told."""
    bare, pairs, started = floor(case), [], 0.0
    bare()

    def turn(done: int, expected: int, text: str) -> None:
        nonlocal started
        if done % case.turn:
            return
        mine = time.process_time() - started
        if done > case.turn:  # the first one warms up
            pairs.append((mine, cpu_seconds(bare)))
        started = time.process_time()

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # one step more than the turns have, so that what ends a run is in none of them
        steps = (repeats + 1) * case.turn + 1
        recipe = case.recipe(
            *case.saved(folder, IMAGES), objective=objective, steps=steps, checkpoint_every=steps
        )
        with case.in_recipes():
            train(recipe, folder / "run", progress=turn)
    return medians(pairs)


def batches(case: Case, lo: float):
    """Batches of values in [lo, 1], in a random order, from memory."""
    values = lo + case.levels(IMAGES).float() / 255 * (1 - lo)

    def draw():
        return values[torch.randint(IMAGES, (case.batch,))]

    return draw


def others(case: Case):
    """(name, a step) of each peer that is there; what is said of one that is not."""
    yield "diffusers", peers.diffusers_step(case.network().train(), T, batches(case, -1.0))
    core, version = peers.lucid()
    step = core and peers.lucid_step(core, case.network(), case.side, T, batches(case, 0.0))
    yield f"{peers.LUCID} ({version})", step


def measured(case: Case, repeats: int) -> dict:
    """A row for each way to make a step, all over the same floor."""
    turns = {f"ours, {kind}": ours(case, kind, repeats) for kind in ("simple", "bound")}
    turns["floor with clipping"] = ratio(floor(case, clip=True), floor(case), repeats)
    for name, step in others(case):
        turns[name] = step and ratio(_turn(step, case), floor(case), repeats)
    bare = [turn["bare_seconds"] for turn in turns.values() if turn]
    return {
        "parameters": sum(p.numel() for p in case.network().parameters()),
        "batch": case.batch,
        "steps a turn": case.turn,
        "floor, ms a step": round(1000 * sorted(bare)[len(bare) // 2] / case.turn, 3),
        "over the floor": {name: turn and turn["ratio"] for name, turn in turns.items()},
        "over the floor, spread": {n: turn and turn["ratio, spread"] for n, turn in turns.items()},
    }


def main() -> None:
    chosen = options(__doc__, repeats=9)
    results = {"repeats": chosen.repeats}
    for case in cases():
        results[case.name] = measured(case, chosen.repeats)
        print(case.name, results[case.name], flush=True)
    write(results, chosen.output)


if __name__ == "__main__":
    main()
