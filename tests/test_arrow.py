"""Images of Arrow files: those of the same numbers as .npy, wherever their rows lie."""

import io
import json
import random
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

import nelbo
from conftest import small_recipe
from nelbo import checkpoint
from nelbo.data import arrays, has_splits, load, load_for
from nelbo.data.arrow_files import Batch, File
from nelbo.data.rows import Part, Rows
from nelbo.errors import BadInput
from nelbo.types import Grid, Reals
from test_data import refuses

pa = pytest.importorskip("pyarrow")

DRAW = np.random.default_rng(0)
LEVELS = DRAW.integers(0, 256, (7, 5, 4, 3), dtype=np.uint8)
LABELS = [3, 1, 4, 1, 5, 9, 2]
FORMATS = ("new_file", "new_stream")


def fixed(array):
    """Nested lists of fixed size."""
    result = pa.array(array.reshape(-1))
    for size in array.shape[:0:-1]:
        result = pa.FixedSizeListArray.from_arrays(result, size)
    return result


def lists(array, large=False):
    """Nested lists, as Array2D and Array3D of datasets store them."""
    of, kind = (pa.LargeListArray, pa.int64()) if large else (pa.ListArray, pa.int32())
    result, count = pa.array(array.reshape(-1)), array.size
    for size in array.shape[:0:-1]:
        count //= size
        result = of.from_arrays(pa.array(np.arange(count + 1) * size, kind), result)
    return result


class Array3D(pa.ExtensionType):
    """As datasets has it; registered where datasets is imported."""

    def __init__(self):
        inner = pa.list_(pa.list_(pa.list_(pa.uint8())))
        super().__init__(inner, "datasets.features.features.Array3DExtensionType")

    def __arrow_ext_serialize__(self):
        return b'[[5, 4, 3], "uint8"]'

    @classmethod
    def __arrow_ext_deserialize__(cls, storage_type, serialized):
        return cls()


def extended(array):
    return pa.ExtensionArray.from_storage(Array3D(), lists(array))


def png(row, form="PNG"):
    buffer = io.BytesIO()
    Image.fromarray(row).save(buffer, form)
    return buffer.getvalue()


def pictures(array, form="PNG"):
    """A struct of bytes and a path, as Image of datasets stores it."""
    rows = [{"bytes": png(row, form), "path": None} for row in array]
    return pa.array(rows, pa.struct({"bytes": pa.binary(), "path": pa.string()}))


KINDS = {
    "fixed": fixed,
    "lists": lists,
    "large lists": lambda array: lists(array, large=True),
    "a list in fixed ones": lambda array: pa.FixedSizeListArray.from_arrays(
        lists(array.reshape(-1, *array.shape[2:])), array.shape[1]
    ),
    "tensors": pa.FixedShapeTensorArray.from_numpy_ndarray,
    "Array3D": extended,
    "pictures": pictures,
    "bytes": lambda array: pictures(array).field("bytes"),
}


def written(path, columns, form="new_stream", cuts=(0, 3, 6), **options):
    """A file of these columns, whose batches begin at the cuts."""
    whole = pa.record_batch(columns)
    options = pa.ipc.IpcWriteOptions(**options)
    with getattr(pa.ipc, form)(str(path), whole.schema, options=options) as out:
        for start, stop in zip(cuts, (*cuts[1:], len(whole)), strict=True):
            out.write_batch(whole.slice(start, stop - start))
    return path


@pytest.fixture
def same(tmp_path):
    """The same images as a .npy file."""
    np.save(tmp_path / "same.npy", LEVELS)
    return load(tmp_path / "same.npy")


