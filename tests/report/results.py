"""Results of models that were never run, for what is made of several."""

import math

import numpy as np
import torch
from scipy import stats

from nelbo.results.evaluation import Evaluation

IMAGES = 40


def result_of(name, values, *, seed=0, half_monte_carlo=0.01, steps=1000, **changes):
    """(result, table) of a model with these bits of each image; changes by dotted key."""
    values = np.asarray(values, np.float64)
    mean, n = float(values.mean()), len(values)
    half = float(stats.t.ppf(0.975, n - 1) * values.std(ddof=1) / n**0.5)
    term = {"bits_per_dim": mean, "se": 0.0, "se_monte_carlo": 0.0}
    none = {"bits_per_dim": 0.0}
    tree = {
        "schema": "nelbo.evaluation/1",
        "bits_per_dim": mean,
        "ci95": [mean - half, mean + half],
        "ci95_monte_carlo": [mean - half_monte_carlo, mean + half_monte_carlo],
        "nats_per_image": mean * 64 * math.log(2),
        "terms": {"L_T": term | none, "L_mid": term, "L_0": term | none},
        "per_step": [],
        "images": n,
        "dims": 64,
        "network_evaluations": 5000,
        "seconds": 1.0,
        "estimator": {"name": "adaptive stratified", "seed": seed},
        "model": {"name": name, "sha256": name, "weights": "ema", "T": 1000, "steps": steps},
        "data": {
            "name": "digits",
            "sha256": "d",
            "split": "test",
            "images": n,
            "levels": 17,
            "grid": [-1.0, 1.0],
        },
        "environment": {},
        "command": "",
    }
    for key, value in changes.items():
        *path, last = key.split("__")
        place = tree
        for part in path:
            place = place[part]
        place[last] = value
    return Evaluation.from_dict(tree), {"id": torch.arange(n), "bits_per_dim": torch.tensor(values)}


def drawn(seed, shift=0.0):
    """Bits of images, some of them hard for every model."""
    hard = np.random.default_rng(0).normal(1.8, 0.25, IMAGES)
    return hard + shift + np.random.default_rng(seed).normal(0, 0.1, IMAGES)


A, B, C = drawn(1), drawn(2, 0.05), drawn(3, 0.9)
