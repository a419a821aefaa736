"""Tables and figures of a paper: the numbers of the results, and files that journals take."""

import csv
import io
import re

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image
from results import A, B, C, result_of

from nelbo.errors import BadInput
from nelbo.report import figures, tables
from nelbo.results.ranking import Entry
from nelbo.results.rounding import plain_number

HOSTILE = r"50%_of#a&b$x$ {~^} \frac --<c>|`d*e\n"
RATE = [
    {"t": t, "bits_per_dim": rate, "rmse": error}
    for t, rate, error in ((2, 1.5, 1.0), (100, 0.8, 3.0), (300, 0.1, 7.0))
]
STEPS = [
    {"t": t, "bits_per_dim": 0.02 / t, "se": 0.001 / t, "log_snr": 5.0 - t} for t in range(1, 9)
]


def whole(name="a", values=A, **changes):
    """A result with everything that a figure shows."""
    return result_of(name, values, rate_distortion=RATE, per_step=STEPS, **changes)


def entries(*named):
    return [Entry(entry[0].model["name"], *entry) for entry in named]


# ---- tables


def rows(markdown):
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def test_a_table_has_the_numbers_of_its_results():
    """Kills: the Monte Carlo interval shown for new images, an interval's whole width."""
    (a, _), (b, _) = (
        result_of("a", A, half_monte_carlo=0.01),
        result_of("b", B, half_monte_carlo=0.0004),
    )
    heading, _, first, second = rows(tables.markdown([a, b]))
    assert heading == [
        *("Model", "T", "bits/dim", "Monte Carlo ±", "L_T", "Σ L_(t−1)", "L_0", "Evaluations")
    ]
    for row, result, monte_carlo in ((first, a, "0.0100"), (second, b, "0.00040")):
        assert row[2] == f"{result.per_dim:.4f} ± {result.half:.4f}"
        assert row[3] == monte_carlo
        assert row[5] == f"{result.per_dim:.4f}"
        assert (row[1], row[7]) == ("1,000", "5,000")


def test_latex_and_markdown_and_csv_say_the_same():
    """Kills: a column of one of the three that is another's."""
    results = [result_of("a", A)[0], result_of("b", B)[0]]
    tex = tables.latex(results)
    body = tex.partition("\\midrule\n")[2].partition("\\bottomrule")[0].splitlines()
    plain = [
        line.removesuffix(" \\\\").replace("$", "").replace("\\pm", "±").split(" & ")
        for line in body
    ]
    assert plain == rows(tables.markdown(results))[2:]
    columns = next(line for line in tex.splitlines() if line.startswith("\\begin"))
    assert columns == "\\begin{tabular}{lrrrrrrr}"
    for read, result in zip(csv.DictReader(io.StringIO(tables.csv(results))), results, strict=True):
        assert float(read["bits_per_dim"]) == result.per_dim
        assert float(read["sampling_of_images_half_width"]) == result.half
        assert float(read["monte_carlo_half_width"]) == result.half_monte_carlo
        assert int(read["network_evaluations"]) == 5000


@pytest.mark.parametrize(
    ("value", "half", "expected"),
    [
        (1.78264, 0.02211, "1.7826"),
        (1.78264, 0.000123, "1.78264"),
        (1.78264, 0.0, "1.7826"),
        (1.78264, None, "1.7826"),
        (6.36e-05, None, "6.4e-05"),
        (0.0, None, "0.0000"),
        (-2.5, 0.1, "-2.5000"),
    ],
)
def test_a_number_has_the_digits_that_its_interval_knows(value, half, expected):
    """Kills: an L_T of 0.00006 that is printed as 0.0001, an interval of 0.0001 as 0.0001."""
    assert plain_number(value, half) == expected


def test_names_are_text_to_latex_and_to_markdown():
    """Kills: a special character that ends a table, a name that is a command."""
    (result, _) = result_of(HOSTILE, A)
    row = next(line for line in tables.latex([result]).splitlines() if line.startswith("50"))
    name = row.partition(" & ")[0]
    for macro in re.findall(r"\\text\w+\{\}", name):
        name = name.replace(macro, "")
    assert not re.search(r"(?<!\\)[%_#&${}~^|<>`]", name.replace("-{}", "-"))
    assert "-{}-" in row
    assert "\\textbackslash{}frac" in row
    (line,) = [line for line in tables.markdown([result]).splitlines() if line.startswith("| 50")]
    assert len(re.findall(r"(?<!\\)\|", line)) == 9


