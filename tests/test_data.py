"""Every source gives exactly the pixels that were stored, or one line that says why not."""

import gzip
import io
import os
import struct
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFile
from torch.utils.data import Dataset, TensorDataset

from nelbo.data import Images, as_images, load
from nelbo.errors import BadInput
from nelbo.types import Grid

RNG = np.random.default_rng(1)
GREY = RNG.integers(0, 256, (5, 4), np.uint8)
COLOUR = RNG.integers(0, 256, (5, 4, 3), np.uint8)
UNIT = Grid(256, 0.0, 1.0)


def refuses(*words):
    """Context: BadInput of one line that holds every word."""

    def fits(error):
        message = str(error)
        assert "\n" not in message
        assert message.isprintable()
        missing = [word for word in words if str(word) not in message]
        assert not missing, f"{missing} not in: {message}"
        return True

    return pytest.raises(BadInput, check=fits)


def encoded(image, form="PNG", **options):
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width, height, depth, colour, rows, *extra):
    """A PNG that Pillow would not write: 16-bit colour, short palettes, no area."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = (
        chunk(b"IHDR", header),
        *extra,
        chunk(b"IDAT", zlib.compress(rows)),
        chunk(b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def palette(colours, index=GREY % 4):
    image = Image.new("P", index.shape[::-1])
    image.putdata(index.ravel().tolist())
    image.putpalette(np.array(colours, np.uint8).ravel().tolist())
    return image


def images(n=17, shape=(6, 1, 2, 2), seed=0):
    rng = np.random.default_rng(seed)
    return Images("some", None, torch.from_numpy(rng.integers(0, n, shape)), n)


# ---- Images


@pytest.mark.parametrize(
    ("n", "dtype"), [(17, torch.uint8), (256, torch.uint8), (257, torch.int32)]
)
def test_levels_are_stored_in_the_smallest_of_two_dtypes(n, dtype):
    assert images(n).levels.dtype == dtype


@pytest.mark.parametrize(
    ("change", "same"),
    [({}, True), ({"name": "other"}, True), ({"n": 18}, False), ({"pixel": True}, False)],
)
def test_the_digest_is_of_shape_levels_and_pixels_alone(change, same):
    one = images()
    levels = one.levels.clone()
    levels[5, 0, 1, 1] ^= 1 if "pixel" in change else 0
    other = Images(change.get("name", "some"), "test", levels, change.get("n", 17))
    assert (one.sha256 == other.sha256) is same
    assert Images("some", None, one.levels.reshape(6, 1, 1, 4), 17).sha256 != one.sha256


def test_the_digest_of_the_digits_never_changes():
    first = "a663031cadba5ba7474cf1a5880370c8a3e87bffd0c4d743fa5584580486f1e2"
    assert load("digits").sha256 == first


def test_a_subset_keeps_the_ids_of_the_full_set_and_of_the_subset_before():
    full = Images("f", None, images().levels, 17, sources=tuple("abcdef"))
    some = full.subset([4, 1, 3])
    assert some.ids.tolist() == [4, 1, 3]
    assert some.first(2).ids.tolist() == [4, 1]
    assert some.first(2).sources == ("e", "b")
    assert torch.equal(some.levels, full.levels[[4, 1, 3]])
    assert some.source(0) == "f/e"
    assert images().subset(torch.tensor([5])).source(0) == "some, image 5"
    assert full.ids.dtype == some.ids.dtype == torch.int64
    assert (len(full), full.dims) == (6, 4)


@pytest.mark.parametrize("index", [[], [6], [-1], [0.5], [True], [[1]], [2, 2]])
def test_a_subset_of_what_is_not_there_is_refused(index):
    with refuses("some: a subset"):
        images().subset(index)


@pytest.mark.parametrize("k", [0, 7])
def test_more_first_images_than_there_are_is_refused(k):
    with refuses("some", "has 6 images", f"first {k}"):
        images().first(k)


@pytest.mark.parametrize(
    ("levels", "n", "words"),
    [
        (torch.zeros(1, 1, 2, 2), 17, ["float32", "grid"]),
        (torch.zeros(2, 2, dtype=torch.uint8), 17, ["(N, C, H, W)", "(2, 2)"]),
        (torch.zeros(0, 1, 2, 2, dtype=torch.uint8), 17, ["at least one", "(0, 1, 2, 2)"]),
        (torch.zeros(1, 1, 2, 2, dtype=torch.uint8), 1, ["levels", "got 1"]),
        (
            torch.tensor([[[[0, 1]]], [[[2, 17]]]]),
            17,
            ["image 1", "value 17", "(0, 0, 1)", "0..16"],
        ),
        (torch.tensor([[[[0, -1]]]]), 17, ["image 0", "value -1"]),
        (torch.tensor([[[[0, -1]]]], dtype=torch.int8), 256, ["value -1", "0..255"]),
    ],
)
def test_what_is_no_image_of_levels_is_refused(levels, n, words):
    with refuses("some", *words):
        Images("some", None, levels, n)


def test_a_source_or_an_id_too_few_is_refused():
    with refuses("one source and one id"):
        Images("some", None, images().levels, 17, sources=("a",))
    with refuses("one source and one id"):
        Images("some", None, images().levels, 17, kept=torch.arange(2))


# ---- digits


def test_the_digits_equal_the_copy_of_scikit_learn():
    from sklearn.datasets import load_digits

    ours = load("digits")
    assert np.array_equal(ours.levels[:, 0].numpy(), load_digits().images)
    assert (ours.levels.shape, ours.n) == ((1797, 1, 8, 8), 17)


def test_the_digits_split_into_disjoint_parts_in_the_recorded_order():
    full, train, test = load("digits"), load("digits:train"), load("digits", split="test")
    order = np.random.default_rng(0).permutation(1797)
    assert (len(train), len(test), train.split, test.split) == (1297, 500, "train", "test")
    assert torch.equal(torch.cat([train.levels, test.levels]), full.levels[order])
    assert torch.equal(load("digits:test", split="test").levels, test.levels)


# ---- specs


@pytest.mark.parametrize(
    ("spec", "options", "words"),
    [
        ("digit", {}, ["did you mean digits?", "mnist:DIR", ".npz"]),
        ("digit:test", {}, ["did you mean digits:test?"]),
        ("digits:tset", {}, ["did you mean digits:test?"]),
        ("nothing", {}, ["known: digits"]),
        ("", {}, ["empty"]),
        ("hf:mnist", {}, ["hf: is not built yet", "digits"]),
        ("cifar10:", {}, ["cifar10:DIR", "its .bin files"]),
        ("cifar10:nowhere", {}, ["no such folder", "data_batch_1.bin"]),
        ("no/such/place", {}, ["no/such/place", "no such file or folder"]),
        ("none.npy", {}, ["none.npy", "no such file"]),
        ("a\nb", {}, ["'a\\nb'"]),
        ("digits:test", {"split": "train"}, ["digits:test", "train", "one of them"]),
        ("digits", {"split": "valid"}, ["no split valid", "train and test"]),
        ("digits", {"levels": 256}, ["17 levels", "256"]),
        ("digits", {"levels": 17, "grid": UNIT}, ["17", "256"]),
        ("mnist", {}, ["mnist:DIR"]),
        ("mnist:none", {}, ["none", "no such folder"]),
    ],
)
def test_a_spec_that_names_nothing_is_refused_with_what_there_is(
    spec, options, words, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    with refuses(*words):
        load(spec, **options)


@pytest.mark.parametrize(
    ("spec", "meant"),
    [
        ("image", "images"),
        ("img.np", "img.npy"),
        ("images/five/", "images/fine"),
        ("mnst:images", "mnist:images"),
        ("DIGITS:train", "digits:train"),
        ("./imges", "images"),
    ],
)
def test_a_misspelt_spec_is_guessed_by_what_lies_there(tmp_path, monkeypatch, spec, meant):
    """Kills: names alone, a guess that is no spec itself."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "images" / "fine").mkdir(parents=True)
    (tmp_path / "img.npy").touch()
    with refuses(f"did you mean {meant}?"):
        load(spec)


