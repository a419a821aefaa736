"""The pictures of an evaluation: what is drawn is what was given, and equal input equal bytes."""

import math
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import matplotlib
import numpy as np
import pytest
from PIL import Image
from scipy.stats import norm

from nelbo.errors import BadInput, NonFinite
from nelbo.report.plots import (
    BitsPerImage,
    BitsPerStep,
    Plots,
    Rate,
    RateDistortion,
    RunningEstimate,
    bits_per_step,
    cumulative_rate,
    per_image_histogram,
    rate_distortion,
    running_estimate,
    write_plots,
)

SVG = "{http://www.w3.org/2000/svg}"
Z = norm.ppf(0.975)


def steps(T, seed=0, same_images=False, noise=0.1):
    generator = np.random.default_rng(seed)
    true = 0.02 * np.exp(-np.arange(T) / 150)
    se = noise * true * generator.uniform(0.5, 1.5, T)
    return BitsPerStep(
        range(1, T + 1),
        (true + se * generator.standard_normal(T)).tolist(),
        se.tolist(),
        same_images,
    )


def plots(seed=0):
    generator = np.random.default_rng(seed)
    bits = generator.normal(1.8, 0.3, 200)
    return Plots(
        steps(300, seed),
        Rate([2, 100, 300], [1.5, 0.8, 0.1], 1.8),
        RateDistortion([0.1, 0.8, 1.5], [60.0, 12.5, 1.0], 256),
        BitsPerImage(bits.tolist(), [0.1] * 199 + [None], float(bits.mean()), 0.02),
        RunningEstimate([100, 200, 400], [1.9, 1.7, 1.8], [None, 0.2, 0.1]),
    )


def curves(figure):
    """x, y of everything drawn with a marker, in the order of x."""
    (axes,) = figure.axes
    lines = [line for line in axes.lines if line.get_marker() not in ("None", None)]
    return np.sort(np.hstack([np.asarray(line.get_data()) for line in lines]), axis=1)[
        0
    ], np.hstack([line.get_ydata() for line in lines])


def band(figure):
    """{x: (lower, upper)} of the filled bands and the bars."""
    (axes,) = figure.axes
    corners = [
        corner
        for drawn in axes.collections
        for path in drawn.get_paths()
        for corner in path.vertices
    ]
    sides = {}
    for x, y in corners:
        low, high = sides.get(x, (math.inf, -math.inf))
        sides[x] = (min(low, y), max(high, y))
    return sides


def texts(figure):
    (axes,) = figure.axes
    caption = figure.get_supxlabel()
    return " ".join([caption, axes.get_title("left"), *(text.get_text() for text in axes.texts)])


def test_each_step_is_drawn_with_its_interval_where_there_are_few():
    given = steps(40)
    figure = bits_per_step(given)
    x, y = curves(figure)
    assert x.tolist() == list(given.t)
    assert y.tolist() == given.bits
    drawn = band(figure)
    assert figure.axes[0].get_yscale() == "log"
    for t, bits, se in zip(given.t, given.bits, given.se, strict=True):
        assert drawn[t] == pytest.approx((bits - Z * se, bits + Z * se), rel=1e-12)


@pytest.mark.parametrize("over", ["t", "log t"])
@pytest.mark.parametrize("T", [61, 1000])
def test_many_steps_become_at_most_60_means_that_keep_every_bit(T, over):
    given = steps(T)
    figure = bits_per_step(given, over=over)
    x, y = curves(figure)
    assert len(x) <= 60
    assert x[0] == 1
    assert y[0] == given.bits[0]
    counts = widths(x)
    assert counts.sum() == T
    assert counts @ y == pytest.approx(sum(given.bits), rel=1e-12)
    assert f"up to {counts.max()} neighbouring t" in texts(figure)
    assert figure.axes[0].get_xscale() == ("log" if over == "log t" else "linear")


def widths(centres):
    """How many whole t each group has, from the means of groups of successive t from 1."""
    counts, start = [], 1
    for centre in centres:
        counts.append(round(2 * (centre - start)) + 1)
        start += counts[-1]
    return np.array(counts)


def test_errors_of_a_group_add_as_squares_or_as_they_are():
    for same_images in (False, True):
        given = steps(590, same_images=same_images)
        figure = bits_per_step(given)
        x, y = curves(figure)
        drawn, start = band(figure), 0
        for centre, count, bits in zip(x, widths(x), y, strict=True):
            se = np.array(given.se[start : start + count])
            start += count
            error = se.mean() if same_images else np.sqrt((se**2).sum()) / count
            assert drawn[centre][1] == pytest.approx(bits + Z * error, rel=1e-9)


def test_where_errors_are_unknown_the_scatter_of_neighbours_covers_the_truth():
    """Flat terms of one draw each: 95 % of the groups' intervals hold the truth, near enough."""
    T, held, groups = 1000, 0, 0
    for seed in range(10):
        noise = np.random.default_rng(seed).standard_normal(T)
        figure = bits_per_step(BitsPerStep(range(1, T + 1), 10 + noise, [None] * T, False))
        intervals = np.array(list(band(figure).values()))
        held += ((intervals[:, 0] < 10) & (intervals[:, 1] > 10)).sum()
        groups += len(intervals)
    assert groups == 10 * 59
    assert 0.91 < held / groups < 0.96


