"""What a reader of data would change, merge or make up without a word: read exactly, or refused."""

import io
import struct
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from nelbo.data import Images, as_images, has_splits, load
from nelbo.errors import BadInput
from test_data import (
    GREY,
    LAID_OUT,
    NAMES,
    TRAIN,
    Listed,
    chunk,
    encoded,
    idx,
    png,
    refuses,
    turned,
    zipped,
)

BITS = GREY > 99


# ---- a type that cannot count to the declared levels


@pytest.mark.parametrize(
    ("array", "n", "words"),
    [
        (LAID_OUT > 7, 256, ["bool", "2 levels", "256"]),
        (LAID_OUT > 7, 3, ["bool", "2 levels", "3 were declared"]),
        (LAID_OUT, 65536, ["uint8", "256 levels", "65536"]),
        (LAID_OUT, 257, ["uint8", "256 levels", "257"]),
        (LAID_OUT.astype(np.int8) & 1, 256, ["int8", "128 levels", "256"]),
        (LAID_OUT.astype(">u2"), 2**17, ["uint16", "65536 levels"]),
        (LAID_OUT.astype(">i2"), 65536, ["int16", "32768 levels"]),
    ],
    ids=lambda x: str(x) if isinstance(x, int) else "",
)
@pytest.mark.parametrize("door", ["npy", "npz", "array", "tensor", "dataset", "images"])
def test_a_type_that_cannot_count_to_the_levels_is_refused_at_every_door(
    tmp_path, door, array, n, words
):
    """Kills: a bool array under 256 levels as 0 and 1, where a 1-bit picture is 0 and 255."""
    tensor = torch.from_numpy(array.astype(array.dtype.newbyteorder("=")))
    np.save(tmp_path / "x.npy", array)
    np.savez(tmp_path / "x.npz", array)
    doors = {
        "npy": lambda: load(str(tmp_path / "x.npy"), levels=n),
        "npz": lambda: load(str(tmp_path / "x.npz"), levels=n),
        "array": lambda: as_images(array, n=n),
        "tensor": lambda: as_images(tensor, n=n),
        "dataset": lambda: as_images(Listed([(x, 0) for x in tensor]), n=n),
        "images": lambda: Images("x", None, tensor, n),
    }
    with refuses(*words):
        doors[door]()


@pytest.mark.parametrize(
    ("array", "n"),
    [
        (LAID_OUT > 7, 2),
        (LAID_OUT % 2, 2),
        (LAID_OUT.astype(">i4"), 256),
        (LAID_OUT.astype("<u2"), 256),
        (LAID_OUT.astype(np.int64), 2**31),
        (LAID_OUT.astype(np.uint32), 65536),
        (LAID_OUT.astype(">u8"), 256),
    ],
)
def test_a_type_that_can_count_to_the_levels_is_taken_as_it_is(array, n):
    assert np.array_equal(as_images(array, n=n).levels.numpy(), array.astype(int))


# ---- depths


def tiff(pixels, bits, photometric=1, samples=1, height=5, width=4, *more):
    """An uncompressed TIFF of one strip, as its own reader would write none."""
    entries = [
        (256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, bits), (259, 3, 1, 1),
        (262, 3, 1, photometric), (273, 4, 1, 8), (277, 3, 1, samples), (278, 4, 1, height),
        (279, 4, 1, len(pixels)), *more,
    ]  # fmt: skip
    entries.sort()
    body = b"".join(
        struct.pack("<HHI", tag, kind, count)
        + (struct.pack("<HH", value, 0) if kind == 3 else struct.pack("<I", value))
        for tag, kind, count, value in entries
    )
    pixels += bytes(len(pixels) % 2)
    return (
        b"II*\0" + struct.pack("<I", 8 + len(pixels)) + pixels
        + struct.pack("<H", len(entries)) + body + bytes(4)
    )  # fmt: skip


def packed(array, bits):
    """Rows of so many bits a pixel, each row whole bytes, the first pixel in the high bits."""
    planes = array[..., None] >> np.arange(bits - 1, -1, -1) & 1
    return np.packbits(planes.reshape(len(array), -1).astype(np.uint8), axis=1)


def filtered(rows):
    """PNG rows without a filter."""
    return b"".join(b"\0" + bytes(row) for row in rows)


NARROW = {
    f"{form} of {bits} bits": (make(GREY % 2**bits, bits), bits, flip)
    for bits in (1, 2, 4)
    for form, make, flip in (
        ("png", lambda a, b: png(4, 5, b, 0, filtered(packed(a, b))), False),
        ("tiff", lambda a, b: tiff(packed(a, b).tobytes(), b), False),
        ("tiff from white", lambda a, b: tiff(packed(a, b).tobytes(), b, 0), True),
    )
}
NARROW["pbm"] = (b"P4 4 5\n" + packed(GREY % 2, 1).tobytes(), 1, True)
NARROW["plain pbm"] = (b"P1 4 5\n" + b" ".join(b"%d" % x for x in GREY.ravel() % 2), 1, True)