def test_a_split_of_a_source_without_splits_is_refused_with_what_there_is(tmp_path):
    (tmp_path / "cats").mkdir()
    np.save(tmp_path / "x.npy", GREY[None])
    with refuses("no split test", "cats"):
        load(f"{tmp_path}:test")
    with refuses("x.npy", "no split train", "leave"):
        load(str(tmp_path / "x.npy"), split="train")


def test_a_path_that_contains_a_colon_is_a_path(tmp_path):
    (tmp_path / "a:test").mkdir()
    (tmp_path / "a:test" / "0.png").write_bytes(encoded(Image.fromarray(GREY)))
    assert load(str(tmp_path / "a:test")).name == "a:test"


def test_a_file_of_another_kind_is_refused(tmp_path):
    (tmp_path / "x.png").write_bytes(encoded(Image.fromarray(GREY)))
    with refuses("x.png", "neither a folder nor"):
        load(str(tmp_path / "x.png"))


# ---- MNIST


def idx(array, magic=0x803):
    return struct.pack(">4I", magic, *array.shape) + array.tobytes()


def zipped(data):
    return gzip.compress(data, mtime=0)


TRAIN, TEST = RNG.integers(0, 256, (3, 5, 4), np.uint8), RNG.integers(0, 256, (2, 5, 4), np.uint8)
NAMES = ("train-images-idx3-ubyte", "t10k-images-idx3-ubyte")


