"""What a subset of the images saves where they are many, and whether its interval holds.

    python benchmarks/subset.py RUN DATA [--precision 0.02 0.05] [--seeds 20] [--output FILE]

All images at the default precision first. Then at each precision a subset by the first seed, and at
the widest one by all seeds: how many of them have the figure of all images within the interval for
sampling of images, which is 95 % or a little more, as no image is drawn twice.
"""

import argparse
from pathlib import Path

from timing import write

import nelbo


def row(result) -> dict[str, float]:
    """A figure with both half-widths and what it took."""
    return {
        "bits/dim": round(result.bits_per_dim, 4),
        "sampling of images": round(result.half_width(result.total), 4),
        "Monte Carlo": round(result.half_width(result.monte_carlo), 4),
        "images": result.images,
        "network evaluations": result.network_evaluations,
        "seconds": round(result.seconds, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    parser.add_argument("data")
    parser.add_argument("--precision", type=float, nargs="+", default=[0.02, 0.05])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--output", type=Path)
    chosen = parser.parse_args()
    model = nelbo.load(chosen.run)
    images = nelbo.data.load(chosen.data, levels=model.grid.n)
    whole = nelbo.evaluate(model, images)
    results = {"all images": row(whole)}
    for precision in chosen.precision:
        few = nelbo.evaluate(model, images, precision=precision, subset=True)
        results[f"a subset for ± {precision:g}"] = row(few)
    widest, held, evaluations = max(chosen.precision), 0, 0
    for seed in range(chosen.seeds):
        few = nelbo.evaluate(model, images, precision=widest, subset=True, seed=seed)
        held += abs(few.per_dim - whole.per_dim) <= few.half_width(few.total)
        evaluations += few.network_evaluations
    results[f"seeds at ± {widest:g}"] = {
        "seeds": chosen.seeds,
        "interval holds": int(held),
        "network evaluations, mean": round(evaluations / chosen.seeds),
    }
    write(results, chosen.output)


if __name__ == "__main__":
    main()