def test_what_a_reader_has_to_know_stands_under_the_table():
    """Kills: a conditional bound or a warned one beside plain ones, without a word."""
    (plain, _) = result_of("a", A)
    (classes, _) = result_of("b", B, model__likelihood="p(x | class)", warnings=["L_T is large"])
    for text in (tables.latex([plain, classes]), tables.markdown([plain, classes])):
        assert "b (of p(x " in text
        assert "a (" not in text
        assert "Warning, b: L\\_T is large" in text or "Warning, b: L_T is large" in text
        assert "40 examples of digits:test" in text
    (limit, _) = result_of("c", C, model__time="continuous")
    assert rows(tables.markdown([limit]))[2][1] == "∞"
    assert "an integral" in tables.markdown([limit])


def test_a_table_says_which_figures_are_bounds_and_of_what():
    """Kills: an exact likelihood, or a bound on that of a class, called a bound on -log p(x)."""
    (plain, _) = result_of("a", A)
    (classes, _) = result_of("b", B, model__likelihood="p(x | class)")
    (exact, _) = result_of("c", C, model__order={"name": "dispersed", "calls": 16})
    for results, says in (
        ([plain], "\nUpper bounds on −log₂ p(x), per dimension"),
        ([exact], "\nExact −log₂ p(x) in the order dispersed, per dimension"),
        ([plain, exact], "a: upper bounds on −log₂ p(x); c: exact −log₂ p(x) in the order"),
    ):
        assert says in tables.markdown(results)
    assert re.search(r"Upper bounds on −log₂ p\(x .* class\), per dim", tables.markdown([classes]))


def test_data_are_a_column_where_they_differ():
    two = [result_of("a", A)[0], result_of("b", B, data__sha256="e", data__name="other")[0]]
    assert "Data" in rows(tables.markdown(two))[0]
    assert "Data" not in rows(tables.markdown(two[:1]))[0]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (["model", "bounds"], "did you mean bound"),
        (["model", "model"], "each named once"),
        ([], "one or more"),
    ],
)
def test_columns_that_are_none_are_refused(columns, message):
    with pytest.raises(BadInput, match=message):
        tables.latex([result_of("a", A)[0]], columns)


def test_every_column_is_of_every_kind():
    (result, _) = result_of(
        "a", A, model__decoder="levels", model__V_1=0.25, model__variance="small"
    )
    text = tables.latex([result], list(tables.COLUMNS))
    assert " & ".join(["levels", "small", "0.25"]) in text
    assert len(rows(tables.markdown([result], list(tables.COLUMNS)))[2]) == len(tables.COLUMNS)
    assert tables.csv([result]).splitlines()[0].endswith(",V_1,nelbo")


def test_two_units_are_no_one_table_and_no_one_axis():
    (a, images) = result_of("a", A)
    tree = {**a.tree, "bits_per_dim": None, "nats_per_dim": 1.0, "unit": "nats/dim, density of x"}
    terms = {name: {"nats_per_dim": 1.0, "se": 0.0} for name in ("L_T", "L_mid", "L_0")}
    from nelbo.results.evaluation import Evaluation

    density = Evaluation.from_dict({**tree, "terms": terms})
    with pytest.raises(BadInput, match="make two"):
        tables.markdown([a, density])
    with pytest.raises(BadInput, match="two figures"):
        figures.figure("histogram", [Entry("a", a, images), Entry("b", density, images)])
    assert "a density of x" in tables.markdown([density])
    assert rows(tables.markdown([density]))[0][2] == "nats/dim"


# ---- figures


TWO = (whole(), whole("b", B))