@pytest.mark.parametrize(("end", "pack"), [("", bytes), (".gz", zipped)])
def test_idx_files_are_read_plain_and_zipped(tmp_path, end, pack):
    for name, array in zip(NAMES, (TRAIN, TEST), strict=True):
        (tmp_path / f"{name}{end}").write_bytes(pack(idx(array)))
    train, test, both = (load(f"mnist:{tmp_path}{part}") for part in (":train", ":test", ""))
    assert np.array_equal(train.levels[:, 0].numpy(), TRAIN)
    assert np.array_equal(test.levels[:, 0].numpy(), TEST)
    assert torch.equal(both.levels, torch.cat([train.levels, test.levels]))
    assert (train.n, train.split, test.split, both.split) == (256, "train", "test", None)


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        (NAMES[0], idx(TRAIN)[:-1], ["60 bytes", "holds 59"]),
        (NAMES[0], idx(TRAIN) + b"x", ["60 bytes", "more"]),
        (NAMES[0], idx(TRAIN)[:9], ["00000803", "00000803"]),
        (NAMES[0], b"", ["magic missing"]),
        (NAMES[0], idx(TRAIN, 0x801), ["magic 00000801"]),
        (NAMES[0], struct.pack(">4I", 0x803, *[2**32 - 1] * 3), ["damaged"]),
        (f"{NAMES[0]}.gz", zipped(idx(TRAIN))[:-12], ["damaged"]),
        (f"{NAMES[0]}.gz", zipped(idx(TRAIN))[:30] + b"\xff" * 60, ["damaged"]),
        (NAMES[1], idx(TEST), [f"neither {NAMES[0]} nor {NAMES[0]}.gz"]),
    ],
)
def test_an_idx_file_that_is_not_whole_is_refused_by_name(tmp_path, name, data, words):
    (tmp_path / name).write_bytes(data)
    named = name if name.startswith(NAMES[0]) else str(tmp_path)
    with refuses(named, *words):
        load(f"mnist:{tmp_path}:train")


def test_a_folder_of_idx_files_is_sent_to_mnist(tmp_path):
    (tmp_path / f"{NAMES[0]}.gz").write_bytes(zipped(idx(TRAIN)))
    with refuses(f"give mnist:{tmp_path}"):
        load(str(tmp_path))


def test_train_and_test_of_different_sizes_are_not_joined(tmp_path):
    for name, array in zip(NAMES, (TRAIN, TEST[:, :4]), strict=True):
        (tmp_path / name).write_bytes(idx(np.ascontiguousarray(array)))
    with refuses("differ in size"):
        load(f"mnist:{tmp_path}")


# ---- cifar10


def cifar10_files(folder):
    """(train, test) as they are to be read, three records in each file."""
    records = RNG.integers(0, 256, (18, 3073), np.uint8)
    names = [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]
    for i, name in enumerate(names):
        records[3 * i : 3 * i + 3].tofile(folder / name)
    pixels = records[:, 1:].reshape(18, 3, 32, 32)
    return pixels[:15], pixels[15:]


def test_cifar10_is_read_plane_by_plane_from_its_records(tmp_path):
    """Kills: the class read as a pixel, interleaved colours, batches out of order."""
    train, test = cifar10_files(tmp_path)
    assert np.array_equal(load(f"cifar10:{tmp_path}:train").levels.numpy(), train)
    assert np.array_equal(load(f"cifar10:{tmp_path}:test").levels.numpy(), test)
    both = load(f"cifar10:{tmp_path}")
    assert (len(both), both.n, both.split) == (18, 256, None)


@pytest.mark.parametrize("content", [b"", bytes(3072), bytes(3074)])
def test_a_cifar10_file_that_is_not_whole_records_is_refused(tmp_path, content):
    cifar10_files(tmp_path)
    (tmp_path / "data_batch_3.bin").write_bytes(content)
    with refuses("data_batch_3.bin", f"{len(content)} bytes", "3073"):
        load(f"cifar10:{tmp_path}:train")


def test_a_cifar10_of_pickles_is_refused_and_never_opened(tmp_path):
    (tmp_path / "data_batch_1").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    with refuses("data_batch_1.bin", "Python version", "binary version"):
        load(f"cifar10:{tmp_path}:train")


# ---- folders

OPAQUE, DEEP = np.full((5, 4, 1), 255, np.uint8), RNG.integers(0, 65536, (5, 4), np.uint16)
FOUR_GREYS, FOUR_COLOURS = [[9] * 3, [0] * 3, [255] * 3, [7] * 3], COLOUR[0, :4]
BITS = GREY > 99

