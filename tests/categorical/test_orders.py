"""Orders of positions: permutations of any shape, dispersed where they promise it, in groups."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nelbo.categorical.orders import NAMED, Order, groups, read_order
from nelbo.errors import BadInput

torch.set_num_threads(1)

shapes = st.one_of(
    st.tuples(st.integers(1, 40)),
    st.tuples(st.integers(1, 12), st.integers(1, 12)),
    st.tuples(st.integers(1, 4), st.integers(1, 12), st.integers(1, 12)),
)
RANDOM_0 = [0, 2, 9, 1, 8, 5, 4, 3, 6, 7]


def names_of(shape):
    """The orders that an example of this shape has."""
    return [name for name in [*NAMED, "random:7"] if name != "left-to-right" or len(shape) == 1]


def apart(order, count):
    """The least distance between two of the first `count` pixels."""
    row, column = torch.unravel_index(order.positions[:count], (1, *order.shape)[-2:])
    pixels = torch.stack([row, column], 1).double()
    return float(torch.pdist(pixels).min())


@settings(max_examples=30, deadline=None)
@given(shapes, st.data())
def test_each_order_is_a_permutation_of_any_shape_and_its_groups_part_it(shape, data):
    """Kills: a Bayer matrix as large as the image; a last group that is left out."""
    D = math.prod(shape)
    calls = data.draw(st.integers(1, D))
    for name in names_of(shape):
        order = read_order(name, shape)
        assert order.positions.sort().values.tolist() == list(range(D))
        parts = groups(order, calls)
        assert torch.cat(parts).tolist() == order.positions.tolist()
        assert len(parts) == calls
        assert {len(part) for part in parts} <= {D // calls, -(-D // calls)}


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 33), st.integers(2, 33))
def test_the_first_pixels_of_a_dispersed_order_are_far_apart(height, width):
    """The first HW / 4^j are 2^j apart, where raster's are neighbours. Kills: high bits first."""
    order, rows = (read_order(name, (height, width)) for name in ("dispersed", "raster"))
    for j in range(1, 6):
        count = height * width // 4**j
        if count > 1:
            assert apart(order, count) >= 2**j
            assert apart(rows, count) == 1


def test_the_dispersed_order_of_four_by_four_is_bayers_matrix():
    """Bayer's own table. Kills: rows and columns exchanged in the diagonal."""
    ranks = torch.empty(16, dtype=torch.int64)
    ranks[read_order("dispersed", (4, 4)).positions] = torch.arange(16)
    assert ranks.reshape(4, 4).tolist() == [
        [0, 8, 2, 10],
        [12, 4, 14, 6],
        [3, 11, 1, 9],
        [15, 7, 13, 5],
    ]


def test_a_sequence_is_dispersed_by_its_reversed_bits():
    """A row of the matrix. Kills: a sequence taken as a column of channels."""
    assert read_order("dispersed", (8,)).positions.tolist() == [0, 4, 2, 6, 1, 5, 3, 7]
    assert read_order("dispersed", (6,)).positions.tolist() == [0, 4, 2, 1, 5, 3]


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 4), st.integers(1, 9), st.integers(1, 9), st.data())
def test_no_call_reveals_two_channels_of_a_pixel(channels, height, width, data):
    """From `channels` equal calls on. Kills: the channels of a pixel revealed together."""
    pixels = height * width * channels  # divides into equal groups for each such call
    order = read_order("dispersed", (channels, height, width * channels))
    calls = channels * data.draw(st.sampled_from([k for k in range(1, pixels) if pixels % k == 0]))
    for part in groups(order, calls):
        pixel = part % pixels
        assert len(pixel.unique()) == len(pixel)


def test_raster_has_the_channels_of_a_pixel_one_after_another():
    """Kills: channel by channel, as the values lie in memory."""
    assert read_order("raster", (2, 1, 3)).positions.tolist() == [0, 3, 1, 4, 2, 5]
    assert read_order("left-to-right", (4,)).positions.tolist() == [0, 1, 2, 3]


def test_random_orders_are_those_of_any_machine():
    """The words of Philox, stored. Kills: a generator that a version of NumPy may change."""
    assert read_order("random:0", (10,)).positions.tolist() == RANDOM_0
    assert read_order("random:0", (2, 5)).positions.tolist() == RANDOM_0
    assert read_order("random:1", (10,)) != read_order("random:0", (10,))


def test_random_orders_are_even():
    """A chi-square of the 24 orders of four positions at 1,200 seeds. Kills: half of the seeds."""
    counts = torch.zeros(4, 4, 4, 4)
    for seed in range(1200):
        counts[tuple(read_order(f"random:{seed}", (4,)).positions.tolist())] += 1
    counts = counts[counts > 0]
    assert len(counts) == 24
    assert ((counts - 50) ** 2 / 50).sum() < 49.7  # 23 degrees of freedom, 1 in 1,000


def test_an_order_is_read_from_a_file(tmp_path):
    """With blanks, commas or new lines between. Kills: positions counted from 1."""
    file = tmp_path / "order.txt"
    for text in ("2 0\n1 3\n", "2,0, 1,3", "2\n0\r\n1\n3"):
        file.write_text(text)
        order = read_order(str(file), (2, 2))
        assert order == Order("here", (2, 2), torch.tensor([2, 0, 1, 3]))
        assert hash(order) == hash(Order("here", (2, 2), torch.tensor([2, 0, 1, 3])))
        assert order != Order("here", (4,), torch.tensor([2, 0, 1, 3]))
        assert order.name == str(file)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("0 1 2", "it has 3 positions"),
        ("0 1 2 2", "2 stands in it more than once"),
        ("0 1 2 4", "4 is none of 0..3"),
        ("0 1 2 3 1", "it has 5 positions"),
        ("1 2 3 4", "4 is none of 0..3"),
        ("0 1 two 3", "'two' is no position"),
        ("0 -1 2 3", "'-1' is no position"),
        ("", "'' is no position"),
    ],
)
def test_a_file_that_is_no_permutation_is_refused_by_name(tmp_path, text, why):
    """Kills: positions that are revealed twice, or never."""
    file = tmp_path / "order.txt"
    file.write_text(text)
    with pytest.raises(BadInput, match=f"order.txt is no order.*{why}"):
        read_order(str(file), (2, 2))


@pytest.mark.parametrize(
    ("text", "shape", "why"),
    [
        ("dispersd", (2, 2), "did you mean dispersed"),
        ("random:x", (2, 2), "must be a whole number; got 'x'"),
        ("random:18446744073709551616", (2, 2), "must lie in 0..18446744073709551615"),
        ("left-to-right", (2, 2), "give raster"),
        ("raster", (1, 2, 3, 4), "got \\[1, 2, 3, 4\\]"),
        ("raster", (0,), "got \\[0\\]"),
    ],
)
def test_what_is_no_order_is_refused(text, shape, why):
    with pytest.raises(BadInput, match=why):
        read_order(text, shape)


@pytest.mark.parametrize("calls", [0, 5, 1.5])
def test_calls_that_cannot_be_are_refused(calls):
    with pytest.raises(BadInput, match="calls"):
        groups(read_order("raster", (4,)), calls)