@pytest.mark.parametrize("kind", ["steps", "rate", "distortion", "histogram", "difference"])
def test_a_figure_is_a_file_of_its_width_without_a_title(kind):
    """Kills: bitmap or Type 3 fonts, a date in the file, a title that is baked in, another size."""
    made = figures.figure(kind, entries(*TWO), figures.inches("8.5cm"))
    (axes,) = made.axes
    assert axes.get_title(loc="left") + axes.get_title() == ""
    assert axes.get_xlabel()
    assert axes.get_ylabel()
    pdf = figures.file(made, ".pdf")
    assert pdf == figures.file(figures.figure(kind, entries(*TWO), 8.5 / 2.54), ".pdf")
    box = re.search(rb"/MediaBox \[ ([^]]+) \]", pdf)[1].split()
    assert float(box[2]) == pytest.approx(8.5 / 2.54 * 72, abs=0.01)
    assert b"/Subtype /Type3" not in pdf
    assert b"/FontFile2" in pdf
    assert b"/Subtype /Image" not in pdf
    assert b"Date" not in pdf
    picture = Image.open(io.BytesIO(figures.file(made, ".png")))
    assert picture.width == pytest.approx(8.5 / 2.54 * 300, abs=1)
    svg = figures.file(made, ".svg").decode()
    assert "<text" not in svg
    assert "<image" not in svg


def test_several_results_have_a_legend_and_one_has_none():
    """Kills: two curves that nobody tells apart."""
    alone = figures.figure("rate", entries(whole()))
    assert alone.axes[0].get_legend() is None
    for kind in ("steps", "rate", "distortion", "histogram"):
        legend = figures.figure(kind, entries(*TWO)).axes[0].get_legend()
        assert [text.get_text() for text in legend.get_texts()] == ["a", "b"]


def test_the_lines_are_those_of_the_results():
    """Kills: rate and distortion, or two results, interchanged."""
    (axes,) = figures.figure("distortion", entries(whole())).axes
    (line,) = axes.lines
    wanted = [[1.5, 1.0], [0.8, 3.0], [0.1, 7.0]]
    assert line.get_xydata() == pytest.approx(np.array(wanted), rel=1e-14)
    (axes,) = figures.figure("difference", entries(*TWO)).axes
    zero, mean = axes.lines
    assert zero.get_xdata()[0] == 0
    assert mean.get_xdata()[0] == pytest.approx(A.mean() - B.mean(), rel=1e-12)
    (bars,) = axes.patches
    assert bars.get_data().values.sum() == len(A)
    (axes,) = figures.figure("histogram", entries(*TWO)).axes
    assert [bars.get_data().values.sum() for bars in axes.patches] == [len(A), len(B)]
    means = [line.get_xdata()[0] for line in axes.lines]
    assert means == pytest.approx([A.mean(), B.mean()], rel=1e-12)


def test_a_name_is_no_formula():
    """Kills: matplotlib that stops at two dollars and a command it does not know."""
    pair = [Entry(r"$\nothing$", *TWO[0]), Entry("x\n\x1b", *TWO[1])]
    for kind in ("rate", "histogram", "difference"):
        figures.file(figures.figure(kind, pair), ".png")
        axes = Figure().subplots()
        figures.draw(axes, kind, pair)
        axes.figure.canvas.draw()


def log(values, **entry):
    return [{"step": 10 * n, "loss": x, "unit": "bits/dim"} | entry for n, x in enumerate(values)]


def test_a_training_is_its_held_out_bound_where_every_log_has_one():
    """Kills: a loss beside a bound."""
    plain, held = log([3.0, 2.0, 1.5]), log([3.0, 2.0], held_out=1.7, ci95_half=0.1)
    (axes,) = figures.training({"a": plain, "b": held}).axes
    assert axes.get_ylabel() == "loss, bits/dim"
    assert [line.get_ydata().tolist() for line in axes.lines] == [[3.0, 2.0, 1.5], [3.0, 2.0]]
    (axes,) = figures.training({"b": held}).axes
    assert axes.get_ylabel() == "held-out bound, bits/dim"
    with pytest.raises(BadInput, match="no log of a training"):
        figures.training({"a": plain, "none": []})
    with pytest.raises(BadInput, match="on no one axis"):
        figures.training({"a": plain, "b": log([1.0], unit="nats/dim")})


