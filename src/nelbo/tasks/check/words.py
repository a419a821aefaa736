"""The conventions that networks are trained with, each as the words of a `wrap` call."""

import itertools
from collections.abc import Iterator, Mapping

from nelbo.model import Model
from nelbo.typed_json import Json, at, part_at
from nelbo.types import Grid

__all__ = ["SCHEDULES", "call_of", "conventions", "least_apart", "stated_by"]

SCHEDULES = ("linear", "scaled-linear", "cosine", "sigmoid", "sigmoid-lucidrains")
OF_BETAS = ("eps", "x_0", "v")
TIMES = ("index", "t", "fraction")  # by log SNR a network knows no schedule: once is enough
RANGES = ((-1.0, 1.0), (0.0, 1.0), (-0.5, 0.5))
FLOWS: tuple[dict[str, Json], ...] = (
    {"name": "flow", "data_at": 0},
    {"name": "flow", "data_at": 1},
)
ON_PATHS: tuple[tuple[Json, str, str, tuple[str, ...]], ...] = (
    # path, time_input, scale, what networks predict there
    *((flow, time, "none", ("flow-velocity", "x_0", "eps")) for flow in FLOWS for time in
      ("t", "1000 t")),
    ("vp-sde", "t", "none", ("score", "eps")),
    ("vp-sde", "999 t", "none", ("score", "eps")),
    ("edm", "log(sigma)/4", "c_in", ("edm-F", "x_0")),
    ("edm", "sigma", "none", ("x_0", "eps", "score")),
    ("ve", "sigma", "none", ("score", "eps", "x_0")),
    ("ve", "log(sigma)", "none", ("score", "eps", "x_0")),
)  # fmt: skip


def conventions(T: int, grid: bool, variance: str) -> Iterator[dict[str, Json]]:
    """The words of each; T is the number of steps of a chain of betas.

    Those that differ in `predicts` alone follow each other: they evaluate the network at the same
    inputs. grid: whether the data have levels, and so a range. variance: of chains of betas.
    """
    for values in RANGES if grid else (None,):
        range_ = {} if values is None else {"range": values}
        for schedule, time in (*itertools.product(SCHEDULES, TIMES), ("linear", "log-snr")):
            for predicts in OF_BETAS:
                yield {
                    "schedule": {"name": schedule, "T": T},
                    "predicts": predicts,
                    "variance": variance,
                    "time_input": time,
                    **range_,
                }
        if "learned" in variance:
            continue  # what gives variances is of a chain of betas
        for path, time, scale, predictions in ON_PATHS:
            for predicts in predictions:
                yield {
                    "path": path,
                    "predicts": predicts,
                    "time_input": time,
                    "scale": scale,
                    **range_,
                }


def stated_by(model: Model) -> dict[str, Json]:
    """What a model says of how its network is read, by the same words."""
    facts = model.facts
    about = facts["path"] if "path" in facts else at(facts, "schedule", "name")
    stated = {
        "path" if "path" in facts else "schedule": about,
        "predicts": facts["parametrization"],
        "time_input": facts.get("time_input"),
        "scale": part_at(facts, "sources", "scale").get("value"),
    }
    if facts.get("time_input") == "log-snr" and "path" not in facts:
        del stated["schedule"]  # which such a network does not know
    if isinstance(model.support, Grid):
        stated["range"] = (model.support.lo, model.support.hi)
    return {name: value for name, value in stated.items() if value is not None}


def least_apart(one: Mapping[str, Json], other: Mapping[str, Json]) -> float:
    """The difference per dimension that two readings may have though they are read alike.

    Of one schedule or path they are evaluated at the same t, and of two at the nearest that these
    have. The linear betas and vp-sde are one law, by steps and without: .004 apart, either way, on
    a weak network.
    """
    ours, theirs = _law(one), _law(other)
    if ours == theirs:
        return 1e-3
    return 5e-3 if {str(ours), str(theirs)} == {"linear", "vp-sde"} else 2e-3


def _law(words: Mapping[str, Json]) -> Json:
    """The path, or the schedule by its name alone, as a model states it too."""
    schedule = words.get("schedule")
    return words.get("path", at(schedule, "name") if isinstance(schedule, Mapping) else schedule)


def call_of(
    words: Mapping[str, Json], data: Mapping[str, Json], arguments: Mapping[str, object] | None
) -> str:
    """The `wrap` call with these words; the arguments, which may be tensors, by their name."""
    given = [f"{name}={value!r}" for name, value in {**words, **data}.items()]
    given += ["arguments=arguments"] if arguments else []
    return f"nelbo.wrap(network, {', '.join(given)})"