ACCEPTED = {
    "L png": (encoded(Image.fromarray(GREY)), 256, GREY[None]),
    "L bmp": (encoded(Image.fromarray(GREY), "BMP"), 256, GREY[None]),
    "L gif": (encoded(Image.fromarray(GREY), "GIF"), 256, GREY[None]),
    "L tiff": (encoded(Image.fromarray(GREY), "TIFF"), 256, GREY[None]),
    "L pgm": (encoded(Image.fromarray(GREY), "PPM"), 256, GREY[None]),
    "RGB png": (encoded(Image.fromarray(COLOUR)), 256, COLOUR.transpose(2, 0, 1)),
    "RGB bmp": (encoded(Image.fromarray(COLOUR), "BMP"), 256, COLOUR.transpose(2, 0, 1)),
    "RGB tiff": (
        encoded(Image.fromarray(COLOUR), "TIFF", compression="tiff_lzw"),
        256,
        COLOUR.transpose(2, 0, 1),
    ),
    "RGB ppm": (encoded(Image.fromarray(COLOUR), "PPM"), 256, COLOUR.transpose(2, 0, 1)),
    "RGB webp": (
        encoded(Image.fromarray(COLOUR), "WEBP", lossless=True, exact=True),
        256,
        COLOUR.transpose(2, 0, 1),
    ),
    "RGBA opaque": (
        encoded(Image.fromarray(np.concatenate([COLOUR, OPAQUE], 2))),
        256,
        COLOUR.transpose(2, 0, 1),
    ),
    "LA opaque": (
        encoded(Image.fromarray(np.concatenate([GREY[..., None], OPAQUE], 2))),
        256,
        GREY[None],
    ),
    "1 on 2 levels": (encoded(Image.fromarray(BITS)), 2, BITS[None]),
    "2-bit grey": (png(4, 1, 2, 0, b"\0\x1b"), 4, [[[0, 1, 2, 3]]]),
    "L on 17 levels": (encoded(Image.fromarray(GREY % 17)), 17, GREY[None] % 17),
    "P of greys": (encoded(palette(FOUR_GREYS)), 256, np.array(FOUR_GREYS)[GREY % 4, 0][None]),
    "P of colours": (
        encoded(palette(FOUR_COLOURS)),
        256,
        FOUR_COLOURS[GREY % 4].transpose(2, 0, 1),
    ),
    "P gif": (
        encoded(palette(FOUR_COLOURS), "GIF"),
        256,
        FOUR_COLOURS[GREY % 4].transpose(2, 0, 1),
    ),
    "P with opaque tRNS": (
        encoded(palette(FOUR_COLOURS), transparency=b"\xff" * 4),
        256,
        FOUR_COLOURS[GREY % 4].transpose(2, 0, 1),
    ),
    "16-bit png": (encoded(Image.fromarray(DEEP)), 65536, DEEP[None]),
    "16-bit tiff": (encoded(Image.fromarray(DEEP), "TIFF"), 65536, DEEP[None]),
    "32-bit tiff": (encoded(Image.fromarray(DEEP.astype(np.int32)), "TIFF"), 65536, DEEP[None]),
    "16-bit pgm": (b"P5 4 5 65535\n" + DEEP.astype(">u2").tobytes(), 65536, DEEP[None]),
    "plain pgm": (b"P2 2 1 255\n3 250\n", 256, [[[3, 250]]]),
}


@pytest.mark.parametrize("kind", ACCEPTED)
def test_every_accepted_mode_gives_the_array_that_was_written(tmp_path, kind):
    data, n, expected = ACCEPTED[kind]
    (tmp_path / "x.img").write_bytes(data)
    loaded = load(str(tmp_path), levels=None if n == 256 else n)
    assert np.array_equal(loaded.levels[0].numpy(), expected)
    assert (loaded.n, loaded.sources, loaded.name) == (n, ("x.img",), tmp_path.name)


CLEAR = np.concatenate([COLOUR, OPAQUE], 2)
CLEAR[2, 1, 3] = 254
FRAMES = [Image.fromarray(255 - GREY)]
PNG = encoded(Image.fromarray(GREY))
BROKEN = bytearray(PNG)
BROKEN[PNG.index(b"IEND") - 8] ^= 1  # the last byte before the checksum of the pixels' own chunk
CRC = bytearray(PNG)
CRC[PNG.index(b"IEND") - 5] ^= 1


def turned(value=6):
    exif = Image.Exif()
    exif[0x0112] = value
    return exif