@pytest.mark.parametrize("large", [1, 2**28])
@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_column_is_the_images_that_the_array_would_be(
    kind, form, large, same, tmp_path, monkeypatch
):
    """Law: levels, digest, subsets and labels are those of the .npy file, mapped or not.

    Kills: batches in another order, a row of its neighbour's batch, offsets of the first batch.
    """
    monkeypatch.setattr(arrays, "LARGE", large)
    monkeypatch.setattr("nelbo.data.images.BLOCK", 2)
    columns = {"name": list("abcdefg"), "image": KINDS[kind](LEVELS), "label": LABELS}
    read = load(written(tmp_path / "a.arrow", columns, form), labels=True)
    assert read.mapped == (large == 1 and kind not in ("pictures", "bytes"))
    assert torch.equal(read.levels, same.levels)
    assert read.sha256 == same.sha256
    assert read.labels.tolist() == LABELS
    some = read.subset([5, 0, 3])
    assert torch.equal(some.levels, same.subset([5, 0, 3]).levels)
    assert (some.sha256, some.labels.tolist()) == (same.subset([5, 0, 3]).sha256, [9, 3, 1])
    assert read.first(4).sha256 == same.first(4).sha256


@pytest.mark.parametrize("cuts", [(0,), (0, 1, 2)])
def test_axes_are_those_of_the_array(cuts, tmp_path, monkeypatch):
    """Kills: channels last taken as first in a batch, a shape of one batch for that of all."""
    monkeypatch.setattr(arrays, "LARGE", 1)
    for array in (LEVELS, LEVELS.transpose(0, 3, 1, 2), LEVELS[..., 0], LEVELS[..., :1]):
        array = np.ascontiguousarray(array)
        np.save(tmp_path / "a.npy", array)
        path = written(tmp_path / "a.arrow", {"x": fixed(array)}, cuts=cuts)
        assert load(path).sha256 == load(tmp_path / "a.npy").sha256


def test_an_extension_is_what_it_extends_and_a_permuted_tensor_is_refused(tmp_path):
    """Kills: axes as they lie for those that are meant; an extension that is not looked into."""
    storage = pa.FixedSizeListArray.from_arrays(pa.array(LEVELS.reshape(-1)), 60)
    for axes in ([2, 0, 1], [0, 1, 2]):
        kind = pa.fixed_shape_tensor(pa.uint8(), (5, 4, 3), permutation=axes)
        array = pa.ExtensionArray.from_storage(kind, storage)
        written(tmp_path / f"{axes[0]}.arrow", {"x": array})
    with refuses("2.arrow", "axes are permuted, [2, 0, 1]"):
        load(tmp_path / "2.arrow")
    read = load(tmp_path / "0.arrow")
    assert np.array_equal(read.levels.numpy(), LEVELS.transpose(0, 3, 1, 2))
    pa.register_extension_type(Array3D())
    try:
        read = load(written(tmp_path / "b.arrow", {"x": extended(LEVELS)}))
    finally:
        pa.unregister_extension_type("datasets.features.features.Array3DExtensionType")
    assert np.array_equal(read.levels.numpy(), LEVELS.transpose(0, 3, 1, 2))


class Halves(torch.nn.Module):
    def forward(self, x, t):
        return 0.5 * x


@pytest.mark.parametrize("kind", ["fixed", "lists"])
def test_a_bound_is_that_of_the_array(kind, same, tmp_path, monkeypatch):
    """Law: the same figure, image by image. Kills: rows of other images in a batch of them."""
    monkeypatch.setattr(arrays, "LARGE", 1)
    path = written(tmp_path / "a.arrow", {"x": KINDS[kind](LEVELS)})
    model = nelbo.wrap(
        Halves(),
        time_input="t",
        shape=(3, 5, 4),
        levels=256,
        schedule={"name": "linear", "T": 20},
        predicts="eps",
        variance="small",
    )
    results = [nelbo.evaluate(model, x, budget=400) for x in (same, load(path))]
    assert results[0].per_image.total.tolist() == results[1].per_image.total.tolist()
    assert results[0].data["sha256"] == results[1].data["sha256"]
    x_0 = [model.x_0(x.levels, torch.float64) for x in (same, load(path))]
    assert torch.equal(*x_0)


