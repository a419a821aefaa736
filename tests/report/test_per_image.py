"""The per-image table: what is written is what is read, once per image, to the last bit."""

import csv
import math
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nelbo.errors import BadInput, NonFinite
from nelbo.results.per_image import COLUMNS, PerImage, check_path, read, write

torch.set_num_threads(1)

SUFFIXES = [".csv", ".parquet"]
every_suffix = pytest.mark.parametrize("suffix", SUFFIXES)
finite = st.floats(allow_nan=False, allow_infinity=False)
rows = st.lists(
    st.tuples(
        st.integers(-(2**63), 2**63 - 1),
        finite,
        st.floats(0, allow_infinity=False) | st.just(math.nan),
        finite,
        finite,
        finite,
    ),
    max_size=8,
    unique_by=lambda row: row[0],
)


def table(result, dims=3):
    columns = list(zip(*result, strict=True)) or [()] * 6
    ids, *values = columns
    return PerImage(
        torch.tensor(ids, dtype=torch.int64),
        *(torch.tensor(column, dtype=torch.float64) for column in values),
        dims,
    )


def drawn(N=50, seed=0):
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randperm(10 * N, generator=generator)[:N]
    values = torch.rand(5, N, generator=generator, dtype=torch.float64) * 100
    values[1, ::7] = math.nan
    return PerImage(ids, *values, dims=64)


def equal(a, b):
    return list(a) == list(b) and all(
        torch.equal(a[name].isnan(), b[name].isnan())
        and torch.equal(a[name].nan_to_num(0), b[name].nan_to_num(0))
        and a[name].dtype == b[name].dtype
        for name in a
    )


@every_suffix
@settings(max_examples=50, deadline=None, derandomize=True, database=None)
@given(columns=rows)
def test_reading_gives_what_was_written(tmp_path_factory, suffix, columns):
    path = tmp_path_factory.mktemp("tables") / f"a{suffix}"
    assert write(table(columns), path) == path
    assert equal(read(path), table(columns).columns())


@every_suffix
def test_rows_are_in_the_order_of_id_and_each_image_is_there_once(tmp_path, suffix):
    given_ = drawn()
    ids = read(write(given_, tmp_path / f"a{suffix}"))["id"].tolist()
    assert ids == sorted(given_.ids.tolist())
    assert len(set(ids)) == len(given_.ids)


@every_suffix
def test_the_order_of_images_in_memory_leaves_no_trace_in_the_bytes(tmp_path, suffix):
    a = drawn()
    order = torch.randperm(len(a.ids), generator=torch.Generator().manual_seed(1))
    b = PerImage(*(x[order] for x in (a.ids, a.total, a.se, a.L_T, a.L_mid, a.L_0)), a.dims)
    paths = [write(x, tmp_path / f"{number}{suffix}") for number, x in enumerate((a, b, drawn()))]
    assert len({path.read_bytes() for path in paths}) == 1
    assert paths[0].read_bytes() != write(drawn(seed=1), paths[1]).read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in paths}


def test_columns_are_nats_over_dims_log_2():
    one = PerImage(*(torch.tensor([x]) for x in (7, 6.0, 0.5, 1.0, 2.0, 3.0)), dims=4)
    bits = one.columns()
    unit = 4 * math.log(2)
    assert tuple(bits) == COLUMNS
    assert [bits[name].item() for name in COLUMNS] == [
        7,
        *(x / unit for x in (6.0, 0.5, 1.0, 2.0, 3.0)),
    ]


def test_csv_has_a_heading_repr_of_floats_and_an_empty_field_for_an_unknown_error(tmp_path):
    unit = 3 * math.log(2)
    text = write(table([(5, 0.1 * unit, math.nan, 0.0, -0.0, unit)]), tmp_path / "a.csv")
    with text.open(newline="") as file:
        heading, row = csv.reader(file)
    assert heading == ["id", "bits_per_dim", "se", "L_T", "L_mid", "L_0"]
    assert row == ["5", repr(0.1 * unit / unit), "", "0.0", "-0.0", "1.0"]
    assert b"\r" not in text.read_bytes()


def test_other_programs_read_the_parquet_file_with_its_types_and_nulls(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    result = parquet.read_table(write(drawn(), tmp_path / "a.parquet"))
    assert result.column_names == list(COLUMNS)
    assert [str(kind) for kind in result.schema.types] == ["int64"] + ["double"] * 5
    assert [field.nullable for field in result.schema] == [name == "se" for name in COLUMNS]
    assert result["se"].null_count == int(drawn().se.isnan().sum())


@pytest.mark.parametrize("name", ["a.json", "a", "a.csv.gz"])
def test_another_suffix_is_refused_and_both_are_named(tmp_path, name):
    for act in (check_path, read, lambda path: write(drawn(), path)):
        with pytest.raises(BadInput, match=r"\.csv or \.parquet"):
            act(tmp_path / name)


def test_a_path_that_cannot_be_written_is_refused_before_the_work(tmp_path):
    (tmp_path / "b.csv").mkdir()
    for path in ("missing/a.csv", "b.csv"):
        with pytest.raises(BadInput, match="folder"):
            check_path(tmp_path / path)
    check_path(tmp_path / "A.CSV")
    assert list(tmp_path.iterdir()) == [tmp_path / "b.csv"]


def test_parquet_without_pyarrow_is_refused_with_the_command_that_helps(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(BadInput, match=r"pip install 'nelbo\[parquet\]'"):
        check_path(tmp_path / "a.parquet")
    check_path(tmp_path / "a.csv")


def test_an_image_twice_or_a_column_too_short_is_refused():
    with pytest.raises(BadInput, match="repeated: 4"):
        table([(4, 1.0, 1.0, 1.0, 1.0, 1.0)] * 2)
    with pytest.raises(BadInput, match="one value per image"):
        PerImage(torch.arange(3), *torch.ones(5, 2, dtype=torch.float64), dims=1)


@pytest.mark.parametrize("column", COLUMNS[1:])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_only_an_error_may_be_unknown_and_nothing_infinite(tmp_path, column, value):
    row = [3, *(value if name == column else 1.0 for name in COLUMNS[1:])]
    if column == "se" and value != value:
        write(table([row]), tmp_path / "a.csv")
        return
    with pytest.raises(NonFinite, match=f"{column} .* images 3"):
        write(table([row]), tmp_path / "a.csv")
    assert not list(tmp_path.iterdir())


HEADING = ",".join(COLUMNS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "first line"),
        ("id,total\n", "first line"),
        (f"{HEADING}\n1,2,3,4,5\n", "line 2"),
        (f"{HEADING}\n1,1,1,1,1,1\n1.5,1,1,1,1,1\n", "line 3"),
        (f"{HEADING}\n1,,1,1,1,1\n", "line 2"),
    ],
)
def test_a_csv_file_that_is_no_such_table_is_refused(tmp_path, text, message):
    path = tmp_path / "a.csv"
    path.write_text(text)
    with pytest.raises(BadInput, match=message):
        read(path)


def test_a_parquet_file_that_is_no_such_table_is_refused(tmp_path):
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "a.parquet"
    path.write_bytes(b"id")
    with pytest.raises(BadInput, match="not a Parquet file"):
        read(path)
    parquet.write_table(arrow.table({"id": [1]}), path)
    with pytest.raises(BadInput, match="columns"):
        read(path)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(BadInput, match="cannot read"):
        read(tmp_path / "a.csv")