REFUSED = {
    "truncated png": (PNG[: len(PNG) - 20], {}, ["damaged"]),
    "damaged png": (bytes(BROKEN), {}, ["damaged"]),
    "png checksum": (bytes(CRC), {}, ["damaged", "checksum"]),
    "empty file": (b"", {}, ["is not an image", "PNG"]),
    "text": (b"hello\n", {}, ["is not an image", "leading dot"]),
    "eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", {}, ["is not an image"]),
    "no area": (png(0, 4, 8, 0, b""), {}, ["is not an image"]),
    "text bomb": (
        png(1, 1, 8, 0, bytes(2), chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(2**21)))),
        {},
        ["damaged", "too large"],
    ),
    "truncated jpeg": (encoded(Image.fromarray(COLOUR), "JPEG")[:-30], {}, ["damaged"]),
    "truncated tiff": (encoded(Image.fromarray(COLOUR), "TIFF")[:-30], {}, ["x.img"]),
    "truncated bmp": (encoded(Image.fromarray(COLOUR), "BMP")[:-9], {}, ["damaged"]),
    "16-bit png": (encoded(Image.fromarray(DEEP)), {}, ["mode I;16", "--levels 65536"]),
    "32-bit tiff": (
        encoded(Image.fromarray(DEEP.astype(np.int32)), "TIFF"),
        {},
        ["mode I ", "--levels 65536"],
    ),
    "16-bit colour png": (png(1, 1, 16, 2, bytes(7)), {}, ["RGB;16B", ".npy"]),
    "16-bit alpha png": (png(1, 1, 16, 4, bytes(5)), {}, ["LA;16B"]),
    "16-bit colour ppm": (b"P6 1 1 65535\n" + bytes(6), {}, ["65535", "rescaled"]),
    "pgm of 16 greys": (b"P5 2 1 15\n\0\1", {}, ["15", "rescaled"]),
    "12-bit pgm": (b"P5 1 1 4095\n\0\1", {"levels": 65536}, ["4095", "rescaled"]),
    "8-bit png on 65536 levels": (PNG, {"levels": 65536}, ["mode L", "8 bits", "--levels 256"]),
    "16-bit transparent grey": (
        png(1, 1, 16, 0, bytes(3), chunk(b"tRNS", bytes(2))),
        {"levels": 65536},
        ["transparent"],
    ),
    "value off 17 levels": (PNG, {"levels": 17}, ["value", "0..16", "declare"]),
    "alpha": (encoded(Image.fromarray(CLEAR)), {}, ["RGBA", "transparent", "flatten"]),
    "transparent colour": (
        encoded(Image.fromarray(COLOUR), transparency=tuple(COLOUR[0, 0].tolist())),
        {},
        ["RGB", "transparent"],
    ),
    "transparent palette": (encoded(palette(FOUR_COLOURS), transparency=2), {}, ["transparent"]),
    "colour beyond the palette": (
        png(2, 1, 8, 3, b"\0\1\3", chunk(b"PLTE", bytes(9))),
        {},
        ["colour 3", "palette of 3"],
    ),
    "cmyk": (encoded(Image.new("CMYK", (4, 5)), "TIFF"), {}, ["CMYK", "convert"]),
    "float": (encoded(Image.fromarray(GREY / np.float32(3)), "TIFF"), {}, ["mode F"]),
    "animated gif": (
        encoded(Image.fromarray(GREY), "GIF", save_all=True, append_images=FRAMES),
        {},
        ["more than one frame"],
    ),
    "animated png": (
        encoded(Image.fromarray(GREY), "PNG", save_all=True, append_images=FRAMES),
        {},
        ["more than one frame"],
    ),
    "two-page tiff": (
        encoded(Image.fromarray(GREY), "TIFF", save_all=True, append_images=FRAMES),
        {},
        ["more than one frame"],
    ),
    "turned jpeg": (encoded(Image.fromarray(GREY), "JPEG", exif=turned()), {}, ["orientation 6"]),
    "cut exif": (
        encoded(Image.fromarray(GREY), "JPEG", exif=turned().tobytes()[:-10]),
        {},
        ["damaged", "EXIF"],
    ),
    "turned png": (encoded(Image.fromarray(GREY), "PNG", exif=turned()), {}, ["orientation 6"]),
    "turned tiff": (encoded(Image.fromarray(GREY), "TIFF", exif=turned(3)), {}, ["orientation 3"]),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_would_not_be_read_as_stored_is_refused_by_name(tmp_path, kind):
    data, options, words = REFUSED[kind]
    (tmp_path / "x.img").write_bytes(data)
    with refuses("x.img", *words):
        load(str(tmp_path), **options)


def outcome(path):
    try:
        return load(str(path)).levels
    except BadInput as error:
        return str(error)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM"])
def test_a_file_cut_at_any_depth_is_refused_by_name_or_has_every_pixel(tmp_path, form):
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 24, 3), np.uint8))
    whole = encoded(picture, form)
    expected = np.asarray(Image.open(io.BytesIO(whole)).convert("RGB")).transpose(2, 0, 1)
    refused = 0
    for depth in np.linspace(0, len(whole) - 1, 40).astype(int):
        (tmp_path / "x.img").write_bytes(whole[:depth])
        result = outcome(tmp_path)
        refused += isinstance(result, str)
        assert "x.img" in result if isinstance(result, str) else np.array_equal(result[0], expected)
    assert refused >= 38


def test_an_image_of_more_pixels_than_the_guard_allows_is_refused_by_name(tmp_path, monkeypatch):
    (tmp_path / "x.png").write_bytes(PNG)
    for limit in (15, 5):  # Pillow warns at once the limit and fails at twice
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with refuses("x.png", f"MAX_IMAGE_PIXELS = {limit}"):
            load(str(tmp_path))


def test_reading_with_truncated_images_allowed_is_refused(tmp_path, monkeypatch):
    (tmp_path / "x.png").write_bytes(PNG)
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with refuses("LOAD_TRUNCATED_IMAGES", "False"):
        load(str(tmp_path))


