"""-log p of a masked model of any order, from above and from below."""

import time
from pathlib import Path

from nelbo import arguments
from nelbo.data import sizes_of
from nelbo.errors import BadInput
from nelbo.estimation import Evaluator, Processes, Progress, Settings, examine, measuring
from nelbo.estimation.orders import nats_of_orders, two_sides
from nelbo.formats import Pipeline, as_model
from nelbo.model import AnyOrderModel, Model, examples_of, in_any_order
from nelbo.results.context import environment
from nelbo.results.order_bounds import FEWEST, OrderBounds
from nelbo.tasks.evaluate import described_data

__all__ = ["order_bounds"]


def order_bounds(
    model: Model | str | Path | Pipeline,
    data: object,
    *,
    orders: int = 16,
    seed: int = 0,
    batch_size: int | None = None,
    check: bool = True,
    record: str | Path | None = None,
    processes: Processes | None = None,
    command: str = "",
    progress: Progress = lambda done, expected, text: None,
) -> OrderBounds:
    """Two figures between which -log p(x) of a masked model lies: p(x) is its mean over orders.

    Above: -log of the mean over `orders` random orders, the mean of two such; below: the tangent
    bound of one of them at the other. Each is a bound in expectation, and its two 95 % intervals
    are those of the sampling of images and of Monte Carlo. The tangent bound's weights have a heavy
    tail: where their effective sample size is below 50 it is refused. It takes 2 * orders * calls
    network evaluations of an image, the calls being its positions, or those of
    `nelbo.model.in_any_order(model).every(calls)`. Other arguments: as for `evaluate`.

    Sources: Burda et al. 2016, "Importance weighted autoencoders"; arXiv 2605.24292 (TUBE).

    Raises:
        BadInput: a model without masked positions, or of one order, whose -log p is exact; fewer
            than one order; what `evaluate` refuses of the others.
        NonFinite: -log p of an order is NaN or infinite.
    """
    given = Settings(
        precision=1.0,  # the number of orders is given: neither of the two is reached for
        budget=None,
        seed=seed,
        batch_size=batch_size,
        check=check,
        record=record,
        processes=Processes() if processes is None else processes,
        progress=progress,
    )
    orders = arguments.whole("orders", orders, least=1)
    started, model = time.perf_counter(), _of_any_order(as_model(model))
    images = examples_of(model, data, given.seed)
    with measuring([model]):
        evaluator = Evaluator(
            [model], images, given.seed, given.batch_size, given.processes, progress=given.progress
        )
        checked = examine([model], images, given.processes, given.check)
    with evaluator.agreed({"orders": orders}, given.record), measuring([model]):
        sides, sizes = two_sides(nats_of_orders(evaluator, orders)), sizes_of(images)
    total, monte_carlo = sides.above(sizes)
    return OrderBounds(
        total=total,
        monte_carlo=monte_carlo,
        bound=sides.bound(sizes),
        below=sides.below(sizes) if sides.effective >= FEWEST else None,
        effective=sides.effective,
        orders=orders,
        calls=model.T,
        images=len(images),
        dims=model.dims,
        network_evaluations=evaluator.done,
        seconds=time.perf_counter() - started,
        estimator={
            "name": "random orders",
            "orders": orders,
            "seed": given.seed,
            "batch_size": evaluator.batch,
            "check": checked,
        },
        model=model.described(),
        data=described_data(model, images),
        environment=environment(model.device, model.dtype, given.processes.size),
        command=command,
        unit=evaluator.unit,
    )


def _of_any_order(model: Model) -> AnyOrderModel:
    """The model of any order, in as many calls as it has, or of its limit."""
    if model.exact:
        raise BadInput(
            f"{model.name} is of one order, whose -log p is exact: nelbo.evaluate measures it"
        )
    return model if isinstance(model, AnyOrderModel) else in_any_order(model)