def test_unknown_errors_of_the_same_images_leave_no_band():
    figure = bits_per_step(BitsPerStep(range(1, 201), np.ones(200), [None] * 200, True))
    assert not band(figure)
    assert "95 %" not in texts(figure)


def test_points_at_or_below_zero_are_counted_in_the_caption():
    figure = bits_per_step(BitsPerStep([2, 3, 4], [0.1, -0.1, 0.0], [0.1, 0.1, 0.1], False))
    assert "not shown: 2 of 3 points" in texts(figure)
    assert figure.axes[0].get_ylim()[0] > 0
    level = bits_per_step(BitsPerStep([2, 3], [-0.1, 0.0], [None, None], False))
    assert level.axes[0].get_yscale() == "linear"
    assert "not shown" not in texts(level)


def test_over_log_snr_a_large_first_term_leaves_the_others_room():
    """Kills: an axis up to L_0, on which every other step lies on the line."""
    log_snr = np.linspace(9, -9, 50).tolist()
    given = BitsPerStep(list(range(1, 51)), [50.0] + [0.01] * 49, [0.1] * 50, True, log_snr)
    figure = bits_per_step(given, over="log SNR")
    assert figure.axes[0].get_ylim()[1] < 0.5
    assert "L₀ is above the axis: 50." in figure.get_supxlabel()


def test_over_log_snr_every_bit_is_kept_and_what_is_infinite_left_out():
    """Kills: groups of the t of another axis, a column that is not thinned with the others."""
    given = steps(200)
    log_snr = (9 - 18 * np.arange(200) / 199).tolist()
    points = replace(given, log_snr=[None, *log_snr[1:-1], None]).grouped("log SNR")
    assert points.count.sum() == 198
    assert points.count @ points.bits == pytest.approx(sum(given.bits[1:-1]), rel=1e-12)
    assert (points.first[0], points.last[-1]) == (2, 199)
    assert (points.last - points.first + 1 == points.count).all()
    for x, first, last in zip(points.x, points.first, points.last, strict=True):
        assert x == pytest.approx(np.mean(log_snr[first - 1 : last]), rel=1e-12)
    figure = bits_per_step(replace(given, log_snr=log_snr), over="log SNR")
    left, right = figure.axes[0].get_xlim()
    assert left > 9 > -9 > right
    with pytest.raises(BadInput, match="no log SNR"):
        given.grouped("log SNR")


def test_the_rate_is_drawn_as_given_below_the_whole_bound():
    figure = cumulative_rate(plots().rate)
    x, y = curves(figure)
    assert (x.tolist(), y.tolist()) == (plots().rate.t, plots().rate.rate)
    assert "1.8000" in texts(figure)


def test_rate_and_distortion_are_drawn_as_given():
    given = plots().rate_distortion
    figure = rate_distortion(given)
    x, y = curves(figure)
    assert (x.tolist(), y.tolist()) == (given.rate, given.rmse)
    assert "0 to 255" in figure.axes[0].get_ylabel()


def test_the_histogram_counts_every_image_once_and_marks_the_mean():
    given = plots().per_image_histogram
    figure = per_image_histogram(given)
    (axes,) = figure.axes
    bars = [bar for bar in axes.patches if bar.get_y() == 0 and bar.get_facecolor()[3] == 1]
    edges = [bar.get_x() for bar in bars] + [bars[-1].get_x() + bars[-1].get_width()]
    counts, _ = np.histogram(given.bits, edges)
    assert sum(bar.get_height() for bar in bars) == len(given.bits)
    assert [bar.get_height() for bar in bars] == counts.tolist()
    assert axes.lines[0].get_xdata()[0] == given.mean
    span = axes.patches[-1]
    assert (span.get_x(), span.get_width()) == pytest.approx((given.mean - 0.02, 0.04))
    assert f"{given.mean:.4f} ± 0.02" in texts(figure)
    assert "standard error is 0.1 bits/dim" in texts(figure)


def test_the_histogram_says_so_where_errors_are_unknown():
    figure = per_image_histogram(BitsPerImage([1.0], [math.nan], 1.0, None))
    assert "± unknown" in texts(figure)
    assert "standard error" not in texts(figure)


def test_every_look_is_drawn_on_a_log_axis_with_its_band():
    given = plots().running_estimate
    figure = running_estimate(given)
    x, y = curves(figure)
    assert (x.tolist(), y.tolist()) == (given.evaluations, given.bits)
    drawn = band(figure)
    assert set(drawn) == {200, 400}
    assert drawn[400] == pytest.approx((1.7, 1.9))
    assert figure.axes[0].get_xscale() == "log"
    assert "1.8000 ± 0.1 for 400 evaluations" in texts(figure)


