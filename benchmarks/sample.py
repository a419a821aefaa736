"""What drawing samples costs beside the bare network forwards, and what others' loops cost.

    python benchmarks/sample.py [--repeats 9] [--output benchmarks/results/NAME.json]

Bare is the same number of forwards on the same batches of 16 and nothing else, in inference mode.
Each loop takes turns with it, and the median of their ratios of CPU time counts, on one thread.
"""

import peers
import torch
from networks import Case, T, cases
from timing import options, ratio, write

from nelbo.tasks.sample import sample

COUNT = 16


def bare(case: Case, network):
    x, time_input = torch.randn(COUNT, 1, case.side, case.side), torch.randint(T, (COUNT,))

    @torch.inference_mode()
    def forwards():
        for _ in range(case.steps):
            network(x, time_input)

    return forwards


def loops(case: Case, network):
    """(name, what draws as many samples), None where it cannot be measured."""
    shape, ours = (COUNT, 1, case.side, case.side), case.model()
    yield "ours", lambda: sample(ours, COUNT)
    yield "diffusers", peers.diffusers_sampling(network, shape, T, case.steps)
    core, version = peers.lucid()
    drawn = core and peers.lucid_sampling(core, network, shape, case.steps)
    yield f"{peers.LUCID} ({version})", drawn


def main() -> None:
    chosen = options(__doc__, repeats=9)
    results = {"repeats": chosen.repeats}
    for case in cases():
        network = case.network().eval()
        ratios = {
            name: loop and ratio(loop, bare(case, network), chosen.repeats)
            for name, loop in loops(case, network)
        }
        seconds = sorted(row["bare_seconds"] for row in ratios.values() if row)
        results[case.name] = {
            "steps": case.steps,
            "batch": COUNT,
            "bare, seconds": seconds[len(seconds) // 2],
            "over bare": {name: row and row["ratio"] for name, row in ratios.items()},
            "over bare, spread": {
                name: row and row["ratio, spread"] for name, row in ratios.items()
            },
        }
        print(case.name, results[case.name], flush=True)
    write(results, chosen.output)


if __name__ == "__main__":
    main()