def test_images_of_class_folders_are_sorted_by_path_and_hidden_files_are_ignored(tmp_path):
    for i, name in enumerate(["b/1.png", "b/0.png", "a.png", "c/.DS_Store", ".x/0.png", "a/9.png"]):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(encoded(Image.fromarray(np.full((2, 2), i, np.uint8))))
    loaded = load(str(tmp_path))
    assert loaded.sources == ("a/9.png", "a.png", "b/0.png", "b/1.png")
    assert loaded.levels[:, 0, 0, 0].tolist() == [5, 2, 1, 0]
    assert loaded.subset([2]).source(0) == f"{tmp_path.name}/b/0.png"


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (GREY[:, :3], ["4 x 5 pixels with 1 channel", "3 x 5 pixels with 1 channel"]),
        (COLOUR, ["4 x 5 pixels with 1 channel", "4 x 5 pixels with 3 channels"]),
    ],
)
def test_images_of_different_shapes_are_refused_by_name_and_size(tmp_path, other, words):
    for name, array in {"0.png": GREY, "1.png": GREY, "2.png": other}.items():
        (tmp_path / name).write_bytes(encoded(Image.fromarray(np.ascontiguousarray(array))))
    with refuses("0.png", "2.png", *words):
        load(str(tmp_path))


def test_a_folder_without_images_is_refused(tmp_path):
    (tmp_path / ".hidden").touch()
    (tmp_path / "inner").mkdir()
    with refuses(tmp_path, "holds no images"):
        load(str(tmp_path))


def test_folders_two_levels_down_broken_links_and_pipes_are_refused_by_name(tmp_path):
    def refused(place):
        with refuses(place.name, "not a regular file"):
            load(str(tmp_path))

    deep = tmp_path / "a" / "deep"
    deep.mkdir(parents=True)
    with refuses("deep", "two levels down", f"give {tmp_path}/a as the data"):
        load(str(tmp_path))
    deep.rmdir()
    link = tmp_path / "link.png"
    link.symlink_to("nowhere")
    refused(link)
    link.unlink()
    os.mkfifo(tmp_path / "pipe.png")
    refused(tmp_path / "pipe.png")


def test_a_file_name_that_cannot_be_printed_is_shown_escaped(tmp_path):
    with open(os.fsencode(tmp_path) + b"/bad\xff\n.png", "wb"):
        pass
    with refuses("bad\\udcff\\n.png"):
        load(str(tmp_path))


def test_reading_leaves_the_folder_as_it_was(tmp_path):
    (tmp_path / "x.png").write_bytes(PNG)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path, *tmp_path.iterdir())}
    load(str(tmp_path))
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path, *tmp_path.iterdir())}


# ---- arrays


LAID_OUT = RNG.integers(0, 256, (4, 3, 5, 6), np.uint8)


@pytest.mark.parametrize("end", ["npy", "npz"])
@pytest.mark.parametrize(
    ("array", "expected", "n"),
    [
        (LAID_OUT, LAID_OUT, 256),
        (LAID_OUT.transpose(0, 2, 3, 1), LAID_OUT, 256),
        (LAID_OUT[:, :1], LAID_OUT[:, :1], 256),
        (LAID_OUT[:, 0], LAID_OUT[:, :1], 256),
        (LAID_OUT[:, :1].transpose(0, 2, 3, 1), LAID_OUT[:, :1], 256),
        (LAID_OUT.astype(">u2") * 3, LAID_OUT.astype(int) * 3, 65536),
        (LAID_OUT > 7, LAID_OUT > 7, 2),
    ],
)
def test_integer_arrays_are_levels_as_they_are(tmp_path, end, array, expected, n):
    path = tmp_path / f"x.{end}"
    np.save(path, array) if end == "npy" else np.savez(path, anything=array)
    loaded = load(str(path))
    assert np.array_equal(loaded.levels.numpy(), expected)
    assert (loaded.n, loaded.name, loaded.sources) == (n, path.name, ())


def test_the_array_named_images_is_taken_among_several(tmp_path):
    np.savez(tmp_path / "x.npz", images=LAID_OUT, labels=np.arange(4))
    assert np.array_equal(load(str(tmp_path / "x.npz")).levels.numpy(), LAID_OUT)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"a": GREY, "b": GREY}, ["2 arrays (a, b)", "images"]),
        ({}, ["0 arrays"]),
        ({"a": LAID_OUT[:, :, :, :3]}, ["(N, C, H, W) or (N, H, W, C)", "(4, 3, 5, 3)"]),
        ({"a": np.zeros((2, 4, 8, 8), np.uint8)}, ["no axis of 1 or 3"]),
        ({"a": np.zeros((8, 8, 3), np.uint8)}, ["8 grey images or one image", "array[:, None]"]),
        ({"a": np.zeros((3, 8, 8), np.uint8)}, ["3 grey images or one image"]),
        ({"a": GREY}, ["2 axes", "(N, H, W)"]),
        ({"a": np.zeros((0, 8, 8), np.uint8)}, ["at least one pixel"]),
        ({"a": LAID_OUT.astype(np.int64)}, ["int64", "levels=25"]),
        ({"a": LAID_OUT.astype(complex)}, ["complex128"]),
        ({"a": np.array([[["x"]]], object)}, ["pickle"]),
        ({"a": LAID_OUT / 255}, ["float64", "from 0", "Grid(256, 0.0, 1.0)"]),
        ({"a": LAID_OUT / 127.5 - 1}, ["Grid(256, -1.0, 1.0)"]),
        ({"a": LAID_OUT * 1.0}, ["Grid(256, 0.0, 255.0)"]),
    ],
)
def test_an_array_file_that_breaks_a_rule_is_refused_by_name(tmp_path, arrays, words):
    np.savez(tmp_path / "x.npz", **arrays)
    with refuses("x.npz", *words):
        load(str(tmp_path / "x.npz"))


