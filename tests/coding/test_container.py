"""The bytes of a file: whatever happens to them, they are refused or they are what was written."""

import zlib

import pytest

from nelbo.coding import Archive, read, written
from nelbo.errors import BadInput

ONE = Archive(b"\1\2\3\4", "dispersed", 8, [b"some code"], single=True)
MANY = Archive(
    b"\1\2\3\4", "raster", 0, [b"a", b"", b"code" * 60], names=("a.png", "b.png", "ü.png")
)


def taken(content):
    """What a file holds, every code of it looked at."""
    result = read(content, "x.nlb")
    return result, [result.code(i) for i in range(len(result.codes))]


@pytest.mark.parametrize("archive", [ONE, MANY])
def test_what_is_written_is_read(archive):
    """Kills: a field at another place."""
    result, codes = taken(written(archive)[0])
    assert codes == list(archive.codes)
    assert (result.digest, result.order, result.calls) == (
        b"\1\2\3\4",
        archive.order,
        archive.calls,
    )
    assert (result.names, result.single) == (archive.names, archive.single)


def test_the_head_of_one_image_is_twelve_bytes_and_each_of_many_has_six():
    """Kills: a header that grows."""
    assert len(written(ONE)[0]) == 12 + len(b"some code")
    content, names = written(MANY)
    assert len(content) - names - sum(map(len, MANY.codes)) - 14 == 5 + 5 + 6


@pytest.mark.parametrize("archive", [ONE, MANY])
def test_every_flipped_bit_and_every_cut_is_refused(archive):
    """Kills: a byte that no check covers."""
    content = written(archive)[0]
    for place in range(8 * len(content)):
        changed = bytearray(content)
        changed[place // 8] ^= 1 << place % 8
        with pytest.raises(BadInput):
            taken(bytes(changed))
    for length in range(len(content)):
        with pytest.raises(BadInput):
            taken(content[:length])
    with pytest.raises(BadInput):
        taken(content + b"\0")


def resealed(content, end):
    """The bytes with a right check of those before `end`."""
    check = zlib.crc32(content[:8] + content[12:end]).to_bytes(4, "big")
    return content[:8] + check + content[12:]


def test_the_longest_names_of_a_file_system_come_back():
    """Kills: a table that is written and not read: 62 characters of 4 bytes are 744 in JSON."""
    names = tuple(f"{'😀' * 63}/{'😀' * 62}{i}.png" for i in range(10))
    archive = Archive(b"1234", "raster", 8, [b"code"] * 10, names=names)
    assert read(written(archive)[0], "x.nlb").names == names


def test_another_kind_a_newer_version_and_damage_are_distinguished():
    """Kills: one message for all."""
    content = written(ONE)[0]
    newer = content[:2] + bytes([0x21]) + content[3:]
    with pytest.raises(BadInput, match="no file that nelbo compress made"):
        read(b"\x89PNG" + content, "x.nlb")
    with pytest.raises(BadInput, match="version 2 of the format, this nelbo reads 1: update"):
        read(newer, "x.nlb")
    with pytest.raises(BadInput, match="damaged"):
        read(content[:-1], "x.nlb")


def test_a_made_up_count_or_length_takes_no_memory():
    """Kills: room that is made for what a file promises."""
    content = written(MANY)[0]
    many = content[:12] + b"\xff" * 8 + b"\x7f" + content[13:]
    for made_up in (many, resealed(many, len(many))):
        with pytest.raises(BadInput, match="damaged"):
            read(made_up, "x.nlb")


def test_one_damaged_code_leaves_the_others():
    """Kills: an archive that is read as a whole or not at all."""
    content = bytearray(written(MANY)[0])
    content[-1] ^= 1
    result = read(bytes(content), "x.nlb")
    assert result.code(0) == b"a"
    with pytest.raises(BadInput, match=r"the code of ü.png is damaged"):
        result.code(2)


def test_calls_and_orders_that_a_head_has_no_room_for_are_refused():
    """Kills: 64 calls written as none."""
    with pytest.raises(BadInput, match=r"room for 1\.\.63 calls"):
        written(Archive(b"1234", "raster", 64, [b""], single=True))
    with pytest.raises(BadInput, match="none of raster, dispersed"):
        written(Archive(b"1234", "random:3", 8, [b""], single=True))