def test_floats_and_wide_integers_are_those_of_the_array(tmp_path):
    """Kills: a declared grid or number of levels that is passed over, floats rounded."""
    grid = Grid(256, -1.0, 1.0)
    floats = (LEVELS / 127.5 - 1).astype(np.float32)
    wide = LEVELS.astype(np.int32) * 3
    bits = LEVELS[..., :1] > 100
    for name, array, given in (
        ("floats", floats, {"grid": grid}),
        ("wide", wide, {"levels": 766}),
        ("bits", bits, {}),
        ("few", LEVELS // 16, {"levels": 16}),
    ):
        for kind in (fixed, lists):
            np.save(tmp_path / f"{name}.npy", array)
            read = load(written(tmp_path / f"{name}.arrow", {"x": kind(array)}), **given)
            as_array = load(tmp_path / f"{name}.npy", **given)
            assert read.sha256 == as_array.sha256
            assert torch.equal(read.levels, as_array.levels)
    with refuses("wide.arrow", "int32", "--levels"):
        load(tmp_path / "wide.arrow")
    floats[3, 1, 2, 0] = np.nan
    written(tmp_path / "nan.arrow", {"x": fixed(floats)})
    with refuses("nan.arrow", "value nan at index (3, 1, 2, 0)"):
        load(tmp_path / "nan.arrow", grid=grid)
    with refuses("nan.arrow, image 3", "is not finite"):
        load_for(Reals(), tmp_path / "nan.arrow")


def test_real_numbers_are_the_points_of_the_array(tmp_path):
    """Kills: points of integers, a split that is lost, half precision cut."""
    points = DRAW.standard_normal((7, 4)).astype(np.float16)
    np.save(tmp_path / "a.npy", points)
    (tmp_path / "set" / "test").mkdir(parents=True)
    written(tmp_path / "set" / "test" / "a.arrow", {"x": fixed(points)})
    written(tmp_path / "a.arrow", {"x": lists(points)})
    wanted = load_for(Reals(), tmp_path / "a.npy")
    for spec in ("a.arrow", "set/test", "set:test", "set:test"):
        read = load_for(Reals(), f"{tmp_path}/{spec}")
        assert read.sha256 == wanted.sha256
        assert torch.equal(read.numbers, wanted.numbers)
    assert read.split == "test"
    assert read.name == "set"
    whole = load_for(Reals(), written(tmp_path / "b.arrow", {"x": fixed(LEVELS)}))
    assert isinstance(whole, nelbo.data.Images)
    with refuses("has no split train"):
        load_for(Reals(), tmp_path / "a.arrow", split="train")


def test_pictures_are_those_of_a_folder(tmp_path):
    """Law: levels, digest and decoder are those of the same files in a folder.

    Kills: a lossy picture that nobody is warned of, one whose end is missing.
    """
    (tmp_path / "folder").mkdir()
    for i, row in enumerate(LEVELS):
        (tmp_path / "folder" / f"{i}.jpg").write_bytes(png(row, "JPEG"))
    read = load(written(tmp_path / "a.arrow", {"image": pictures(LEVELS, "JPEG")}))
    folder = load(tmp_path / "folder")
    assert read.sha256 == folder.sha256
    assert read.origin == folder.origin
    assert "JPEG" in read.origin["decoded"]
    rows = [png(row, "JPEG") for row in LEVELS]
    rows[4] = rows[4][:-30] + b"\xff\xd9"
    written(tmp_path / "b.arrow", {"image": pa.array(rows, pa.binary())})
    with refuses("b.arrow, row 4", "damaged"):
        load(tmp_path / "b.arrow")
    rows[4] = png(LEVELS[4, :3])
    written(tmp_path / "c.arrow", {"image": pa.array(rows, pa.binary())})
    with refuses("c.arrow, row 0: 4 x 5 pixels", "c.arrow, row 4: 4 x 3 pixels"):
        load(tmp_path / "c.arrow")


def saved(folder, parts, names=None):
    """A set as datasets saves it: its state lists its files in the order of their rows."""
    folder.mkdir(parents=True)
    names = names or [f"data-{i:05}-of-{len(parts):05}.arrow" for i in range(len(parts))]
    for name, part in zip(names, parts, strict=True):
        written(folder / name, part, cuts=(0,))
    state = {"_data_files": [{"filename": name} for name in names], "_fingerprint": "0"}
    (folder / "state.json").write_text(json.dumps(state))
    (folder / "dataset_info.json").write_text("{}")
    return folder


@pytest.mark.parametrize("large", [1, 2**28])
def test_a_saved_folder_is_its_files_in_their_order(large, same, tmp_path, monkeypatch):
    """Kills: files by name where the state has another order, a split that is another's."""
    monkeypatch.setattr(arrays, "LARGE", large)
    cuts = [(0, 2), (2, 3), (3, 7)]
    parts = [{"image": fixed(LEVELS[a:b]), "labels": LABELS[a:b]} for a, b in cuts]
    read = load(saved(tmp_path / "set" / "test", parts, ["c.arrow", "a.arrow", "b.arrow"]))
    assert read.sha256 == same.sha256
    saved(tmp_path / "set" / "train", parts[:1])
    (tmp_path / "set" / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    assert has_splits(tmp_path / "set")
    of_split = load(f"{tmp_path}/set:test", labels=True)
    assert of_split.sha256 == same.sha256
    assert of_split.labels.tolist() == LABELS
    assert (of_split.name, of_split.split) == ("set", "test")
    assert len(load(tmp_path / "set", split="train")) == 2
    with refuses("test and train"):
        load(tmp_path / "set")
    (tmp_path / "set" / "train").rename(tmp_path / "set" / "mine")
    (tmp_path / "set" / "test").rename(tmp_path / "set" / "yours")
    with refuses("saved by splits", "mine, yours"):
        load(tmp_path / "set")
    (tmp_path / "set" / "mine" / "state.json").unlink()
    assert len(load(tmp_path / "set" / "mine")) == 2  # a whole series of one


def test_files_of_a_folder_that_are_no_one_set_are_refused(tmp_path):
    """Kills: train and test added up, files of a set that are missing, pictures passed over."""
    part = {"image": fixed(LEVELS)}
    one = saved(tmp_path / "one", [part, part])
    (one / "data-00001-of-00002.arrow").unlink()
    with refuses("state.json: lists data-00001-of-00002.arrow", "copy all"):
        load(one)
    (one / "state.json").unlink()
    with refuses("no state.json", "no whole series"):
        load(one)
    written(one / "test.arrow", part)
    with refuses("holds 2 .arrow files", "no whole series"):
        load(one)
    for names in (("a-00000-of-00001", "test"), ("a-00000-of-00002", "b-00001-of-00002")):
        folder = saved(tmp_path / names[0], [part, part], [f"{name}.arrow" for name in names])
        (folder / "state.json").unlink()
        with refuses("holds 2 .arrow files", "no whole series"):
            load(folder)
    (one / "a.png").write_bytes(png(LEVELS[0]))
    with refuses("holds .arrow files and also a.png"):
        load(one)
    for state, words in (
        ({"_data_files": [{"filename": "../x.arrow"}]}, ["lists ../x.arrow"]),
        ({"_data_files": [{"filename": "test.arrow"}] * 2}, ["lists 2 files, 1 of them"]),
        ({"_data_files": []}, ["lists 0 files"]),
        ({"_data_files": [{}]}, ["does not list the files"]),
        ({}, ["does not list the files"]),
        (
            {"_data_files": [{"filename": "test.arrow"}], "_indices_files": [{"filename": "i"}]},
            ["flatten_indices()"],
        ),
    ):
        (one / "state.json").write_text(json.dumps(state))
        with refuses("one", *words):
            load(one)
    two = saved(tmp_path / "two", [part, {"image": lists(LEVELS)}])
    with refuses("data-00001-of-00002.arrow: column image is", "files of one set"):
        load(two)
    three = saved(tmp_path / "three", [part, {"image": fixed(LEVELS), "x": [1] * 7}])
    assert len(load(three)) == 14
    four = saved(tmp_path / "four", [part, {"other": fixed(LEVELS)}])
    with refuses("column image is none", "files of one set"):
        load(four)


def test_the_column_is_named_where_several_can_be_the_images(tmp_path):
    """Kills: the first column that fits, labels of another column."""
    other = LEVELS[::-1].copy()
    columns = {"a": fixed(other), "image": fixed(LEVELS), "fine": LABELS, "label": [0] * 7}
    path = written(tmp_path / "a,b=c.arrow", columns)
    assert load(path).levels[0, 0, 0, 0] == LEVELS[0, 0, 0, 0]
    path = path.rename(tmp_path / "a.arrow")
    assert load(f"{path}").levels[0, 0, 0, 0] == LEVELS[0, 0, 0, 0]
    chosen = load(f"{path},column=a,labels=fine", labels=True)
    assert np.array_equal(chosen.levels.numpy(), other.transpose(0, 3, 1, 2))
    assert chosen.labels.tolist() == LABELS
    assert load(f"{path},labels=fine").labels is None  # of a model without classes
    folder = saved(tmp_path / "set" / "test", [columns])
    saved(tmp_path / "set" / "train", [columns])
    named = load(f"{folder.parent},column=a:test")
    assert has_splits(f"{folder.parent},column=a")
    assert not has_splits(f"{folder.parent},column=a:test")
    assert named.sha256 == chosen.sha256
    for option, words in (
        ("column=imag", ["column=imag is none of its columns", "did you mean image?"]),
        ("column=label", ["column label is int64", "lists of numbers"]),
        ("labels=zzz", ["labels=zzz is none of its columns", "a, image, fine, label"]),
        ("colum=a", ["unknown option colum of a .arrow file", "column"]),
        ("column=a,column=image", ["given twice"]),
    ):
        with refuses("a.arrow", *words):
            load(f"{path},{option}")
    with refuses("test and train", "column=a:test"):
        load(f"{folder.parent},column=a")
    empty = tmp_path / "empty"
    empty.mkdir()
    with refuses("empty: holds no .arrow file", "column and labels"):
        load(f"{empty},column=a")
    written(tmp_path / "b.arrow", {"a": fixed(LEVELS), "b": fixed(LEVELS)})
    with refuses("several columns can be the images: a, b", "b.arrow,column=a"):
        load(tmp_path / "b.arrow")
    written(tmp_path / "c.arrow", {"img": fixed(LEVELS), "image": fixed(LEVELS)})
    with refuses("several columns", "img, image"):
        load(tmp_path / "c.arrow")
    both = {"x": fixed(LEVELS), "label": LABELS, "labels": LABELS}
    written(tmp_path / "d.arrow", both)
    assert load(tmp_path / "d.arrow").labels is None
    with refuses("columns labels and label", "d.arrow,labels=labels"):
        load(tmp_path / "d.arrow", labels=True)
    written(tmp_path / "e.arrow", {"y": LABELS, "text": list("abcdefg")})
    with refuses("no column of images", "y, text"):
        load(tmp_path / "e.arrow")
    schema = pa.schema([("x", fixed(LEVELS).type)] * 2)
    batch = pa.RecordBatch.from_arrays([fixed(LEVELS)] * 2, schema=schema)
    with pa.ipc.new_stream(str(tmp_path / "f.arrow"), schema) as out:
        out.write_batch(batch)
    with refuses("f.arrow", "no column of images", "x, x"):
        load(tmp_path / "f.arrow")
    with refuses("2 columns named x"):
        load(f"{tmp_path}/f.arrow,column=x")


def holed(array, row=4):
    """The rows as lists, of which one is a null."""
    rows = array.tolist()
    rows[row] = None
    return pa.array(rows, fixed(array).type)


def ragged(**rows):
    """Lists, of which some rows are others."""
    values = LEVELS[..., 0].tolist()
    for key, change in rows.items():
        change(values[int(key[1:])])
    return pa.array(values, pa.list_(pa.list_(pa.uint8())))


def inside():
    values = LEVELS.tolist()
    values[6][2][1] = None
    return pa.array(values, fixed(LEVELS).type)


REFUSED = {
    "a null row": (lambda: {"x": holed(LEVELS)}, ["rows 3 to 5: column x has 1 nulls"]),
    "a null inside": (lambda: {"x": inside()}, ["rows 6 to 6", "nulls"]),
    "a shorter row": (lambda: {"x": ragged(r4=lambda r: r.pop())}, ["row 4", "other sizes"]),
    "two rows that make up for it": (
        lambda: {"x": ragged(r3=lambda r: r[1].pop(), r5=lambda r: r[0].append(7))},
        ["row 3: column x has lists of other sizes"],
    ),
    "batches of two shapes": (
        lambda: {"x": ragged(**{f"r{i}": list.pop for i in (3, 4, 5)})},
        ["(4, 4) and of (5, 4)"],
    ),
    "no bytes": (
        lambda: {
            "x": pa.array(
                [{"bytes": None, "path": "a.png"}] * 7,
                pa.struct({"bytes": pa.binary(), "path": pa.string()}),
            )
        },
        ["rows 0 to 2: column x has 3 nulls"],
    ),
    "no picture": (
        lambda: {"x": pa.array([b"hello"] * 7, pa.binary())},
        ["row 0: is not an image", "remove it"],
    ),
    "text": (lambda: {"x": list("abcdefg")}, ["no column of images"]),
    "a dictionary": (
        lambda: {"x": pa.array(list("abcdefg")).dictionary_encode()},
        ["no column of images"],
    ),
    "flat": (lambda: {"x": fixed(LEVELS.reshape(7, 60))}, ["shape (7, 60)", "2 axes"]),
    "no pixels": (lambda: {"x": pa.array([[]] * 7, pa.list_(pa.uint8()))}, ["2 axes"]),
    "no rows": (lambda: {"x": fixed(LEVELS)[:0]}, ["holds no rows"]),
    "labels of text": (
        lambda: {"x": fixed(LEVELS), "label": list("abcdefg")},
        ["its labels are string", "integer from 0"],
    ),
    "labels that are missing": (
        lambda: {"x": fixed(LEVELS), "label": [0, 1, 2, 3, None, 5, 6]},
        ["rows 3 to 5: column label has 1 nulls"],
    ),
    "labels that are not known": (
        lambda: {"x": fixed(LEVELS), "label": [-1] * 7},
        ["counted from 0", "from -1"],
    ),
}


@pytest.mark.parametrize("large", [1, 2**28])
@pytest.mark.parametrize("case", REFUSED)
def test_a_column_that_is_no_images_is_refused_in_one_line(case, large, tmp_path, monkeypatch):
    """Kills: nulls read as 0, rows of several shapes read across their borders."""
    monkeypatch.setattr(arrays, "LARGE", large)
    make, words = REFUSED[case]
    columns = make()
    cuts = (0, 3, 6) if len(columns["x"]) else (0,)
    path = written(tmp_path / "a.arrow", columns, cuts=cuts)
    with refuses("a.arrow", *words):
        load(path, labels=True).sha256  # noqa: B018


def test_rows_that_are_used_are_those_that_are_checked(tmp_path, monkeypatch):
    """Kills: a mapped row of another shape taken by its position, all rows read to open a file."""
    monkeypatch.setattr(arrays, "LARGE", 1)
    column = ragged(r3=lambda row: row[1].pop(), r5=lambda row: row[0].append(7))
    images = load(written(tmp_path / "a.arrow", {"x": column}))
    assert torch.equal(images.first(3).levels[:, 0], torch.from_numpy(LEVELS[:3, :, :, 0].copy()))
    for rows in ([3], [5], [0, 4]):
        with refuses("a.arrow, row"):
            images.subset(rows)
    with refuses("a.arrow, row 3"):
        images.levels[2:4]
    with refuses("a.arrow, row 3"):
        images.levels.float()


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("codec", ["lz4", "zstd"])
def test_a_compressed_file_is_refused(codec, form, tmp_path):
    """Kills: buffers that are unpacked into memory where the file was to stay on the disk."""
    columns = {"x": fixed(np.repeat(LEVELS, 20, axis=0))}
    path = written(tmp_path / "a.arrow", columns, form, compression=codec)
    with refuses("a.arrow", "compressed", "compression='uncompressed'"):
        load(path)


def test_a_batch_whose_lists_begin_later_is_read_from_there(tmp_path, monkeypatch):
    """Law: lists behind others that no row has are those of their rows.

    Kills: numbers from the start of the buffer. pyarrow's writer cuts off what is before; others
    may leave it there, so that the batch is given as it would be read.
    """

    def opened(path):
        body = SimpleNamespace(address=0, size=2**63)  # wherever a buffer lies
        return File(path, batch.schema, [Batch(batch, 0)], body)

    monkeypatch.setattr(arrays, "LARGE", 1)
    monkeypatch.setattr("nelbo.data.arrow.opened", opened)
    path = written(tmp_path / "a.arrow", {"x": fixed(LEVELS)})
    offsets = pa.array(np.arange(10, 36, 5), pa.int32())
    inside = (fixed(LEVELS.reshape(35, 4, 3)), lists(LEVELS.reshape(35, 4, 3)))
    columns = [pa.ListArray.from_arrays(offsets, array) for array in inside]
    for column in (*columns, fixed(LEVELS)[2:], lists(LEVELS)[2:]):
        batch = pa.record_batch({"x": column})
        assert np.array_equal(load(path).levels.numpy(), LEVELS[2:].transpose(0, 3, 1, 2))


def outcome(path):
    """(the shape of the images, the line that refuses them)."""
    try:
        images = load(path)
        assert len(images.sha256) == 64
    except BadInput as error:
        return None, str(error)
    return images.levels.shape, ""


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("kind", ["fixed", "lists", "tensors"])
def test_a_file_that_is_cut_or_damaged_is_refused_or_whole(kind, form, tmp_path, monkeypatch):
    """Law: of each cut a refusal; of a changed bit a refusal or 7 images of the same shape.

    Kills: a stream that was cut between two batches, junk behind its end, a traceback.
    """
    monkeypatch.setattr(arrays, "LARGE", 1)
    path, draw = written(tmp_path / "a.arrow", {"x": KINDS[kind](LEVELS)}, form), random.Random(0)
    whole = path.read_bytes()
    for size in range(0, len(whole), 7 if len(whole) % 7 else 8):
        path.write_bytes(whole[:size])
        with refuses("a.arrow: cannot be read as an Arrow file"):
            load(path)
    if form == "new_stream":
        path.write_bytes(whole[:-8])
        with refuses("its end is missing, so it was cut"):
            load(path)
        path.write_bytes(whole + whole)
        with refuses("bytes follow its end"):
            load(path)
    for _ in range(150):
        content = bytearray(whole)
        content[draw.randrange(len(whole))] ^= 1 << draw.randrange(8)
        path.write_bytes(content)
        shape, line = outcome(path)
        assert shape in (None, (7, 3, 5, 4))
        assert line.isprintable()


def test_without_pyarrow_one_line_names_the_extra(tmp_path, monkeypatch, nelbo, run):
    """Kills: a traceback of an import, another exit status than that of bad input."""
    path = written(tmp_path / "a.arrow", {"x": fixed(LEVELS)})
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with refuses("a.arrow", "pip install 'nelbo[parquet]'"):
        load(path)
    code, _, err = nelbo("evaluate", run, "--data", path)
    assert code == 2
    assert len(err.splitlines()) == 1
    assert "pip install 'nelbo[parquet]'" in err


def test_the_command_line_takes_it_as_the_array(tmp_path, nelbo, run):
    """Law: one figure, one digest. Kills: options that the command does not hand on."""
    digits = load("digits:test").levels[:12, 0].numpy()
    np.save(tmp_path / "a.npy", digits)
    columns = {"a": fixed(digits[::-1].copy()), "b": lists(digits)}
    path = written(tmp_path / "a.arrow", columns)
    options = ("--budget", "200", "--max-images", "8", "--json", "-")
    results = []
    for data in (tmp_path / "a.npy", f"{path},column=b"):
        code, out, err = nelbo("evaluate", run, "--data", data, *options)
        assert code == 0, err
        results.append(json.loads(out))
    bound, same = results
    assert bound["bits_per_dim"] == same["bits_per_dim"]
    assert bound["data"]["sha256"] == same["data"]["sha256"]


def test_a_model_trained_on_a_mapped_file_is_that_of_the_array(tmp_path, monkeypatch):
    """Law: equal weights. Kills: a batch of other images than those that its index names."""
    from nelbo.tasks.train import train

    monkeypatch.setattr(arrays, "LARGE", 1)
    images = DRAW.integers(0, 256, (40, 8, 8), dtype=np.uint8)
    np.save(tmp_path / "a.npy", images)
    written(tmp_path / "a.arrow", {"x": lists(images)}, cuts=(0, 7, 30))
    assert load(tmp_path / "a.arrow", levels=256).mapped
    weights, warnings = [], []
    for suffix in ("npy", "arrow"):
        path = str(tmp_path / f"a.{suffix}")
        data = {"data.train": path, "data.test": path, "data.levels": 256}
        folder = train(small_recipe(**data), tmp_path / suffix, warn=warnings.append)
        weights.append(checkpoint.load(folder / "model.safetensors").tensors)
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert [text[:27] for text in warnings] == ["40 of the 40 test images of"] * 2


def test_what_does_not_fit_the_memory_is_refused_before_it_is_read(tmp_path, monkeypatch):
    """Kills: a process that the system ends where a line would say why."""
    written(tmp_path / "a.arrow", {"x": fixed(LEVELS)})
    written(tmp_path / "b.arrow", {"x": pictures(LEVELS)})
    (tmp_path / "c").mkdir()
    for i, row in enumerate(LEVELS):
        (tmp_path / "c" / f"{i}.png").write_bytes(png(row))
    names = ("a.arrow", "b.arrow", "c")
    for free, fits in ((420, True), (419, False)):
        monkeypatch.setattr(
            "psutil.virtual_memory", lambda free=free: SimpleNamespace(available=free)
        )
        for name in names:
            if fits:
                assert len(load(tmp_path / name)) == 7
                continue
            with refuses(name, "420 bytes", "more than is free of the memory"):
                load(tmp_path / name)


def test_parquet_is_refused_with_the_way_to_arrow(tmp_path):
    """Kills: a file that must be unpacked taken for one that can stay on the disk."""
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    with refuses("a.parquet", "Parquet", "save_to_disk"):
        load(tmp_path / "a.parquet")


def test_rows_of_several_parts_are_the_tensor_that_they_make():
    """Law: each operation gives what it gives of the one tensor, and reads the rows it needs.

    Kills: a row of the part before, an end left out, all rows read for some of them.
    """
    whole = torch.arange(7 * 6, dtype=torch.uint8).reshape(7, 1, 2, 3)
    seen = []
    parts = [Part(whole[a:b], seen.append) for a, b in ((0, 2), (2, 3), (3, 7))]
    rows = Rows(parts)
    assert (rows.shape, rows.dtype, rows.ndim, len(rows)) == (whole.shape, whole.dtype, 4, 7)
    assert not seen  # what it is costs no row
    for start in range(-8, 9):
        for stop in range(-8, 9):
            assert torch.equal(rows[start:stop], whole[start:stop])
            assert torch.equal(rows[start:stop][1:], whole[start:stop][1:])
    for index in range(-7, 7):
        assert torch.equal(rows[index], whole[index])
    for index in ([0], [6, 0, 3, 3, -1, -7], []):
        index = torch.tensor(index, dtype=torch.int64)
        assert torch.equal(rows[index], whole[index])
    for index in (None, slice(None, None, 2), (slice(2), 0), whole[:, 0, 0, 0] > 9):
        assert torch.equal(rows[index], whole[index])
    for index in (7, -8, torch.tensor([7]), torch.tensor([-8])):
        with pytest.raises(IndexError):
            rows[index]
    seen.clear()
    assert torch.equal(rows[torch.tensor([1, 5, 3])], whole[torch.tensor([1, 5, 3])])
    assert [each.tolist() for each in seen] == [[1], [2, 0]]
    for size in (1, 2, 5, 9):
        pieces = rows.split(size)
        assert all(map(torch.equal, pieces, whole.split(size)))
        assert len(pieces) == len(whole.split(size))
    assert rows.split(2)[0].data_ptr() == whole.data_ptr()  # no row was read
    assert torch.equal(torch.stack(list(rows)), whole)
    assert torch.equal(rows + 1, whole + 1)
    assert torch.equal(rows.flatten(1).long(), whole.flatten(1).long())
    assert rows.numpy().tolist() == rows.tolist() == whole.tolist()
    assert torch.equal(torch.cat([rows, whole]), torch.cat([whole, whole]))
    with torch._C.DisableTorchFunctionSubclass():
        assert torch.equal(torch.add(rows, 1), whole + 1)
