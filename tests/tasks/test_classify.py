"""p(class | x) from bounds: paired noise, a race that keeps the best, accuracy and calibration."""

import json
import math
from dataclasses import replace

import pytest
import torch
from scipy.stats import binomtest
from sklearn.metrics import log_loss

import labelled
import nelbo
from nelbo.bound.estimators import Rows
from nelbo.data.examples import for_each_class, with_conditions
from nelbo.errors import BadInput
from nelbo.estimation import Evaluator, measuring
from nelbo.estimation.race import Allocation, Race, _variance, looks_of, moderated
from nelbo.results.classification import wilson
from nelbo.tasks.classify import classify
from nelbo.tasks.evaluate import evaluate

CLASSES = 3
NEVER = -1.0  # an error at which nothing drops out


def toy(T=6, apart=1):
    """A model of three classes, each with a network of its own."""
    networks = [labelled.Tilted(apart * number) for number in range(CLASSES)]
    return replace(labelled.model_of(labelled.ByLabel(*networks), T=T), classes=CLASSES)


def race(model, images, looks=(8, 8), error=NEVER, seed=0, prior=None, batch_size=None):
    shares = torch.full((CLASSES,), 1 / CLASSES) if prior is None else torch.tensor(prior)
    with measuring([model]):
        some = for_each_class(images, CLASSES)
        evaluator = Evaluator([model], some, seed, batch_size)
        return Race(evaluator, shares.double().log(), Allocation(model.importance), looks, error)


def exactly(model, images, seeds=10):
    """Bounds by every t, (seeds, N, K), at t and noise that classes share."""
    values = torch.empty(seeds, len(images), CLASSES, dtype=torch.float64)
    for label in range(CLASSES):
        own = replace(images, labels=torch.full((len(images),), label))
        for seed in range(seeds):
            result = evaluate(model, own, exhaustive=True, seed=900 + seed, check=False)
            values[seed, :, label] = result.per_image.total
    return values


def apart(values):
    """Differences to the first class."""
    return values[:, 1:] - values[:, :1]


@pytest.mark.parametrize("T", [2, 6])
def test_differences_are_those_of_the_bounds(T):
    """z of the mean over images of the difference to every t, |z| < 4, L_0 and later terms.

    Kills: t = 1 left out or taken for a later one, weights of another t, one draw of L_0 for all.
    """
    model, images = toy(T), labelled.images(120, CLASSES)
    exact = exactly(model, images).mean(0)
    odds = race(model, images, (8, 8, 16)).log_odds()[0]
    error = apart(-odds) - apart(exact)
    z = error.mean(0) / (error.std(0) / len(images) ** 0.5)
    assert (z.abs() < 4).all(), z


def test_classes_share_t_and_noise():
    """Three times the same network: nothing differs, so the posterior is the prior itself.

    Kills: noise by the place of a row, t of each class by itself.
    """
    networks = [labelled.Tilted(1) for _ in range(CLASSES)]
    model = replace(labelled.model_of(labelled.ByLabel(*networks)), classes=CLASSES)
    prior = [0.2, 0.5, 0.3]
    classification = classify(model, labelled.images(20, CLASSES), prior=prior, most=16)
    assert torch.allclose(
        classification.posterior, torch.tensor(prior).double().expand(20, -1), atol=1e-9
    )


def paired(model, images, opposite, seeds):
    """Sums of two L_{t-1} of each image and class: of noise and its opposite, or of two."""
    some, sums = for_each_class(images, CLASSES), []
    image = torch.arange(len(some)).repeat_interleave(2)
    t, second = torch.full_like(image, 4), torch.tensor([False, True]).repeat(len(some))
    draw = torch.zeros_like(t)
    for seed in range(seeds):
        rows = (
            Rows(image, t, draw, torch.ones(len(t)).double(), second)
            if opposite
            else Rows(image, t, second.long(), torch.ones(len(t)).double())
        )
        with measuring([model]):
            values = Evaluator([model], some, seed).later(3, rows, [[]])[0][:, 0]
        sums.append(values.reshape(-1, CLASSES, 2).sum(2))
    return apart(torch.stack(sums).flatten(0, 1))