@pytest.mark.parametrize("kind", NARROW)
def test_a_narrow_grey_is_read_under_its_own_levels_and_refused_under_others(tmp_path, kind):
    """Kills: 0..15 stretched to 0..255, with or without a word; levels that are multiples of 17."""
    data, bits, from_white = NARROW[kind]
    (tmp_path / "x.img").write_bytes(data)
    stored = GREY % 2**bits
    expected = 2**bits - 1 - stored if from_white else stored
    loaded = load(str(tmp_path), levels=2**bits)
    assert np.array_equal(loaded.levels[0, 0].numpy(), expected)
    for n in (2, 3, 17, 256, 65536):
        if n != 2**bits:
            with refuses("x.img", f"{bits} bit", f"--levels {2**bits}"):
                load(str(tmp_path), levels=n)


def test_a_picture_of_one_bit_and_the_same_array_are_one_data_set(tmp_path):
    """Kills: the picture on 0 and 255, the array on 0 and 1: other bits for the same data."""
    np.save(tmp_path / "x.npy", np.tile(BITS, (2, 1, 1)))
    (tmp_path / "x").mkdir()
    for name in "ab":
        (tmp_path / "x" / name).write_bytes(encoded(Image.fromarray(BITS)))
    of_array = load(str(tmp_path / "x.npy"), levels=2)
    of_picture = load(str(tmp_path / "x"), levels=2)
    in_memory = as_images(Listed([Image.fromarray(BITS)] * 2), n=2)
    assert of_array.sha256 == of_picture.sha256 == in_memory.sha256
    for door in (tmp_path / "x.npy", tmp_path / "x"):
        with refuses("2 levels"):
            load(str(door), levels=256)
    with refuses("image 0", "2 levels"):
        as_images(Listed([Image.fromarray(BITS)] * 2))


