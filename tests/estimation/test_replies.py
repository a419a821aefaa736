"""The columns that batches fill, in any order."""

import torch

from nelbo.estimation.replies import Replies


def test_the_columns_are_those_of_all_batches_in_their_order():
    """Kills: a batch where it came, rows of a batch that came twice counted twice."""
    draw = torch.Generator().manual_seed(0)
    first, second = torch.rand(10, 2, generator=draw), torch.rand(10, 0, generator=draw).double()
    replies, sizes = Replies([4, 4, 0, 2]), (4, 4, 0, 2)
    parts = list(zip(first.split(sizes), second.split(sizes), strict=True))
    for b, rows in ((3, 2), (0, 6), (0, 6), (2, 6), (1, 10)):
        replies.put({b: parts[b]})
        assert replies.rows == rows
    assert [column.tolist() for column in replies.columns] == [first.tolist(), second.tolist()]
    assert replies.columns[1].dtype == torch.float64
    assert replies.of(1)[0].tolist() == first[4:8].tolist()
    assert replies.there == {0, 1, 2, 3}


def test_the_pieces_that_came_are_not_kept():
    """One storage for each column: what is kept between large pieces leaves no room for the next.

    Kills: the pieces themselves in a list.
    """
    replies = Replies([1] * 100)
    for b in range(100):
        replies.put({b: (torch.full((1, 3), float(b)),)})
    (column,) = replies.columns
    assert {replies.of(b)[0].untyped_storage().data_ptr() for b in range(100)} == {
        column.untyped_storage().data_ptr()
    }