def test_opposite_noise_is_unbiased_and_its_pairs_vary_less():
    """Law: the mean difference of pairs is that of independent noise, z < 4; the variance less.

    Kills: noise of one sign in both, or of a law of its own; the second row given another's.
    """
    model, images = toy(apart=3), labelled.images(60, CLASSES)
    own, other = (paired(model, images, opposite, 40) for opposite in (True, False))
    z = (own.mean(0) - other.mean(0)) / ((own.var(0) + other.var(0)) / len(own)).sqrt()
    assert (z.abs() < 4).all(), z

    def noise(values):  # within each image, over the seeds
        return values.reshape(40, 60, -1).var(0).mean()

    assert noise(own) < 0.8 * noise(other)


def rows_of(behind, noise, second, share):
    """Rows of two classes, the second so far behind: pairs with shares of it, noise of their own.

    second: of a pair's two rows, which has the other sign in the other one.
    """
    sums = share[:, None] * behind + noise
    rows = torch.stack([sums / 2 + second, sums / 2 - second], dim=1).flatten(0, 1)
    return torch.stack([torch.zeros_like(rows), rows], dim=2)


@pytest.mark.parametrize("pairs", [2, 3, 4, 5])
def test_rows_of_opposite_noise_are_one_draw(pairs):
    """Law: the variance of a sum is that of its pairs, z < 4, whatever cancels within a pair.

    Kills: rows of a pair taken for two draws, the last of three pairs left out or counted twice.
    """
    count, generator = 4000, torch.Generator().manual_seed(pairs)
    deviation = torch.linspace(1, 2, pairs).double()[:, None]
    noise, second = torch.randn(2, pairs, count, generator=generator).double()
    values = rows_of(torch.ones(count), deviation * noise, 9 * second, torch.full((pairs,), 1.0))
    variance, dof = _variance([values], torch.zeros(count).long())
    off = variance[:, 1] - (deviation * noise).sum(0).var()
    assert abs(float(off.mean() / (off.std() / count**0.5))) < 4
    assert float(dof[:, 1].max()) <= pairs


def test_variances_of_far_classes_do_not_raise_those_of_near_ones():
    """Law: of estimates 2 behind + 0.05 behind^2, the square being a trend, 2 behind is expected.

    Kills: a line alone, which the far classes tilt; a trend that counts as variance.
    """
    behind = torch.linspace(0.5, 200, 400).double().reshape(100, 4)
    variance, rival = 2 * behind + 0.05 * behind.square(), torch.ones_like(behind).bool()
    result, dof = moderated(variance, torch.ones_like(behind), behind, rival)
    assert (dof == 21).all()
    torch.testing.assert_close(result, (20 * 2 * behind + variance) / 21, rtol=1e-6, atol=1e-6)


def test_the_standard_errors_are_those_of_the_differences():
    """The mean of (behind - exact)^2 over images is at most that of se^2, and not far below.

    Kills: the variance of a sum as that of a mean, looks that count as one, pairs halved.
    """
    model, images = toy(apart=3), labelled.images(120, CLASSES)
    exact, squares, variances = exactly(model, images, 20), [], []
    for seed in range(6):
        last = race(model, images, (8, 8, 16), seed=seed).steps[-1]
        wanted = exact - exact.gather(2, last.leader[None, :, None].expand(len(exact), -1, 1))
        error = (last.behind - wanted.mean(0)).square() - wanted.var(0) / len(exact)
        squares.append(error.masked_select(last.behind > 0))
        variances.append(last.se.square().masked_select(last.behind > 0))
    ratio = torch.cat(squares).mean() / torch.cat(variances).mean()
    assert 0.4 < float(ratio) < 1.2


