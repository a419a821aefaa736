"""Parts of an evaluation, killed at random moments and given twice: the bytes of one process?

    python benchmarks/parts.py [--parts 64] [--seed 0] [--output benchmarks/results/NAME.json]

Each part is a process of its own, which evaluates 500 digits at every t of a small network's chain
with a record. SIGKILL comes at a random moment to half of them, and to half of those that go on;
each ends in the end. A quarter is evaluated a second time, from nothing. All files are merged in
random order. Exit code 1 where the result differs in a byte from that of one process, but for its
seconds, command and machines.
"""

import argparse
import json
import multiprocessing
import random
import tempfile
import time
from pathlib import Path

import torch
from timing import write

import nelbo

OPTIONS = {"exhaustive": True, "seed": 7, "distortion": True}
ELSEWHERE = ("seconds", "environment", "command", "content_sha256")
CHANCE, AGAIN = 0.5, 0.25  # of a kill, of a second evaluation


class Small(torch.nn.Module):
    """A perceptron of 8x8 digits that knows nothing."""

    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(65, 64), torch.nn.SiLU(), torch.nn.Linear(64, 64)
        )

    def forward(self, x, t):
        time = (t / 1000).to(x)[:, None]
        return self.layers(torch.cat([x.flatten(1), time], dim=1)).reshape(x.shape)


def case():
    """(model, images): 200 steps, 500 images, some 100 batches."""
    torch.manual_seed(0)
    model = nelbo.wrap(
        Small(),
        time_input="t",
        shape=(1, 8, 8),
        levels=17,
        schedule={"name": "cosine", "T": 200},
        predicts="eps",
        variance="small",
    )
    return model, nelbo.data.load("digits:test")


def evaluate(number, of, record, path):
    """What a job of an array does."""
    torch.set_num_threads(1)
    model, images = case()
    nelbo.evaluate(model, images, part=(number, of), record=record, **OPTIONS).save(path)


def done_with_kills(number, of, folder, random_numbers, longest):
    """Evaluates the part, however often it is killed; how often it was."""
    kills, path = 0, folder / f"{number}.json"
    while not path.exists():
        arguments = (number, of, folder / f"{number}.record", path)
        process = multiprocessing.get_context("fork").Process(target=evaluate, args=arguments)
        process.start()
        if random_numbers.random() < CHANCE:
            process.join(random_numbers.uniform(0, longest))
            if process.is_alive():
                process.kill()
                kills += 1
        process.join()
    return kills


def differences(a, b):
    """The entries in which two results do not have the same bytes."""
    trees = [json.loads(result.to_json()) for result in (a, b)]
    return [key for key in trees[0] if trees[0][key] != trees[1].get(key)]


def measured(of, seed):
    random_numbers, (model, images) = random.Random(seed), case()
    started = time.perf_counter()
    whole = nelbo.evaluate(model, images, **OPTIONS)
    longest = 4 * (time.perf_counter() - started) / of + 1  # a part, and what comes before it
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        order = random_numbers.sample(range(1, of + 1), of)
        kills = [done_with_kills(n, of, place, random_numbers, longest) for n in order]
        (place / "again").mkdir()
        twice = random_numbers.sample(order, round(AGAIN * of))
        for number in twice:
            evaluate(number, of, None, place / "again" / f"{number}.json")
        files = [*place.glob("*.json"), *place.glob("again/*.json")]
        random_numbers.shuffle(files)
        merged = nelbo.merge(files, model, images)
    different = differences(whole, merged)
    return {
        "parts": of,
        "kills": sum(kills),
        "parts that were killed": sum(map(bool, kills)),
        "given twice": len(twice),
        "network_evaluations": merged.network_evaluations,
        "figures_sha256": [result.to_dict()["figures_sha256"] for result in (whole, merged)],
        "different entries": different,
        "identical": set(different) <= set(ELSEWHERE),
        "seconds of one process": round(whole.seconds, 1),
        "seconds of all parts": round(merged.seconds, 1),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    result = measured(arguments.parts, arguments.seed)
    write(result, arguments.output)
    return 0 if result["identical"] else 1


if __name__ == "__main__":
    raise SystemExit(main())
