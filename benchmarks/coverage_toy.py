"""Whether the intervals and standard errors hold where all is known: the reference toy.

    python benchmarks/coverage_toy.py [--evaluations 1000] [-o benchmarks/results/NAME.json]

T = 10, one dimension, N(-.2, .3^2), the exact denoiser, the optimal variance: the bound of every
x_0 and the variance of every draw are closed forms. Evaluations run the chain and the estimator
that `nelbo evaluate` runs, each with 200 other images.
"""

import argparse
import json
import math
import sys
from pathlib import Path

import numpy as np
import torch
from timing import write

sys.path.append(str(Path(__file__).parent.parent / "tests"))

from nelbo.estimation import Evaluator, Exhaustive, measuring
from reference_toy import (
    MEAN,
    exact,
    exact_terms,
    one_draw_variance,
    sampled,
    toy_images,
    toy_model,
    without_controls,
)

IMAGES = 200


def per_image(count):
    """A budget of so many evaluations of each image."""
    return lambda sampling: sampling.spend(count * IMAGES)


def until(bits):
    """The default mode."""
    return lambda sampling: sampling.until(bits * math.log(2))


MODES = {
    "4 each": (per_image(4), None),
    "10 each": (per_image(10), None),
    "30 each": (per_image(30), None),
    "to 0.05 bits": (until(0.05), None),
    "to 0.02 bits": (until(0.02), None),
    "4 each, no control": (per_image(4), without_controls),
    "10 each, no control": (per_image(10), without_controls),
    "30 each, no control": (per_image(30), without_controls),
}


def per_cent(held):
    return round(100 * float(np.mean(held)), 2)


def z_of(values):
    values = np.asarray(values)
    return round(float(values.mean() / values.std(ddof=1) * math.sqrt(len(values))), 2)


def study(run, controls, seeds):
    """Coverage, bias and stated over true variances of one mode."""
    model, rows = toy_model(controls), []
    for seed in seeds:
        images, x_0 = toy_images(IMAGES, seed)
        sampling = sampled(model, images, seed, run)
        data, noise = sampling.total().means()
        (first_like, first), (_, later) = sampling.first().means(), sampling.later().means()
        truth, terms = exact(x_0).mean(), exact_terms(x_0)[1]
        one, draws = one_draw_variance(x_0)[:, 0].mean(), len(sampling.draws)
        like = (terms[:, 0].var(ddof=1) + one / draws) / IMAGES
        rows.append({
            "like": abs(data.mean - MEAN) <= data.half_width(),
            "these": abs(noise.mean - truth) <= noise.half_width(),
            "error": noise.mean - truth,
            "variance": noise.se**2,
            "later": later.mean - terms[:, 1:].sum(1).mean(),
            "later variance": later.se**2,
            "first": first.se**2 / (one / draws / IMAGES),
            "first, like": first_like.se**2 / like,
            "evaluations": sampling.evaluator.done,
        })  # fmt: skip
    columns = {key: np.array([row[key] for row in rows]) for key in rows[0]}
    return {
        "coverage %, sampling of images": per_cent(columns["like"]),
        "coverage %, Monte Carlo": per_cent(columns["these"]),
        "bias, relative": float(f"{columns['error'].mean() / MEAN:.2g}"),
        "bias z": z_of(columns["error"]),
        "stated over true sd": round(
            float(np.sqrt(columns["variance"].mean() / columns["error"].var())), 3
        ),
        "L_mid, stated over true sd": round(
            float(np.sqrt(columns["later variance"].mean() / columns["later"].var())), 3
        ),
        "L_0, stated over exact sd": round(math.sqrt(columns["first"].mean()), 4),
        "L_0 like these, stated over exact sd": round(math.sqrt(columns["first, like"].mean()), 4),
        "evaluations per image": round(float(columns["evaluations"].mean()) / IMAGES, 1),
    }


def exhaustive(evaluations):
    """Stated over exact standard errors of each t, and of the terms, of exhaustive passes."""
    nodes, share = np.polynomial.hermite_e.hermegauss(40)
    share, x_0 = share / share.sum(), -0.2 + 0.3 * nodes
    terms, noise = exact_terms(x_0)[1], share @ one_draw_variance(x_0)
    noise[0] /= 2  # L_0 is drawn twice
    truth = share @ (terms - share @ terms) ** 2 + noise
    model, estimates, like, these, later = toy_model(), [], [], [], []
    for seed in range(evaluations):
        images, x_0 = toy_images(IMAGES, 10_000_000 + seed)
        with measuring([model]):
            exhaustive_pass = Exhaustive(Evaluator([model], images, seed))
        estimates.append([step.se**2 * IMAGES for step in exhaustive_pass.steps()])
        data, exactly = exhaustive_pass.total().means()
        like.append(abs(data.mean - MEAN) <= data.half_width())
        these.append(abs(exactly.mean - exact(x_0).mean()) <= exactly.half_width())
        one = one_draw_variance(x_0)[:, 1:].sum(1).mean()
        later.append(float(exhaustive_pass.later().variance.mean()) / one)
    ratio = np.sqrt(np.mean(estimates, axis=0) / truth)
    return {
        "coverage %, sampling of images": per_cent(like),
        "coverage %, Monte Carlo": per_cent(these),
        "stated over exact sd of t = 1..T": [round(float(x), 4) for x in ratio],
        "L_mid, stated over exact sd": round(math.sqrt(np.mean(later)), 3),
    }


def bias(repetitions, images):
    """The default's mean over many repetitions at the same images, held against their bound."""
    model, (sample, x_0) = toy_model(), toy_images(images, 1)
    truth, estimates = exact(x_0).mean(), []
    for seed in range(repetitions):
        sampling = sampled(model, sample, seed, lambda s: s.until(0.0047))
        estimates.append(float(sampling.total().values.mean()))
    return {
        "repetitions": repetitions,
        "relative": float(f"{np.mean(estimates) / truth - 1:.2g}"),
        "z": z_of(np.array(estimates) - truth),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--evaluations", type=int, default=1000, help="simulated, of each mode")
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    count, results = arguments.evaluations, {}
    for number, (name, (run, controls)) in enumerate(MODES.items(), 1):
        # other images in each mode, so that modes are as many samples of the population
        seeds = range(number * 1_000_000, number * 1_000_000 + count)
        results[name] = study(run, controls, seeds)
        print(name, json.dumps(results[name]), flush=True)
    results["exhaustive"] = exhaustive(count)
    print("exhaustive", json.dumps(results["exhaustive"]), flush=True)
    results["bias of the default at the same images"] = bias(max(count // 2, 2), 1000)
    print(json.dumps(results["bias of the default at the same images"]), flush=True)
    write(results, arguments.output)


if __name__ == "__main__":
    main()
