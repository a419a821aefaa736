"""The race of `nelbo classify` against the exhaustive bound and fixed numbers of evaluations.

    python benchmarks/classify.py runs/digits-classes --steps 100 --seeds 4 --keep table.pt

Every t of every image and class is evaluated once, at noise that classes share, and kept in a file;
where two classes are close, several times more. A fixed number of evaluations for each class is
simulated by draws, with replacement, out of that table: at t and noise that the classes share, and
at each class's own. Prints a JSON object.
"""

import argparse
import statistics
from pathlib import Path

import torch
from timing import write
from torch import Tensor

import nelbo
from nelbo.bound.estimators import Rows, every_time
from nelbo.data.examples import for_each_class
from nelbo.estimation import Evaluator, measuring
from nelbo.results.classification import wilson

NUMBERS = (8, 16, 32, 64, 96, 112, 128, 144, 160, 192, 256, 512, 1024, 2048, 4096)
UNUSED = 7  # the first stage of noise that the race's looks have not
CLOSE = 5.0  # standard errors of an exhaustive pass, within which there are more of them
TIMES = 20  # simulated, for each number


def every_t(evaluator: Evaluator, stage: int, place: Tensor) -> Tensor:
    """L_{t-1} for every t = 2..T (rows), and L_0 (last), of these image-class pairs (columns)."""
    T = evaluator.models[0].T
    rows = every_time(T, len(place))
    requested = Rows(place[rows.image], rows.t, rows.draw, rows.weight)
    later = evaluator.later(stage, requested, [[]])[0][:, 0].reshape(T - 1, -1)
    return torch.cat([later, evaluator.first(range(stage, stage + 1), place)[0][:, :, 0]])


def exhaustive(evaluator: Evaluator, count: int, keep: Path | None) -> Tensor:
    """(T, N, K), from the file where it is there."""
    if keep is not None and keep.exists():
        return torch.load(keep)
    nats = every_t(evaluator, UNUSED, torch.arange(len(evaluator.images)))
    nats = nats.reshape(len(nats), count, -1)
    if keep is not None:
        torch.save(nats, keep)
    return nats


def settled(evaluator: Evaluator, table: Tensor, passes: int) -> tuple[Tensor, int]:
    """(the class of the lowest bound, by more passes where it is close; how many images are)."""
    bound = table.sum(0)
    best = bound.argmin(1)
    apart = table - table.gather(2, best[None, :, None].expand(len(table), -1, 1))
    se = apart.diff(dim=0).square().sum(0).div(2).sqrt()
    near = apart.sum(0) <= CLOSE * se  # the best itself too
    image, label = (near & (near.sum(1) > 1)[:, None]).nonzero(as_tuple=True)
    if len(image) == 0:
        return best, 0
    place = image * table.shape[2] + label
    more = torch.stack([every_t(evaluator, UNUSED + 1 + k, place).sum(0) for k in range(passes)])
    mean = torch.full_like(bound, torch.inf)
    mean[image, label] = (bound[image, label] + more.sum(0)) / (1 + passes)
    return torch.where(near.sum(1) > 1, mean.argmin(1), best), len(image.unique())


def fixed(table: Tensor, number: int, shared: bool) -> float:
    """How often so many draws for each class give the class of all t."""
    T, N, K = table.shape
    generator = torch.Generator().manual_seed(number)
    hits = 0.0
    for _ in range(TIMES):
        t = torch.randint(T, (number, N, 1 if shared else K), generator=generator)
        total = table.gather(0, t.expand(-1, -1, K)).sum(0)
        hits += float((total.argmin(1) == table.sum(0).argmin(1)).double().mean()) / TIMES
    return hits


def raced(model, images, truth: Tensor, error: float, seeds: int) -> dict[str, object]:
    """What the command gives by that many seeds; intervals are of all images of one seed."""
    made = [nelbo.classify(model, images, error=error, seed=k, check=False) for k in range(seeds)]
    same = [int((each.classes == truth).sum()) for each in made]
    wrong = [each.decided & (each.posterior.argmax(1) != truth) for each in made]
    mean = sum(same) / seeds
    return {
        "error": error,
        "same_class": mean / len(images),
        "same_class_ci95": wilson(round(mean), len(images)),
        "same_class, images by seed": same,
        "lost": [int(each.sum()) for each in wrong],
        "decided": [int(each.decided.sum()) for each in made],
        "evaluations_per_image": statistics.mean(each.each for each in made),
        "accuracy": statistics.mean(each.accuracy for each in made),
        "accuracy_ci95": wilson(round(statistics.mean(x.hits or 0 for x in made)), len(images)),
        "calibration_error": statistics.mean(each.calibration_error for each in made),
        "log_loss": statistics.mean(each.log_loss for each in made),
    }


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("model")
    arguments.add_argument("--data", default="digits:test")
    arguments.add_argument("--images", type=int, default=500)
    arguments.add_argument("--steps", type=int, default=250)
    arguments.add_argument("--passes", type=int, default=3)
    arguments.add_argument("--errors", type=float, nargs="+", default=[0.05, 0.1])
    arguments.add_argument("--seeds", type=int, default=1)
    arguments.add_argument("--keep", type=Path)
    arguments.add_argument("--output", type=Path)
    options = arguments.parse_args()
    model = nelbo.load(options.model).every(options.steps)
    images = nelbo.data.load(options.data, labels=True).first(options.images)
    with measuring([model]):
        evaluator = Evaluator([model], for_each_class(images, model.classes), seed=0)
        table = exhaustive(evaluator, len(images), options.keep)
        truth, close = settled(evaluator, table, options.passes)
    single = table.sum(0).argmin(1)
    rows = [raced(model, images, truth, error, options.seeds) for error in options.errors]
    simulated = {
        name: {n * model.classes: fixed(table, n, shared) for n in NUMBERS}
        for name, shared in (("shared t and noise", True), ("t and noise of each class", False))
    }
    about = {
        "model": model.name,
        "steps": model.T,
        "images": len(images),
        "classes": model.classes,
        "accuracy of the exhaustive bound": float((truth == images.labels).double().mean()),
        "close, evaluated more often": close,
        "one exhaustive pass, same class": float((single == truth).double().mean()),
        "race": rows,
        "fixed, same class by evaluations per image": simulated,
    }
    write(about, options.output)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