@pytest.mark.parametrize("name", ["x.npy", "x.npz"])
@pytest.mark.parametrize("depth", [0, 5, 60, 200, -1])
def test_a_truncated_array_file_is_refused_by_name(tmp_path, name, depth):
    path = tmp_path / name
    np.save(path, LAID_OUT) if name == "x.npy" else np.savez_compressed(path, LAID_OUT)
    path.write_bytes(path.read_bytes()[:depth])
    with refuses(name, "cannot be read"):
        load(str(path))


@pytest.mark.parametrize("name", ["x.npy", "x.npz"])
def test_a_header_that_promises_more_than_the_file_holds_is_refused(tmp_path, name):
    file, old = io.BytesIO(), b"(4, 3, 5, 6), }".ljust(30)
    np.save(file, LAID_OUT)
    assert old in file.getvalue()
    data = file.getvalue().replace(old, b"(9999999, 9999999, 9999), }".ljust(30))
    (tmp_path / "x.npy").write_bytes(data)
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("images.npy", data)
    with refuses(name, "cannot be read"):
        load(str(tmp_path / name))


def test_an_array_file_under_the_wrong_ending_is_refused(tmp_path):
    np.save(tmp_path / "x.npy", LAID_OUT)
    np.savez(tmp_path / "y.npz", LAID_OUT)
    (tmp_path / "x.npy").rename(tmp_path / "x.npz")
    (tmp_path / "y.npz").rename(tmp_path / "y.npy")
    with refuses("x.npz", "must end in .npy"):
        load(str(tmp_path / "x.npz"))
    with refuses("y.npy", "rename it to .npz"):
        load(str(tmp_path / "y.npy"))


def test_an_array_in_memory_is_copied():
    array = LAID_OUT.copy()
    loaded = as_images(array)
    array[:] = 0
    assert np.array_equal(loaded.levels.numpy(), LAID_OUT)


# ---- floats

ALL = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
SCALED = {
    "to [0, 1]": (UNIT, lambda x: x / 255),
    "to [-1, 1]": (Grid(256), lambda x: x / 255 * 2 - 1),
    "by Normalize(0.5, 0.5)": (Grid(256), lambda x: (x / 255 - 0.5) / 0.5),
    "by ImageNet's mean and deviation": (
        Grid(256, -0.485 / 0.229, (1 - 0.485) / 0.229),
        lambda x: (x / 255 - 0.485) / 0.229,
    ),
    "not at all": (Grid(256, 0.0, 255.0), lambda x: x * 1.0),
}


HELD = [(kind, dtype) for kind in SCALED for dtype in (torch.float32, torch.float64)]
HELD += [(kind, torch.float16) for kind in SCALED if "ImageNet" not in kind]  # too fine for halves


@pytest.mark.parametrize(("kind", "dtype"), HELD)
def test_floats_on_the_grid_are_read_back_as_the_levels_they_came_from(kind, dtype):
    grid, scale = SCALED[kind]
    scaled = scale(torch.from_numpy(ALL).to(dtype))
    assert scaled.dtype == dtype
    for data in (scaled, scaled.double(), scaled.numpy()):
        if data.dtype == torch.float64 and dtype is torch.float16:
            continue  # a double is taken for a cast single, not for a cast half
        assert np.array_equal(as_images(data, grid=grid).levels.numpy(), ALL)


def test_bfloat16_is_read_where_it_holds_the_grid_and_refused_where_it_does_not():
    coarse, fine = torch.arange(17) / 8.0 - 1, torch.arange(256) / 127.5 - 1
    loaded = as_images(coarse.bfloat16().view(1, 1, 1, 17), grid=Grid(17))
    assert loaded.levels.flatten().tolist() == list(range(17))
    with refuses("not on the grid"):
        as_images(fine.bfloat16().view(1, 1, 16, 16), grid=Grid(256))


def test_a_half_between_two_levels_is_refused_though_its_rounding_is_wide():
    data = torch.tensor([[[[-1.0, -1 + 0.3 * Grid(256).spacing]]]], dtype=torch.float16)
    with refuses("not on the grid", "index (0, 0, 0, 1)"):
        as_images(data, grid=Grid(256))