def test_the_lowest_bound_drops_out_no_more_often_than_was_promised():
    """Images whose lowest exact bound dropped out are binomial at `error`, z < 4; others do drop.

    Kills: intervals that hold for one look or one class, the leader that may drop out.
    """
    model, images = toy(apart=3), labelled.images(200, CLASSES)
    exact = exactly(model, images)
    best = exact.mean(0).argmin(1, keepdim=True)
    ahead = (exact - exact.gather(2, best.expand(len(exact), -1, 1))).sort(2).values[:, :, 1]
    clear = ahead.mean(0) > 4 * ahead.std(0) / len(exact) ** 0.5
    lost = count = dropped = 0
    for seed in range(3):
        odds = race(model, images, (8, 8, 16, 32), error=0.2, seed=seed)
        kept = odds.alive.gather(1, best)[:, 0]
        lost, count = lost + int((~kept & clear).sum()), count + int(clear.sum())
        dropped += int((~odds.alive).sum())
        assert odds.alive.any(1).all()
    assert (odds.risk <= 0.2).all()
    assert count > 100
    assert dropped > count / 2
    assert lost < 0.2 * count + 4 * math.sqrt(0.16 * count)


def test_the_race_saves_evaluations_and_counts_them():
    """Kills: candidates that are evaluated though they dropped out, a count of looks alone."""
    model, images = toy(), labelled.images(60, CLASSES)
    classification = classify(model, images, most=64, error=0.2)
    assert int(classification.evaluations.sum()) == classification.network_evaluations
    assert classification.network_evaluations < CLASSES * 64 * 60
    assert looks_of(64) == [6, 4, 4, 6, 10, 14, 20]
    assert [looks_of(n) for n in (4, 5, 9, 11)] == [[4], [4], [8], [6, 4]]
    for most in range(4, 300):
        looks = looks_of(most)
        assert sum(looks) == most - most % 2
        assert all(rows >= 4 and rows % 2 == 0 for rows in looks)


def test_a_prior_adds_its_logarithm():
    """Kills: a prior that is squared, left out of the race, or of the wrong class."""
    model, images = toy(), labelled.images(30, CLASSES)
    even, other = (race(model, images, prior=p).log_odds()[0] for p in (None, [0.7, 0.2, 0.1]))
    shift = torch.tensor([0.2 / 0.7, 0.1 / 0.7]).log()
    torch.testing.assert_close(apart(other) - apart(even), shift.double().expand(30, -1))
    classification = classify(model, images, prior=[1, 0, 3], most=8)
    assert classification.posterior[:, 1].eq(0).all()
    assert classification.prior == [0.25, 0.0, 0.75]
    assert classification.evaluations.max() <= 2 * 8


def test_who_dropped_out_is_as_far_behind_as_when_it_did():
    """By hand: b dropped 5 behind a, then a dropped 2 behind c.

    Kills: what is behind one leader taken for what is behind the last.
    """
    odds = race(toy(), labelled.images(1, CLASSES), (8,))
    step, tensor = odds.steps[0], torch.tensor
    first = replace(
        step,
        leader=tensor([0]),
        dropped=tensor([[False, True, False]]),
        behind=tensor([[0.0, 5.0, 1.0]]).double(),
    )
    second = replace(
        step,
        leader=tensor([2]),
        dropped=tensor([[True, False, False]]),
        behind=tensor([[2.0, torch.inf, 0.0]]).double(),
    )
    odds.steps, odds.alive = [first, second], tensor([[False, False, True]])
    assert odds.log_odds()[0].tolist() == [[-2.0, -7.0, 0.0]]


