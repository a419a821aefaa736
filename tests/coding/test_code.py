"""Bits to bytes: masses are a distribution, codes are as long as it says, every pixel returns."""

import math

import numpy as np
import pytest
import torch
from twins import float_model, random_images, twin

from nelbo.categorical.orders import read_order
from nelbo.coding import TOTAL, OrderedCode, masses
from nelbo.coding.entropy import Decoder, encoded
from nelbo.errors import BadInput


def random_masses(draw, D, n):
    """Masses from even to nearly certain."""
    share = draw.dirichlet([10.0 ** draw.uniform(-2, 1)] * n, size=D)
    result = 1 + np.floor(share * (TOTAL - n)).astype(np.int64)
    result[:, 0] += TOTAL - result.sum(1)
    return torch.from_numpy(result)


def test_masses_are_those_of_pythons_whole_numbers_and_add_up():
    """Kills: a mass of zero; a remainder that is lost; entries past the end of the table."""
    exp = twin().network.exp
    draw = torch.Generator().manual_seed(0)
    logits = torch.randint(-4000, 4000, (40, 5), generator=draw)
    logits[0] = 7  # all alike: the first has the remainder
    table = masses(logits, exp)
    for row, logit in zip(table.tolist(), logits.tolist(), strict=True):
        e = [int(exp[max(logit) - x]) if max(logit) - x < len(exp) else 0 for x in logit]
        wanted = [1 + x * (TOTAL - 5) // sum(e) for x in e]
        wanted[e.index(max(e))] += TOTAL - sum(wanted)
        assert row == wanted
        assert sum(row) == TOTAL
        assert min(row) >= 1


def exact_interval(levels, masses_of):
    """The range coder in Python's whole numbers: (low, range, bits of their scale)."""
    low, width, words = 0, 2**64 - 1, 2
    for level, row in zip(levels.tolist(), masses_of.tolist(), strict=True):
        step = width // TOTAL
        low, width = low + step * sum(row[:level]), step * row[level]
        if width < 2**32:
            low, width, words = low << 32, width << 32, words + 1
    return low, width, 32 * words


def test_a_code_lies_in_the_exact_interval_and_no_shorter_one_does():
    """Kills: masses that constriction rounds; an end that is not cut to bytes, or cut too far."""
    draw = np.random.default_rng(1)
    for _ in range(200):
        D, n = int(draw.integers(1, 60)), int(draw.integers(2, 20))
        table = random_masses(draw, D, n)
        chance = table.numpy() / TOTAL
        levels = torch.tensor([int(draw.choice(n, p=p)) for p in chance])
        code = encoded(levels, table)
        low, width, length = exact_interval(levels, table)
        value = int.from_bytes(code, "big") << (length - 8 * len(code))
        assert low <= value < low + width
        if code:
            unit = 1 << (length - 8 * (len(code) - 1))
            assert -(-low // unit) * unit >= low + width
        ideal = -float(np.log2(chance[np.arange(D), levels]).sum())
        assert 8 * len(code) < ideal + 8 + 1e-3
        parts = Decoder(code)
        again = [parts.next(part) for part in table.split(7)]
        assert np.concatenate(again).tolist() == levels.tolist()


def test_bytes_that_are_no_code_decode_to_levels_or_are_refused():
    """Kills: a crash of the coder on bytes that it did not write."""
    draw, refused = np.random.default_rng(2), 0
    for _ in range(300):
        table = random_masses(draw, 30, 5)
        try:
            levels = Decoder(draw.bytes(int(draw.integers(20)))).next(table)
        except BadInput:
            refused += 1
        else:
            assert ((levels >= 0) & (levels < 5)).all()
    assert Decoder(b"\xff" * 8)  # made, and refused only where it is read
    with pytest.raises(BadInput, match="no code of an image"):
        Decoder(b"\xff" * 8).next(torch.tensor([[1, 1, TOTAL - 2]]))


def odd_images(n, shape, seed):
    """Constant 0, constant maximum, a checkerboard, and noise."""
    noise = random_images(seed, 27, n=n, shape=shape).levels.long()
    board = torch.arange(noise[0].numel()).reshape(shape) % 2 * (n - 1)
    zero = torch.zeros(shape, dtype=torch.int64)
    return torch.cat([torch.stack([zero, zero + n - 1, board]), noise])


@pytest.mark.parametrize("order", ["dispersed", "raster"])
@pytest.mark.parametrize(("n", "shape"), [(5, (1, 4, 4)), (2, (1, 4, 6)), (7, (3, 4, 4))])
def test_random_twins_return_every_pixel_of_odd_images(n, shape, order):
    """540 round trips. Kills: positions in another order; a time of other masks."""
    for seed in range(3):
        model = twin(seed, n, shape)
        images = odd_images(n, shape, seed)
        code = OrderedCode(model, read_order(order, shape), calls=3 + seed, batch_size=16)
        coded = code.encode(images)
        assert torch.equal(code.decode(coded.contents), images)
        alone = OrderedCode(model, code.order, code.calls, batch_size=1)
        assert torch.equal(alone.decode(coded.contents[:2]), images[:2])
        assert (coded.bits < coded.ideal + 8 + 1e-3).all()


def test_the_ideal_length_is_the_ordered_likelihood():
    """By the chain's own softmax. Kills: a group that sees itself, or not what is before."""
    model, images = twin(1), random_images(5, 6)
    order = read_order("dispersed", model.shape)
    code = OrderedCode(model, order, calls=4)
    coded, x = code.encode(images.levels), images.levels.long().flatten(1)
    hidden, wanted = torch.full_like(x, 5), torch.zeros(6, dtype=torch.float64)
    for positions in code.groups:
        t = torch.full((6,), int((hidden[0] == 5).sum()) // 2)  # 16 positions, T = 8
        log_p = model.chain.p.log_pi(hidden.reshape(-1, 1, 4, 4), t).flatten(1, 3)
        seen = log_p.double().gather(-1, x[..., None]).squeeze(-1)
        wanted -= seen[:, positions].sum(1) / math.log(2)
        hidden[:, positions] = x[:, positions]
    assert coded.likelihood.numpy() == pytest.approx(wanted.numpy(), rel=1e-5)
    assert coded.ideal.numpy() == pytest.approx(wanted.numpy(), abs=1e-3)


def test_a_preview_has_the_pixels_of_its_groups():
    """Kills: groups counted from the end; a guess in the place of what was read."""
    model, images = twin(2), random_images(3, 4)
    code = OrderedCode(model, read_order("dispersed", model.shape), calls=8)
    coded = code.encode(images.levels)
    seen = code.decode(coded.contents, first=3)
    known = torch.cat(code.groups[:3])
    assert torch.equal(seen.flatten(1)[:, known], images.levels.long().flatten(1)[:, known])
    assert code.decode(coded.contents, first=0).shape == images.levels.shape


def test_a_network_in_floating_point_is_refused_with_the_way():
    """Kills: a codec whose decoder sees other bits on another machine."""
    with pytest.raises(BadInput, match="nelbo improve --integers"):
        OrderedCode(float_model(), read_order("raster", (1, 4, 4)), 4)
