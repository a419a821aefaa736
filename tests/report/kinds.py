"""A result of every kind, made of what one short evaluation gives and of numbers by hand."""

from pathlib import Path

import torch

from nelbo import compare, evaluate, inspect, load
from nelbo.bound.statistics import Mean
from nelbo.data import load as load_data
from nelbo.results.check import ModelCheck, Ranked
from nelbo.results.classification import Classification
from nelbo.results.comparisons import Comparisons
from nelbo.results.compression import Compression
from nelbo.results.derivation import Derivation
from nelbo.results.image_ranking import ImageBounds, ImageRanking
from nelbo.results.improvement import BeforeAfter
from nelbo.results.neighbours import neighbours
from nelbo.results.ode import OdeLikelihood
from nelbo.results.order_bounds import OrderBounds
from nelbo.results.plan import PlanEntry, PlanResults
from nelbo.results.ranking import Entry, rank
from nelbo.results.unit import BITS

IMAGES = 10


def every_kind(run):
    """By the kind's name, from a run folder of digits."""
    images = load_data("digits:test").first(8)
    model = load(run)
    evaluation = evaluate(model, images, budget=80, distortion=True)
    comparison = compare(load(run, weights="raw"), model, images, budget=160)
    raw = evaluate(load(run, weights="raw"), images, budget=80)
    rows = [
        Entry(name, one, one.per_image.columns()) for name, one in (("a", evaluation), ("b", raw))
    ]
    entries = [
        *(PlanEntry(r.name, "digits", "kept", Path(f"{r.name}.json"), r.result) for r in rows),
        PlanEntry("a", "none", "failed", Path("a--none.json"), error="none: no such data"),
    ]
    return {
        "evaluation": evaluation,
        "comparison": comparison,
        "comparisons": Comparisons([comparison, comparison], "nelbo compare a b c"),
        "ode": _ode(evaluation),
        "order_bounds": _orders(evaluation),
        "image_ranking": _ranking(evaluation),
        "classification": _classification(evaluation),
        "plan": PlanResults(
            entries, {"seed": 0}, "nelbo evaluate --plan plan.toml", neighbours("digits", rows)
        ),
        "ranking": rank([(evaluation, evaluation.per_image.columns()), (evaluation, None)]),
        "improvement": BeforeAfter({"steps": [1, 2], "images": 8, "data": "d"}, 1.5, 9, comparison),
        "compression": Compression(
            {"name": "m"},
            {"name": "d"},
            8,
            64,
            "raster",
            64,
            None,
            9e2,
            9e2,
            960,
            0,
            1000,
            {},
            5,
            True,
            0.1,
        ),
        "check": ModelCheck(
            "m",
            Ranked({"predicts": "eps"}, 1.0, 0.0, None, 1e-3, 8),
            [],
            None,
            "",
            [],
            0,
            9,
            8,
            {"name": "d"},
            BITS,
            0,
            0.1,
            {},
        ),
        "derivation": Derivation([], 0, 0.1, {}),
        "inspection": inspect(model),
    }


def _how(evaluation, **estimator):
    """How it was measured, with an estimator of its own."""
    return {
        "network_evaluations": 77,
        "seconds": 0.5,
        "estimator": {"name": "made", "seed": 0, **estimator},
        "model": evaluation.model,
        "data": evaluation.data,
        "environment": evaluation.environment,
        "command": "nelbo made",
    }


def _ode(evaluation):
    mean = Mean(90.0, 2.0, 7)
    return OdeLikelihood(
        total=mean,
        monte_carlo=Mean(90.0, 0.5, 30),
        dims=64,
        **_how(
            evaluation,
            steps=20,
            log_snr=[6.0, -9.0],
            compared_on=8,
            dequantise="model",
            draws=2,
            importance=1,
            probes=1,
            stopped_by="draws",
        ),
        warnings=["<b>look</b>"],
        shares={"solver": 0.125, "trace": 0.25, "dequantisation": 0.5},
        looks={10: 91.25, 20: 90.0, 40: 89.5},
        bound=evaluation,
        difference=(Mean(-3.0, 0.5, 7), Mean(-3.0, 0.25, 30)),
        images=8,
    )


def _orders(evaluation):
    return OrderBounds(
        total=Mean(90.0, 2.0, 7),
        monte_carlo=Mean(90.0, 0.5, 30),
        dims=64,
        **_how(evaluation, orders=4),
        bound=(Mean(92.0, 2.0, 7), Mean(92.0, 0.5, 30)),
        below=(Mean(88.0, 2.0, 7), Mean(88.0, 0.5, 7)),
        effective=55.5,
        orders=4,
        calls=64,
        images=8,
    )


def _ranking(evaluation):
    values = 70.0 + torch.arange(IMAGES, dtype=torch.float64).flip(0) ** 2
    se = torch.full_like(values, 1.5)
    bounds = ImageBounds(torch.arange(IMAGES), values, se, torch.full_like(se, 20), se > 9)
    return ImageRanking(
        total=Mean(float(values.mean()), 5.0, IMAGES - 1),
        monte_carlo=Mean(float(values.mean()), 0.5, 50),
        dims=64,
        **_how(evaluation),
        bounds=bounds,
        easiest=torch.tensor([9, 8]),
        hardest=torch.tensor([0, 1]),
    )


def _classification(evaluation):
    posterior = torch.eye(3, dtype=torch.float64).repeat(4, 1)[:IMAGES] * 0.7 + 0.1
    labels = torch.tensor([0, 1, 2, 0, 1, 2, 0, 1, 0, 1])  # two of ten are of another class
    return Classification(
        ids=torch.arange(IMAGES),
        posterior=posterior,
        behind=torch.full((IMAGES,), 2.0, dtype=torch.float64),
        se=torch.full((IMAGES,), 0.5, dtype=torch.float64),
        decided=torch.arange(IMAGES) > 1,
        evaluations=torch.full((IMAGES,), 12),
        labels=labels,
        sources=(),
        prior=[0.5, 0.25, 0.25],
        error=0.05,
        **_how(evaluation),
    )