def test_batches_decide_nothing():
    """Kills: noise or labels by the place in a batch."""
    model, images = toy(), labelled.images(23, CLASSES)
    one, other = (race(model, images, batch_size=size).log_odds()[0] for size in (64, 5))
    torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_the_interval_and_the_losses_are_those_of_others():
    """Against scipy's Wilson interval and scikit-learn's log loss; ECE by its definition.

    Kills: the normal interval, a confidence that is not that of the class given, log2.
    """
    for hits, count in ((0, 5), (7, 9), (493, 500), (40, 40)):
        theirs = binomtest(hits, count).proportion_ci(method="wilson")
        assert wilson(hits, count) == pytest.approx((theirs.low, theirs.high), abs=1e-12)
    classification = classify(toy(), labelled.images(80, CLASSES), most=8)
    posterior = classification.posterior.numpy()
    wanted = log_loss(classification.labels.numpy(), posterior, labels=range(CLASSES))
    assert classification.log_loss == pytest.approx(wanted, rel=1e-9)
    confidence, right = (
        classification.posterior.amax(1),
        classification.classes == classification.labels,
    )
    error = 0.0
    for low in range(10):
        own = (confidence >= low / 10) & (confidence < (low + 1) / 10 + (low == 9))
        if own.any():
            error += abs(float(right[own].sum() - confidence[own].sum())) / 80
    assert classification.calibration_error == pytest.approx(error, abs=1e-12)
    assert classification.accuracy == pytest.approx(float(right.double().mean()))


def test_a_label_of_posterior_0_costs_an_infinite_log_loss():
    """Kills: a posterior of 0 taken as the least number that has a logarithm."""
    classification = classify(toy(), labelled.images(8, CLASSES), most=8)
    posterior, label = classification.posterior.clone(), int(classification.labels[0])
    posterior[0] = torch.eye(CLASSES, dtype=posterior.dtype)[(label + 1) % CLASSES]
    sure = replace(classification, posterior=posterior)
    assert sure.log_loss == math.inf
    assert "the posterior of the label is 0 in 1 of 8 images" in str(sure)
    assert sure.to_dict()["log_loss"] is None


def test_data_without_labels_are_classified_too():
    """Kills: labels that are asked for, or used."""
    model, images = toy(), labelled.images(12, CLASSES)
    bare = replace(images, labels=None)
    classification, other = (classify(model, x, most=8) for x in (bare, images))
    assert classification.labels is None
    assert (classification.accuracy, classification.calibration_error) == (None, None)
    assert torch.equal(classification.posterior, other.posterior)
    assert "no labels" in str(classification)
    wrong = with_conditions(images, (images.labels + 1) % CLASSES, None)
    assert torch.equal(classify(model, wrong, most=8).posterior, classification.posterior)


def test_the_command_says_accuracy_prior_and_cost(nelbo, class_run, tmp_path):
    """Kills: a JSON without posteriors, a prior that is not said."""
    path = tmp_path / "c.json"
    options = ("--max-images", 6, "--most", 8, "--json", path)
    code, out, _ = nelbo("classify", class_run, *options, "--prior", ",".join("1" * 9 + "3"))
    assert code == 0
    assert "% right" in out
    assert "prior over the 10 classes: 0.08333, " in out
    tree = json.loads(path.read_text())
    assert tree["schema"] == "nelbo.classification/1"
    assert tree["prior"][9] == pytest.approx(0.25)
    for row in tree["per_image"]:
        assert sum(row["posterior"]) == pytest.approx(1.0)
        assert row["class"] == max(range(10), key=row["posterior"].__getitem__)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prior": [1, 2]}, "for each of 3 classes"),
        ({"prior": [0, 0, 0]}, "not all 0"),
        ({"prior": [1, -1, 1]}, "0 or more"),
        ({"prior": "half"}, "a number for each class"),
        ({"error": 0.0}, "between 0 and 1"),
        ({"most": 3}, "at least 4"),
    ],
)
def test_what_cannot_be_is_refused(change, message):
    with pytest.raises(BadInput, match=message):
        classify(toy(), labelled.images(4, CLASSES), **change)


def test_a_model_without_classes_is_refused(run):
    with pytest.raises(BadInput, match=r"is a model of p\(x\)"):
        nelbo.classify(run, "digits:test")