def bmp(bits, body, compression=0, palette=b""):
    place = 54 + len(palette)
    header = struct.pack("<IiiHHIIiiII", 40, 4, 5, 1, bits, compression, len(body), 0, 0,
                         len(palette) // 4, 0)  # fmt: skip
    return b"BM" + struct.pack("<IHHI", place + len(body), 0, 0, place) + header + palette + body


def test_twelve_bits_are_read_as_they_are(tmp_path):
    """Kills: 12 bits stretched to 16."""
    values = GREY.astype(np.int32) * 16 + 5
    (tmp_path / "x.tif").write_bytes(tiff(packed(values, 12).tobytes(), 12))
    for n in (4096, 65536):
        assert np.array_equal(load(str(tmp_path), levels=n).levels[0, 0].numpy(), values)


CHANGED = {
    "bmp of 5 bits a colour": (bmp(16, bytes(40)), ["BGR;15", "rescaled"]),
    "run-length bmp": (bmp(8, b"\4\7\0\0" * 5 + b"\0\1", 1, bytes(1024)), ["run-length", "PNG"]),
    "tiff with a fourth channel": (
        tiff(bytes(80), 8, 2, 4, 5, 4, (338, 3, 1, 0)),
        ["4 channels", "drop"],
    ),
    "tiff of jpeg": (encoded(Image.fromarray(GREY), "TIFF", compression="jpeg"), ["jpeg", "fill"]),
    "fax": (encoded(Image.fromarray(BITS), "TIFF", compression="group4"), ["group4", "fill"]),
}


def deep_palette(step):
    """A TIFF whose palette has entries that are multiples of step."""
    image = Image.fromarray(GREY % 4).convert("P")
    data = bytearray(encoded(image, "TIFF"))
    with Image.open(io.BytesIO(bytes(data))) as written:
        table = struct.pack("<768H", *written.tag_v2[320])
    place = bytes(data).index(table)
    data[place : place + 1536] = struct.pack("<768H", *(i % 256 * step for i in range(768)))
    return bytes(data)


CHANGED["palette of 16 bits"] = (deep_palette(255), ["palette of 16 bits"])


@pytest.mark.parametrize("kind", CHANGED)
def test_what_a_reader_rescales_drops_or_fills_is_refused_by_name(tmp_path, kind):
    data, words = CHANGED[kind]
    (tmp_path / "x.img").write_bytes(data)
    for n in (2, 256):
        with refuses("x.img", *words):
            load(str(tmp_path), levels=n)


@pytest.mark.parametrize("step", [256, 257])
def test_a_tiff_palette_whose_entries_are_bytes_is_read(tmp_path, step):
    (tmp_path / "x.img").write_bytes(deep_palette(step))
    assert np.array_equal(load(str(tmp_path)).levels[0, 0].numpy(), GREY % 4)


# ---- data that end early, and say so to nobody

BIG = np.random.default_rng(3).integers(0, 256, (24, 16), np.uint8)


def early_gif():
    data = bytearray(encoded(Image.fromarray(BIG), "GIF"))
    data[8:10] = struct.pack("<H", 30)  # a screen that is higher than its only image
    return bytes(data)


def early_jpeg(**options):
    data = encoded(Image.fromarray(np.kron(BIG, np.ones((4, 4), np.uint8))), "JPEG", **options)
    return data[: len(data) * 3 // 5].rstrip(b"\xff") + b"\xff\xd9"


EARLY = {
    "png": png(16, 24, 8, 0, filtered(BIG[:9])),
    "png of one row less": png(16, 24, 8, 0, filtered(BIG[:23])),
    "colour png": png(16, 24, 8, 2, filtered(np.repeat(BIG[:20], 3, 1))),
    "palette png": png(16, 24, 8, 3, filtered(BIG[:9] % 3), chunk(b"PLTE", bytes(range(9)))),
    "deep png": png(16, 24, 16, 0, filtered(np.repeat(BIG[:9], 2, 1))),
    "gif": early_gif(),
    "jpeg": early_jpeg(),
    "progressive jpeg": early_jpeg(progressive=True),
    "jpeg with restarts": early_jpeg(restart_marker_blocks=3),
}


@pytest.mark.parametrize("kind", EARLY)
def test_a_picture_whose_data_end_early_is_refused(tmp_path, kind):
    """Kills: rows that the file does not have read as black, or as the last colour."""
    (tmp_path / "x.img").write_bytes(EARLY[kind])
    with refuses("x.img", "damaged"):
        load(str(tmp_path), levels=65536 if kind == "deep png" else 256)


@pytest.mark.parametrize("form", ["PNG", "GIF", "JPEG", "TIFF", "BMP", "WEBP"])
@pytest.mark.parametrize("value", [0, 255])
def test_a_picture_that_is_black_or_white_to_its_end_is_whole(tmp_path, form, value):
    """Kills: a last row of one colour taken for a row that is not there."""
    (tmp_path / "x.img").write_bytes(encoded(Image.new("L", (9, 7), value), form))
    assert load(str(tmp_path)).levels.unique().tolist() == [value]


def test_whole_jpegs_of_many_kinds_are_taken_and_short_ones_are_not(tmp_path):
    """Kills: a whole scan refused; a scan that stops at a restart taken."""
    rng, cut = np.random.default_rng(0), 0
    for k in range(24):
        height, width = rng.integers(9, 60, 2)
        smooth = np.cumsum(np.cumsum(rng.normal(size=(height, width, 3)), 0), 1)
        array = np.clip(128 + 5 * smooth, 0, 255).astype(np.uint8)
        options = {"quality": int(rng.integers(20, 98)), "progressive": bool(k % 2)}
        options |= {"restart_marker_blocks": int(rng.integers(1, 6))} if k % 3 == 0 else {}
        image = Image.fromarray(array if k % 4 else array[..., 0].copy())
        data = encoded(image, "JPEG", **options)
        (tmp_path / "x.jpg").write_bytes(data)
        expected = np.atleast_3d(np.asarray(Image.open(io.BytesIO(data)))).transpose(2, 0, 1)
        assert np.array_equal(load(str(tmp_path)).levels[0].numpy(), expected)
        scan = data.rindex(b"\xff\xda") + 12
        short = data[: scan + (len(data) - scan) // 3].rstrip(b"\xff") + b"\xff\xd9"
        (tmp_path / "x.jpg").write_bytes(short)
        if not np.array_equal(
            np.asarray(Image.open(io.BytesIO(short))), np.asarray(Image.open(io.BytesIO(data)))
        ):
            cut += 1
            with refuses("x.jpg", "damaged"):
                load(str(tmp_path))
    assert cut > 18


# ---- arrays


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("again", ["images.npy", "images", "labels.npy"])
def test_an_npz_with_two_arrays_of_one_name_is_refused(tmp_path, again):
    """Kills: the last of them taken in silence."""
    path = tmp_path / "x.npz"
    np.savez(path, images=LAID_OUT, labels=np.arange(4))
    other = io.BytesIO()
    np.save(other, LAID_OUT[::-1])
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(again, other.getvalue())
    with refuses("x.npz", again.removesuffix(".npy"), "more than once"):
        load(str(path), labels=True)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (np.array(list("abcd"), object), ["without pickles"]),
        (np.arange(4) / 2, ["float64", "integer"]),
        (np.array(list("abcd")), ["<U1", "integer"]),
        (np.arange(3), ["one class for each of 4"]),
    ],
)
def test_labels_of_an_npz_are_read_as_safely_as_its_images(tmp_path, labels, words):
    np.savez(tmp_path / "x.npz", images=LAID_OUT, labels=labels)
    with refuses("x.npz", *words):
        load(str(tmp_path / "x.npz"), labels=True)


# ---- where they are


def pictures(folder, *values):
    folder.mkdir(parents=True, exist_ok=True)
    for value in values:
        data = encoded(Image.fromarray(np.full((2, 2), value, np.uint8)))
        (folder / f"{value}.png").write_bytes(data)


@pytest.mark.parametrize("other", ["val", "validation", "valid", "dev", "test", "Testing"])
def test_a_folder_of_splits_is_read_by_one_of_them_and_never_merged(tmp_path, other):
    """Kills: train and test read as two classes of one set."""
    pictures(tmp_path / "train" / "cats", 1, 2)
    pictures(tmp_path / "train" / "dogs", 3)
    pictures(tmp_path / other, 4)
    with refuses("train", other, "splits of one set", "--split"):
        load(str(tmp_path))
    train, rest = load(f"{tmp_path}:train"), load(str(tmp_path), split=other)
    assert train.levels[:, 0, 0, 0].tolist() == [1, 2, 3]
    assert train.sources == ("cats/1.png", "cats/2.png", "dogs/3.png")
    assert (train.name, train.split, rest.split) == (tmp_path.name, "train", other)
    assert rest.levels[:, 0, 0, 0].tolist() == [4]
    assert torch.equal(load(f"{tmp_path}:{other}").levels, rest.levels)
    assert has_splits(str(tmp_path)) is (other == "test")
    with refuses("no split nothing", "train"):
        load(str(tmp_path), split="nothing")


def test_a_class_that_is_called_train_is_a_class(tmp_path):
    pictures(tmp_path / "train", 1)
    pictures(tmp_path / "plane", 2)
    assert load(str(tmp_path)).levels[:, 0, 0, 0].tolist() == [2, 1]


@pytest.mark.parametrize("name", [NAMES[0], f"{NAMES[0]}.gz", "train-images.idx3-ubyte"])
@pytest.mark.parametrize("pack", [bytes, zipped])
def test_an_idx_file_is_known_by_its_content_whatever_it_is_called(tmp_path, name, pack):
    (tmp_path / name).write_bytes(pack(idx(TRAIN)))
    assert np.array_equal(load(f"mnist:{tmp_path}:train").levels[:, 0].numpy(), TRAIN)
    with refuses(f"mnist:{tmp_path}"):
        load(str(tmp_path / name))
    with refuses(f"mnist:{tmp_path}"):
        load(str(tmp_path))


@pytest.mark.parametrize("pattern", ["a/*.png", "a/*/x.png", "a/[0-9].png", "*.png", "a/?.npy"])
def test_a_pattern_is_answered_by_the_folder_that_it_begins_with(tmp_path, monkeypatch, pattern):
    monkeypatch.chdir(tmp_path)
    pictures(tmp_path / "a", 1)
    root = "a" if pattern.startswith("a/") else "."
    with refuses(pattern, "pattern", f"images, {root}"):
        load(pattern)


# ---- what is a decoder's


def test_lossy_pictures_say_so_and_lossless_ones_do_not(tmp_path):
    colour = Image.fromarray(np.repeat(BIG[..., None], 3, 2))
    files = {
        "png": (encoded(colour), None),
        "jpg": (encoded(colour, "JPEG"), "JPEG by Pillow"),
        "webp": (encoded(colour, "WEBP"), "lossy WebP by Pillow"),
        "webp with exif": (
            encoded(colour, "WEBP", exif=turned(1)),
            "lossy WebP",
        ),
        "lossless": (encoded(colour, "WEBP", lossless=True, exact=True), None),
    }
    for name, (data, lossy) in files.items():
        pictures(tmp_path / name)
        (tmp_path / name / "x").write_bytes(data)
        origin = load(str(tmp_path / name)).origin
        assert origin.get("decoded", "none").startswith(lossy or "none"), name
    (tmp_path / "jpg" / "y").write_bytes(files["png"][0])
    loaded = load(str(tmp_path / "jpg"))
    assert loaded.origin["decoded"].startswith("JPEG by")
    assert loaded.subset([1]).origin == loaded.origin


def test_a_png_whose_stream_goes_on_after_its_rows_is_as_stored(tmp_path):
    """What is behind the last row is no pixel."""
    (tmp_path / "x.png").write_bytes(png(16, 24, 8, 0, filtered(BIG) + bytes(99)))
    assert np.array_equal(load(str(tmp_path)).levels[0, 0].numpy(), BIG)


def test_what_was_refused_is_not_what_was_meant():
    """Kills: an advice that is the very text."""
    with pytest.raises(BadInput, match=r"did you mean topics,context=128:test\?"):
        load("topics:test,context=128")
