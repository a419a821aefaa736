"""What summing gradients over two processes costs: one sum, or DistributedDataParallel's buckets.

    python benchmarks/ranks.py [--repeats 15] [--output benchmarks/results/NAME.json]

Two processes of one thread, by gloo, each with half of a batch. A step is forward, backward, the
sum and fused AdamW. The sums: one row of all gradients after the backward pass, as `nelbo train`
has it, and DistributedDataParallel with its usual buckets of 25 MB and with small ones, which begin
during the backward pass. Each takes turns with a step without any sum, and the median of the ratios
of wall time in the first process counts: waiting is what is measured.
"""

import os
import time
from functools import partial

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from networks import Case, T, cases
from timing import medians, options, write
from torch import nn
from torch.nn.parallel import DistributedDataParallel

PORT = "29533"
BUCKETS = {"DistributedDataParallel": 25, "DistributedDataParallel, buckets of 1 MB": 1}


def one_sum(parameters: list[nn.Parameter]) -> None:
    """The sum of all gradients as one row of numbers."""
    gradients = [p.grad for p in parameters]
    row = torch.cat([g.flatten() for g in gradients])
    dist.all_reduce(row)
    parts = row.split([g.numel() for g in gradients])
    torch._foreach_copy_(gradients, [p.view_as(g) for p, g in zip(parts, gradients, strict=True)])


def no_sum(parameters: list[nn.Parameter]) -> None:
    """Each process for itself."""


def turn(network: nn.Module, add_up, case: Case) -> float:
    """Wall seconds of so many steps as the case times at once; the processes begin together."""
    side, count = case.side, case.batch // 2
    x, t = torch.randn(count, 1, side, side), torch.randint(T, (count,))
    parameters = list(network.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=1e-4, fused=True)
    dist.barrier()
    started = time.perf_counter()
    for _ in range(case.turn):
        optimizer.zero_grad()
        (network(x, t) - x).square().mean().backward()
        add_up(parameters)
        optimizer.step()
    return time.perf_counter() - started


def measured(case: Case, repeats: int) -> dict[str, dict[str, float]]:
    """Each way to sum beside none."""
    bare = partial(turn, case.network().train(), no_sum, case)
    ways = {"one sum after the backward pass": partial(turn, case.network().train(), one_sum, case)}
    for name, size in BUCKETS.items():
        wrapped = DistributedDataParallel(case.network().train(), bucket_cap_mb=size)
        ways[name] = partial(turn, wrapped, no_sum, case)
    for way in (bare, *ways.values()):
        way()
    pairs = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            pairs[name].append((way(), bare()))
    return {name: medians(own) for name, own in pairs.items()}


def process(rank: int, repeats: int, output) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": PORT}
    torch.set_num_threads(1)
    torch.manual_seed(0)
    dist.init_process_group("gloo", rank=rank, world_size=2)
    results = {case.name: measured(case, repeats) for case in cases()}
    dist.barrier()
    dist.destroy_process_group()
    if rank == 0:
        write(results, output)


def main() -> None:
    arguments = options(__doc__, 15)
    mp.spawn(process, (arguments.repeats, arguments.output), nprocs=2)


if __name__ == "__main__":
    main()