@pytest.mark.parametrize(
    ("at", "value", "shown"),
    [
        ((0, 0, 0, 0), float("nan"), "nan"),
        ((1500, 2, 1, 0), float("inf"), "inf"),
        ((1500, 2, 1, 0), -1.0, "-1"),
        ((1023, 0, 0, 1), 1.5 / 255, "0.00588235"),
        ((1024, 0, 0, 1), 100.02 / 255, "0.392235"),
        ((7, 0, 0, 1), 256 / 255, "1.0039"),
    ],
)
def test_the_first_float_off_the_grid_is_refused_by_value_and_index(tmp_path, at, value, shown):
    array = np.random.default_rng(0).integers(0, 256, (2000, 3, 2, 2)).astype(np.float32) / 255
    array[at] = value
    np.save(tmp_path / "x.npy", array)
    with refuses("x.npy", f"value {shown}", f"index {at}", "256 levels on [0, 1]"):
        load(str(tmp_path / "x.npy"), grid=UNIT)


def test_the_index_of_a_bad_float_is_that_of_the_array_as_stored():
    array = np.zeros((2, 5, 6, 3))
    array[1, 4, 0, 2] = 0.3
    with refuses("index (1, 4, 0, 2)"):
        as_images(array, grid=Grid(2, 0.0, 1.0))


@pytest.mark.parametrize(
    "wrong", [Grid(256, 0.0, 256 / 255), Grid(257, 0.0, 1.0), Grid(256, 0.0, 0.99)]
)
def test_a_range_that_is_off_by_one_level_is_refused(wrong):
    with refuses("not on the grid"):
        as_images(ALL / 255, grid=wrong)
    with refuses("not on the grid"):
        as_images(ALL[..., :1, :2] / np.float32(255), grid=wrong)


# ---- tensors and datasets


class Listed(Dataset):
    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        return self.items[index]


STACK = torch.from_numpy(LAID_OUT)
PICTURES = [Image.fromarray(np.moveaxis(x, 0, 2).copy()) for x in LAID_OUT]


@pytest.mark.parametrize(
    "data",
    [
        STACK,
        STACK.numpy(),
        list(STACK),
        TensorDataset(STACK, torch.arange(4)),
        Listed(PICTURES),
        Listed([(picture, 0) for picture in PICTURES]),
        Listed([np.asarray(picture) for picture in PICTURES]),
        Images("same", None, STACK, 256),
    ],
    ids=lambda data: type(data).__name__,
)
def test_tensors_arrays_and_datasets_give_the_same_images(data):
    loaded = as_images(data)
    assert np.array_equal(loaded.levels.numpy(), LAID_OUT)
    assert (loaded.n, len(loaded), loaded.dims) == (256, 4, 90)


def test_datasets_of_floats_and_of_grey_rows_are_read_on_the_grid():
    items = Listed([(x[0].float() / 255, 1) for x in STACK])
    assert np.array_equal(as_images(items, grid=UNIT).levels.numpy(), LAID_OUT[:, :1])


def test_tensors_of_any_channel_count_are_channels_first():
    tensor = torch.arange(2 * 4 * 2 * 5).reshape(2, 4, 2, 5)
    assert torch.equal(as_images(tensor, n=80).levels, tensor.to(torch.uint8))
    assert as_images(tensor[:, 0], n=80).levels.shape == (2, 1, 2, 5)


@pytest.mark.parametrize(
    ("data", "options", "words"),
    [
        ("digits", {}, ["a path or a spec", "load"]),
        ({"images": STACK}, {}, ["a dict"]),
        (iter([STACK]), {}, ["Dataset with a length"]),
        (Listed([]), {}, ["no images"]),
        (Listed(["x"]), {}, ["image 0", "a str", "PIL"]),
        (Listed([STACK[0], STACK[1, :, :4]]), {}, ["image 0 is (3, 5, 6)", "image 1 is (3, 4, 6)"]),
        (Listed([STACK[0], STACK[1].int()]), {}, ["uint8", "int32"]),
        (Listed([torch.zeros(2)]), {}, ["image 0", "(2,)"]),
        (Listed([Image.fromarray(CLEAR)]), {}, ["image 0", "transparent"]),
        (STACK.float(), {}, ["mine", "float32", "Grid"]),
        (STACK.long(), {}, ["mine", "int64", "declare"]),
        (STACK, {"n": 17}, ["mine, image 0", "0..16"]),
        (STACK, {"n": 0}, ["mine", "at least 2 levels"]),
        (STACK, {"n": 17, "grid": UNIT}, ["17", "256"]),
        (STACK[0], {}, ["3 grey images or one image"]),
        (Images("same", None, STACK, 256), {"n": 17}, ["same", "256", "17"]),
    ],
)
def test_what_is_not_images_is_refused(data, options, words):
    with refuses(*words):
        as_images(data, name="mine", **options)


def test_the_digits_are_loaded_without_importing_pillow():
    code = (
        "import sys; from nelbo.data import load; load('digits:test'); print('PIL' in sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout.strip() == "False"


def test_the_packaged_digits_are_a_few_tens_of_kilobytes():
    import nelbo.data

    assert (Path(nelbo.data.__file__).parents[1] / "digits.npz").stat().st_size < 60_000
