"""A comparison at every t, and in parts: what two evaluations say, and the bytes of one process."""

import json
import math
import random

import pytest

import nelbo as package
from nelbo import BadInput
from nelbo.data import load
from nelbo.estimation import evaluator
from nelbo.results.part import Part

N = 5
OPTIONS = {"exhaustive": True, "seed": 3}
# All that merged results may differ in, and so the digest of all that they hold.
ELSEWHERE = ("seconds", "environment", "command", "content_sha256")


@pytest.fixture
def small_chunks(monkeypatch):
    """Chunks of 8 rows of digits."""
    monkeypatch.setattr(evaluator, "CELLS", 8 * 64)


@pytest.fixture(scope="module")
def images():
    return load("digits:test").first(16)


def near(mean, other):
    return mean == pytest.approx(other, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("steps", [(6, 6), (30, 30), (6, 5)])
def test_every_t_of_two_models_is_what_two_evaluations_say(run, images, steps):
    """Law: each side is its own exhaustive evaluation, and the difference that of the images.

    Kills: the noise of the other model, one column for both, an interval of the wrong column.
    """
    named = zip(("raw", "ema"), steps, strict=True)
    a, b = (package.load(run, weights=weights).every(T) for weights, T in named)
    both = package.compare(a, b, images, **OPTIONS)
    alone = [package.evaluate(model, images, **OPTIONS) for model in (a, b)]
    for side, own in zip((both.a, both.b), alone, strict=True):
        for mean, other in ((side.total, own.total), (side.monte_carlo, own.monte_carlo)):
            assert near(mean.mean, other.mean)
            assert near(mean.se, other.se)
    values = alone[0].per_image.total - alone[1].per_image.total
    assert near(both.total.mean, float(values.mean()))
    assert near(both.total.se, float(values.std() / len(images) ** 0.5))
    assert both.network_evaluations == sum(own.network_evaluations for own in alone)
    assert both.estimator["name"] == "exhaustive"
    separate = math.hypot(*(own.monte_carlo.se for own in alone))
    if steps[0] == steps[1]:
        assert both.monte_carlo.se < 0.5 * separate  # the noise is common
    else:
        assert near(both.monte_carlo.se, separate)


def test_a_model_against_itself_is_exactly_no_difference_at_every_t(run, images):
    """Kills: other noise for the second of two."""
    same = package.compare(*[package.load(run).every(6)] * 2, images, **OPTIONS)
    assert (same.total.mean, same.total.se, same.monte_carlo.se) == (0.0, 0.0, 0.0)


def test_parts_of_a_comparison_are_the_bytes_of_one_process(
    run, images, small_chunks, tmp_path, monkeypatch
):
    """Kills: batches of one model alone, A for B in the merge, an evaluation by merge."""
    a, b = (package.load(run, weights=weights).every(6) for weights in ("raw", "ema"))
    whole = package.compare(a, b, images, **OPTIONS)
    parts = [
        package.compare(a, b, images, part=(number, N), **OPTIONS) for number in range(1, N + 1)
    ]
    assert sum(part.evaluations for part in parts) == whole.network_evaluations
    files = [part.save(tmp_path / f"{part.number}.json") for part in parts]
    files += files[:2]
    random.Random(0).shuffle(files)
    for model in (a, b):
        monkeypatch.setattr(model.network, "forward", None)  # merge evaluates nothing
    joint, alone = package.merge(files, (a, b), images).to_dict(), whole.to_dict()
    assert json.dumps({k: joint[k] for k in joint if k not in ELSEWHERE}) == json.dumps(
        {k: alone[k] for k in alone if k not in ELSEWHERE}
    )
    (machine,) = joint["environment"]["parts"]
    assert machine["numbers"] == list(range(1, N + 1))
    refused(parts, (a, b), images)


def refused(parts, models, images):
    """What does not make this comparison is refused by its name."""
    a, b = models
    for given, model, message in (
        (parts, a, "part 1/5 is a part of a comparison: give both models, as \\(a, b\\)"),
        (parts, (b, a), "was computed with another model 1, sha256|another model 1, weights"),
        (parts[1:], models, "1 of 5 parts are missing: 1; evaluate them"),
    ):
        with pytest.raises(BadInput, match=message):
            package.merge(given, model, images)
    with pytest.raises(BadInput, match="baselines are of one model's images: a comparison has"):
        package.merge(parts, models, images, baselines=True)
    single = Part(1, 1, {"seed": 0, "batch_size": None}, {}, 0, 0.0, None, {}, source="x.json")
    with pytest.raises(BadInput, match=r"x\.json is a part of one model: give it"):
        package.merge([single], models, images)


def test_what_has_no_parts_is_refused(run, images):
    a, b = package.load(run).every(6), package.load(run).every(5)
    with pytest.raises(BadInput, match="parts of a comparison are of every t: give exhaustive"):
        package.compare(a, a, images, part=(1, 2))
    with pytest.raises(BadInput, match="are of two chains of as many steps on the same examples"):
        package.compare(a, b, images, part=(1, 2), exhaustive=True)
    for task in (lambda **how: package.compare(a, a, images, **how),
                 lambda **how: package.evaluate(a, images, **how)):  # fmt: skip
        with pytest.raises(BadInput, match="budget and exhaustive exclude each other: give one"):
            task(budget=1000, exhaustive=True)


def test_parts_of_a_comparison_by_the_command_line(run, small_chunks, tmp_path, nelbo):
    """Kills: a command of a missing part that evaluates one model, a merge by another order."""
    options = ["--exhaustive", "--steps", 4, "--max-images", 12, "--seed", 1]
    pair = [run, run, "--weights", "raw", "--weights-b", "ema"]
    files = [tmp_path / f"part{number}.json" for number in (1, 2, 3)]
    whole, merged = tmp_path / "whole.json", tmp_path / "merged.json"
    assert nelbo("compare", *pair, *options, "--json", whole)[0] == 0
    for number in (1, 3):
        output = files[number - 1]
        code, out, err = nelbo("compare", *pair, *options, "--part", f"{number}/3", "-o", output)
        assert code == 0, err
        assert out.startswith(f"part {number} of 3: ")
    code, _, err = nelbo("merge", files[2], files[0], "-o", merged)
    missing, refusal = err.splitlines()
    assert (code, missing.split()[:2]) == (2, ["nelbo", "compare"])
    assert refusal == "nelbo: 1 of 3 parts are missing: 2; evaluate them, then merge all"
    assert nelbo(*missing.split()[1:])[0] == 0
    assert nelbo("merge", *reversed(files), "-o", merged)[0] == 0
    joint, alone = (json.loads(path.read_text()) for path in (merged, whole))
    assert [key for key in alone if joint[key] != alone[key]] == list(ELSEWHERE)
    again = tmp_path / "again.json"
    models = ["--model", run, "--model", run]
    assert nelbo("merge", *files, *models, "-o", again)[0] == 0
    of_one = tmp_path / "one.json"
    given = [run, "--weights", "raw", *options, "--part", "1/3", "-o", of_one]
    assert nelbo("evaluate", *given)[0] == 0
    for arguments, message in (
        ([*files, "--model", run], "part1.json is of two: give --model twice, A, B, or leave it"),
        ([*files, "--baselines"], "--per-image, --plots and --baselines are of one model: leave"),
        ([*files[:2], of_one], "one.json is a part of another evaluation than "),
        ([of_one, *models], "one.json is of one model: give --model once, or leave it out"),
    ):
        code, _, err = nelbo("merge", *arguments, "-o", tmp_path / "x.json")
        assert (code, message in err) == (2, True), err
    for arguments, message in (
        ([*pair[:2], run, "--part", "1/3", "-o", merged], "--part is of two models, and there are"),
        ([*pair, "--part", "1/3", "-o", files[0]], "parts of a comparison are of every t: give"),
        ([*pair, "--exhaustive", "--budget", 500], "--budget and --exhaustive exclude each other"),
        ([run, "--ode-against-bound", "--exhaustive"], "--exhaustive is not of the ODE against"),
    ):
        code, _, err = nelbo("compare", *arguments, "--max-images", 4)
        assert (code, message in err) == (2, True), err