def test_a_first_look_that_knows_nothing_does_not_flatten_the_others():
    figure = running_estimate(RunningEstimate([10, 20, 30], [1.0, 1.1, 1.2], [1e3, 0.1, 0.1]))
    low, high = figure.axes[0].get_ylim()
    assert low < 1.0
    assert 1.3 < high < 2
    assert band(figure)[10] == (-999.0, 1001.0)


FILES = [
    f"{name}.{kind}"
    for name in (
        "bits_per_step",
        "cumulative_rate",
        "rate_distortion",
        "per_image_histogram",
        "running_estimate",
    )
    for kind in ("png", "svg")
]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The files of `plots()`, in a folder that was not there."""
    return write_plots(plots(), tmp_path_factory.mktemp("plots") / "new" / "folder")


def test_equal_plots_are_equal_bytes_whatever_the_users_style(written, tmp_path):
    with matplotlib.rc_context({"font.size": 20, "axes.facecolor": "black", "svg.hashsalt": "x"}):
        before = dict(matplotlib.rcParams)
        again = write_plots(plots(), tmp_path)
        assert dict(matplotlib.rcParams) == before
    assert [path.name for path in written] == FILES == [path.name for path in again]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(FILES)
    for a, b in zip(written, again, strict=True):
        assert a.read_bytes() == b.read_bytes(), a.name
    other = write_plots(Plots(running_estimate=RunningEstimate([1], [1.0], [None])), tmp_path)
    assert other == again[-2:]
    assert all(a.read_bytes() != b.read_bytes() for a, b in zip(other, written[-2:], strict=True))


def test_files_open_and_carry_alternative_text_but_no_date(written):
    for path in written:
        if path.suffix == ".png":
            with Image.open(path) as picture:
                assert picture.size == (960, 600)
                assert picture.convert("L").getpixel((0, 0)) == 255
                title = picture.text["Title"]
        else:
            title = ElementTree.parse(path).getroot().find(f"{SVG}title").text
            assert "<dc:date>" not in path.read_text()
        assert title.endswith(".")
        assert any(digit in title for digit in "123456789")


def test_what_is_not_there_is_not_plotted(tmp_path):
    assert write_plots(Plots(), tmp_path) == []
    given = Plots(rate_distortion=plots().rate_distortion)
    assert [path.name for path in write_plots(given, tmp_path)] == FILES[4:6]
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(
    "figure",
    [
        lambda: bits_per_step(BitsPerStep([1], [0.5], [None], True)),
        lambda: bits_per_step(BitsPerStep([7], [0.5], [0.1], True), over="log t"),
        lambda: rate_distortion(RateDistortion([0.0], [0.0], 2)),
        lambda: per_image_histogram(BitsPerImage([1.0], [None], 1.0, None)),
        lambda: running_estimate(RunningEstimate([1], [1.0], [None])),
    ],
)
def test_one_point_can_be_plotted(figure):
    drawn = figure()
    drawn.draw_without_rendering()
    assert drawn.axes[0].get_window_extent().width > 0.7 * drawn.bbox.width


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "a").write_text("")
    with pytest.raises(BadInput, match="cannot make the folder"):
        write_plots(plots(), tmp_path / "a")


@pytest.mark.parametrize(
    ("make", "arguments"),
    [
        (BitsPerStep, ([], [], [], False)),
        (BitsPerStep, ([1, 2], [1.0], [None, None], False)),
        (BitsPerStep, ([2, 1], [1.0, 1.0], [None, None], False)),
        (BitsPerStep, ([0, 1], [1.0, 1.0], [None, None], False)),
        (BitsPerStep, ([1], [1.0], [None], False, [])),
        (Rate, ([], [], 1.0)),
        (Rate, ([2, 1], [1.0, 1.0], 1.0)),
        (RateDistortion, ([], [], 256)),
        (RateDistortion, ([1.0], [1.0], 1)),
        (BitsPerImage, ([], [], 1.0, None)),
        (RunningEstimate, ([], [], [])),
        (RunningEstimate, ([5, 5], [1.0, 1.0], [None, None])),
    ],
)
def test_nothing_is_made_of_empty_or_ragged_input(make, arguments):
    with pytest.raises(BadInput):
        make(*arguments)


@pytest.mark.parametrize(
    ("make", "arguments"),
    [
        (BitsPerStep, ([1], [math.nan], [None], False)),
        (BitsPerStep, ([1], [1.0], [math.inf], False)),
        (Rate, ([1], [math.nan], 1.0)),
        (Rate, ([1], [1.0], math.inf)),
        (RateDistortion, ([1.0], [math.nan], 256)),
        (BitsPerImage, ([math.inf], [None], 1.0, None)),
        (BitsPerImage, ([1.0], [None], math.nan, None)),
        (BitsPerImage, ([1.0], [None], 1.0, math.inf)),
        (RunningEstimate, ([5], [math.nan], [None])),
    ],
)
def test_nothing_is_made_of_values_that_are_not_finite(make, arguments):
    with pytest.raises(NonFinite):
        make(*arguments)