@pytest.mark.parametrize(
    ("kind", "named", "message"),
    [
        ("rate", [result_of("a", A)], "nothing to draw as rate"),
        ("histogram", [(TWO[0][0], None)], "no table of single images"),
        ("difference", [TWO[0]], "of two results"),
        ("difference", [TWO[0], whole("b", B, data__sha256="e")], "different images"),
        ("pie", [TWO[0]], "a figure is one of"),
    ],
)
def test_what_cannot_be_drawn_is_refused(kind, named, message):
    with pytest.raises(BadInput, match=message):
        figures.figure(kind, entries(*named))


@pytest.mark.parametrize("width", ["8.5", "cm", "0.5in", "3m", "-3cm", "1000cm", "nan cm", "1e3cm"])
def test_a_width_has_a_unit(width):
    with pytest.raises(BadInput, match="cm"):
        figures.inches(width)


def test_a_width_in_three_units_is_one():
    assert figures.inches("85mm") == pytest.approx(figures.inches("8.5 cm"), rel=1e-12)
    assert figures.inches("1in") == 1.0


# ---- the command


@pytest.fixture(scope="module")
def measured(run, tmp_path_factory):
    """Two results with their tables, and a run with its own."""
    from nelbo import evaluate, load
    from nelbo.data import load as data
    from nelbo.results import per_image

    folder = tmp_path_factory.mktemp("measured")
    images = data("digits:test").first(24)
    for name, weights in (("a", "ema"), ("b", "raw")):
        result = evaluate(load(run, weights=weights), images, budget=600, distortion=True)
        (folder / f"{name}.json").write_text(result.to_json())
        per_image.write(result.per_image, folder / f"{name}.csv")
    return folder


def test_report_writes_what_the_suffix_names(nelbo, run, measured, tmp_path):
    """Kills: a page in a .tex, a file of the other kind that is replaced."""
    two = (measured / "a.json", measured / "b.json")
    kinds = {"t.tex": b"% Made by nelbo", "t.md": b"<!-- Made", "t.csv": b"model,"}
    kinds |= {"f.pdf": b"%PDF", "f.svg": b"<?xml", "f.png": b"\x89PNG", "p.html": b"<!doctype"}
    for name, start in kinds.items():
        for _ in range(2):  # an earlier one is replaced
            code, out, err = nelbo("report", *two, "-o", tmp_path / name)
            assert (code, out.split()) == (0, [str(tmp_path / name)]), err
            assert (tmp_path / name).read_bytes()[: len(start)].lower() == start.lower()
    code, _, err = nelbo("report", *two, "-o", measured / "a.csv")
    assert (code, "left as it is" in err) == (2, True), err
    options = ("--figure", "training", "--width", "85mm")
    code, _, err = nelbo("report", run, "-o", tmp_path / "training.pdf", *options)
    assert code == 0, err
    columns = ("--columns", "model, bound")
    assert nelbo("report", *two, "-o", tmp_path / "t.md", *columns)[0] == 0
    heading, _, first, second = rows((tmp_path / "t.md").read_text())
    assert heading == ["Model", "bits/dim"]
    assert (first[0], second[0]) == ("digits, ema weights", "digits, raw weights")


@pytest.mark.parametrize(
    "options",
    [
        ("-o", "x.html", "--columns", "model"),
        ("-o", "x.pdf", "--columns", "model"),
        ("-o", "x.tex", "--figure", "rate"),
        ("-o", "x.html", "--width", "8cm"),
        ("-o", "x.tex", "--samples", "3"),
        ("-o", "x.tex", "--per-image", "a.csv"),
        (
            "-o",
            "x.eps",
        ),
        ("-o", "x.pdf", "--width", "8"),
        ("-o", "x.tex", "--columns", "nothing"),
    ],
)
def test_an_option_of_another_kind_of_file_is_refused(
    nelbo, measured, tmp_path, options, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    code, out, err = nelbo("report", measured / "a.json", *options)
    assert (code, out, len(err.splitlines())) == (2, "", 1), err
    assert list(tmp_path.iterdir()) == []
