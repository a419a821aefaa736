"""Noise as a function of what a row is: reproducible, independent, and of the stated distribution.

Statistical checks use fixed seeds and |z| < 4, so they pass or fail for good.
"""

import math

import pytest
import torch
from scipy import stats
from torch import Tensor

from nelbo.bound.noise import TOGETHER, Block, KeyedNoise

torch.set_num_threads(1)

MASK = 2**64 - 1
GOLDEN = 0x9E3779B97F4A7C15
FIRST, SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def zeros(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.zeros(shape, dtype=dtype)


def signed(bits: int) -> int:
    return bits - 2**64 if bits >= 2**63 else bits


def split_mix(z: int) -> int:
    """SplitMix64's output function on unsigned 64-bit numbers."""
    z = (z ^ (z >> 30)) * FIRST & MASK
    z = (z ^ (z >> 27)) * SECOND & MASK
    return z ^ (z >> 31)


def undo_shift(z: int, shift: int) -> int:
    """The x with x ^ (x >> shift) = z."""
    x = z
    for _ in range(64 // shift):
        x = z ^ (x >> shift)
    return x


def key_whose_first_bits_are(bits: int) -> Tensor:
    """SplitMix64 backwards: every step of it is a bijection."""
    z = undo_shift(bits, 31) * pow(SECOND, -1, 2**64) & MASK
    z = undo_shift(z, 27) * pow(FIRST, -1, 2**64) & MASK
    z = undo_shift(z, 30)
    assert split_mix(z) == bits
    return torch.tensor([signed(z - GOLDEN & MASK)])


def correlation_z(x: Tensor, y: Tensor) -> float:
    """sqrt(n) times the sample correlation: standard normal if x and y are independent."""
    x, y = x.flatten() - x.mean(), y.flatten() - y.mean()
    return float((x * y).sum() / (x.norm() * y.norm())) * math.sqrt(len(x))


def test_the_stream_of_a_key_is_splitmix64():
    """Kills: an arithmetic shift for a logical one, a wrong multiplier, a counter from 0.

    The published outputs of SplitMix64 from the seed 1234567.
    """
    published = (
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    )
    got = KeyedNoise(torch.tensor([1234567])).uniform(zeros(1, 5))
    assert got.tolist() == [[(bits >> 11) * 2.0**-53 for bits in published]]


def test_the_first_numbers_are_pinned():
    """Kills: any change of the stream, which would change every published estimate (H34)."""
    noise = KeyedNoise.of(0, torch.arange(2))
    normal = noise.normal(zeros(2, 3))
    want = [
        [1.1792420001762522, -0.3135668300312453, 0.8823246090283288],
        [0.34042346108851657, -0.06167258339992702, 1.9582798787455056],
    ]
    assert torch.allclose(normal, torch.tensor(want, dtype=torch.float64), rtol=1e-14, atol=0)
    assert noise.uniform(zeros(2, 2)).tolist() == [
        [0.33805245419550545, 0.2691302712263999],
        [0.13870941014555427, 0.9711020828012883],
    ]
    later = KeyedNoise.of(2026, torch.tensor([7, 123456789])).at(torch.tensor([1, 1000]))
    assert later.key.tolist() == [3632499356096882178, -5316929347026404379]


@pytest.mark.parametrize("kind", ["normal", "uniform"])
def test_a_row_does_not_depend_on_its_batch(kind: str):
    """Kills: H34 (noise by rank), H30, a generator that is advanced by its neighbours.

    Whatever the batch's size, order and composition, bit for bit.
    """
    ids, t = torch.arange(100, 117), torch.arange(1, 18)
    like = zeros(17, 3, 5, 5)
    whole = getattr(KeyedNoise.of(9, ids).at(t), kind)(like)
    for b in range(17):
        alone = getattr(KeyedNoise.of(9, ids[b : b + 1]).at(t[b : b + 1]), kind)(like[:1])
        assert torch.equal(alone[0], whole[b])
    order = torch.randperm(17, generator=torch.Generator().manual_seed(0))
    shuffled = getattr(KeyedNoise.of(9, ids[order]).at(t[order]), kind)(like)
    assert torch.equal(shuffled, whole[order])
    chosen = torch.tensor([3, 3, 16, 0])
    some = getattr(KeyedNoise.of(9, ids).at(t).rows(chosen), kind)(like[:4])
    assert torch.equal(some, whole[chosen])


def test_the_first_dimensions_do_not_depend_on_how_many_follow():
    """Kills: a layout of pairs that shifts with the size: only uniform draws promise a prefix."""
    noise = KeyedNoise.of(1, torch.arange(4))
    assert torch.equal(noise.uniform(zeros(4, 3)), noise.uniform(zeros(4, 10))[:, :3])


def test_evaluator_twice_gives_the_same_numbers_and_touches_no_global_state():
    """Kills: hidden state, torch's global generator."""
    noise, like = KeyedNoise.of(1, torch.arange(4)), zeros(4, 6)
    before = torch.get_rng_state()
    first = noise.normal(like)
    torch.rand(3)
    assert torch.equal(noise.normal(like), first)
    torch.set_rng_state(before)
    noise.uniform(like)
    assert torch.equal(torch.get_rng_state(), before)


def test_draws_are_numbered_within_each_example():
    """Kills: rows (draw, example) where (example, draw) is promised."""
    noise = KeyedNoise.of(1, torch.arange(3))
    draws = noise.draws(4)
    for example in range(3):
        for number in range(4):
            row = noise.rows(torch.tensor([example])).draw(torch.tensor([number]))
            assert int(row.key) == int(draws.key[4 * example + number])


COUNT = 40_000
IDS = torch.arange(COUNT)


def once(seed: int = 1, ids: Tensor = IDS) -> KeyedNoise:
    return KeyedNoise.of(seed, ids)


def same(number: int) -> Tensor:
    return torch.full((COUNT,), number)


PAIRS = {
    "neighbouring ids": (once(), once(ids=IDS + 1)),
    "distant ids": (once(), once(ids=IDS + 2**40)),
    "neighbouring seeds": (once(1), once(2)),
    "opposite seeds": (once(1), once(-1)),
    "seed and id swapped": (once(1, IDS), KeyedNoise.of(0, IDS + 1)),
    "neighbouring t": (once().at(same(1)), once().at(same(2))),
    "distant t": (once().at(same(1)), once().at(same(1000))),
    "t and none": (once(), once().at(same(1))),
    "neighbouring draws": (once().draw(same(0)), once().draw(same(1))),
    "a draw and a t": (once().draw(same(1)), once().at(same(1))),
    "a draw and the next t": (once().draw(same(2)), once().at(same(1))),
    "t of two draws": (once().draw(same(0)).at(same(5)), once().draw(same(1)).at(same(5))),
    "t then draw, draw then t": (
        once().at(same(3)).draw(same(4)),
        once().draw(same(4)).at(same(3)),
    ),
}


@pytest.mark.parametrize("pair", PAIRS)
def test_noise_of_different_things_is_uncorrelated(pair: str):
    """Kills: H34 and H35 (noise shared between ranks, times, draws, images or seeds).

    Values, squares and the two kinds of draw.
    """
    one, other = PAIRS[pair]
    assert not bool((one.key == other.key).any())
    like = zeros(COUNT, 2)
    x, y = one.normal(like), other.normal(like)
    assert not bool((x == y).any())
    assert abs(correlation_z(x, y)) < 4
    assert abs(correlation_z(x.square(), y.square())) < 4
    assert abs(correlation_z(x[:, 0], y[:, 1])) < 4
    assert abs(correlation_z(one.uniform(like), other.uniform(like))) < 4


def test_a_time_and_a_draw_never_share_a_key():
    """Kills: at(t) and draw(n) folded alike, so that some t repeats some draw."""
    key = KeyedNoise.of(3, torch.tensor([5])).key.repeat(5000)
    number = torch.arange(5000)
    keys = torch.cat([KeyedNoise(key).at(number).key, KeyedNoise(key).draw(number).key])
    assert len(keys.unique()) == 10_000


def test_no_two_of_many_rows_share_a_key():
    """Kills: a key that forgets one of image, t, draw or seed (64 bits leave 1e-8 for chance)."""
    seeds = [KeyedNoise.of(seed, torch.arange(500)).draws(10) for seed in range(4)]
    times = torch.arange(1, 31).repeat_interleave(5000)
    keys = [KeyedNoise(noise.key.repeat(30)).at(times).key for noise in seeds]
    assert len(torch.cat(keys).unique()) == 4 * 30 * 5000


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_normal_draws_are_standard_normal(dtype: torch.dtype):
    """Kills: a scale or a half-plane lost in Box and Muller's method.

    The first four moments and Kolmogorov and Smirnov's distance, for both of each pair.
    """
    x = KeyedNoise.of(11, torch.arange(100_000)).normal(zeros(100_000, 2, dtype=dtype))
    assert x.dtype == dtype
    assert x.shape == (100_000, 2)
    for column in x.double().unbind(1):
        for power, (mean, var) in {1: (0, 1), 2: (1, 2), 3: (0, 15), 4: (3, 96)}.items():
            z = (float((column**power).mean()) - mean) / math.sqrt(var / 100_000)
            assert abs(z) < 4, power
        assert stats.kstest(column.numpy(), "norm").pvalue > 1e-3
    assert abs(correlation_z(*x.double().unbind(1))) < 4
    assert abs(correlation_z(*x.double().square().unbind(1))) < 4


def test_dimensions_of_an_image_are_independent():
    """Kills: the pairs of Box and Muller's method placed on top of each other."""
    x = KeyedNoise.of(12, torch.arange(20_000)).normal(zeros(20_000, 7))
    for i in range(7):
        for j in range(i):
            assert abs(correlation_z(x[:, i], x[:, j])) < 4
            assert abs(correlation_z(x[:, i].square(), x[:, j].square())) < 4


def test_float32_draws_are_the_float64_draws():
    """Kills: precision that chooses another noise, so that two dtypes are not comparable."""
    noise = KeyedNoise.of(13, torch.arange(1000))
    low, high = noise.normal(zeros(1000, 3, dtype=torch.float32)), noise.normal(zeros(1000, 3))
    assert float((low.double() - high).abs().max()) < 2e-6


@pytest.mark.parametrize("shape", [(2, 1), (2, 2), (2, 7), (2, 3, 4, 4), (2, 1, 5, 5)])
def test_any_shape_is_filled(shape: tuple[int, ...]):
    """Kills: an odd number of dimensions with one left at 0."""
    noise = KeyedNoise.of(0, torch.arange(2))
    for draw in (noise.normal, noise.uniform):
        x = draw(zeros(*shape))
        assert x.shape == shape
        assert len(x.unique()) == x.numel()


def test_normal_draws_reach_six_deviations():
    """Kills: H29 (float32 bits, whose smallest radius variable is 2^-24: 5.8 deviations)."""
    noise = KeyedNoise(key_whose_first_bits_are(0))
    assert math.isclose(float(noise.normal(zeros(1, 1))), math.sqrt(66 * math.log(2)))
    extreme = KeyedNoise(key_whose_first_bits_are(MASK)).normal(zeros(1, 2))
    assert bool(extreme.isfinite().all())
    assert float(extreme.abs().max()) < 1e-4


def test_uniform_draws_are_uniform():
    """Kills: a range other than (0, 1); moments and Kolmogorov and Smirnov's distance."""
    u = KeyedNoise.of(14, torch.arange(100_000)).uniform(zeros(100_000, 1))[:, 0]
    assert abs(float(u.mean()) - 0.5) < 4 * math.sqrt(1 / 12 / len(u))
    assert abs(float(u.square().mean()) - 1 / 3) < 4 * math.sqrt(4 / 45 / len(u))
    assert stats.kstest(u.numpy(), "uniform").pvalue > 1e-3


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_uniform_draws_have_53_random_bits(dtype: torch.dtype):
    """Kills: H29 (24 bits, or a last bit lost in rounding); in float64 whatever like is."""
    u = KeyedNoise.of(15, torch.arange(20_000)).uniform(zeros(20_000, 1, dtype=dtype))[:, 0]
    assert u.dtype == torch.float64
    whole = (u * 2.0**53).long()
    assert torch.equal(whole.double() * 2.0**-53, u)
    for bit in range(53):
        ones = float(((whole >> bit) & 1).sum())
        assert abs(ones - 10_000) < 4 * math.sqrt(5000), bit


@pytest.mark.parametrize("bits", [0, 2**11 - 1, 2**11, MASK - 2**11, MASK])
def test_uniform_draws_are_never_0_or_1(bits: int):
    """Kills: a half added to 53 bits, which rounds to 1 at the top and to even above a half."""
    u = float(KeyedNoise(key_whose_first_bits_are(bits)).uniform(zeros(1, 1)))
    assert 0 < u < 1
    assert u == max(bits >> 11, 0.5) * 2.0**-53


def test_seeds_and_ids_may_be_any_64_bit_numbers():
    """Kills: an overflow that raises, seeds that coincide modulo 2^32, seed and id swapped."""
    ids = torch.tensor([0, -1, 2**63 - 1, -(2**63)])
    seeds = (0, 1, -1, 2**32, 2**63 - 1, -(2**63))
    keys = torch.cat([KeyedNoise.of(seed, ids).key for seed in seeds])
    assert len(keys.unique()) == len(seeds) * len(ids)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_row_of_a_block_has_the_numbers_that_it_has_by_itself(dtype):
    """Kills: another row's numbers, those of no t or of another t, those of another shape."""
    noise, t = KeyedNoise.of(4, torch.arange(6)), torch.tensor([5, 2, 9, 2, 1, 7])
    block, rows = Block(noise, t), slice(2, 5)
    part, alone = block.part(rows), noise.rows(torch.arange(2, 5))
    like, few = zeros(3, 2, 5, dtype=dtype), zeros(3, 1, dtype=dtype)
    other = torch.tensor([1, 2, 3])
    for _ in range(2):
        assert torch.equal(part.at(part.t).normal(like), alone.at(t[rows]).normal(like))
        assert torch.equal(part.at(part.t).normal(few), alone.at(t[rows]).normal(few))
    assert torch.equal(part.at(part.t).uniform(like), alone.at(t[rows]).uniform(like))
    assert torch.equal(part.at(other).normal(like), alone.at(other).normal(like))
    assert torch.equal(part.normal(like), alone.normal(like))
    assert torch.equal(part.uniform(like), alone.uniform(like))
    assert torch.equal(part.rows(other - 1).normal(like), alone.rows(other - 1).normal(like))
    six = like.repeat(2, 1, 1)
    assert torch.equal(part.draws(2).normal(six), alone.draws(2).normal(six))


def test_as_many_rows_are_made_together_as_fit():
    """Kills: none at all where one batch is larger than that."""
    assert [Block.length(n) for n in (TOGETHER // 3, TOGETHER, TOGETHER + 1)] == [3, 1, 1]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_opposite_noise_has_the_other_sign_in_the_rows_that_are_named(dtype):
    """Law: normals -z and uniforms 1 - u, to the last bit but one, and the same law as before.

    Kills: the sign of every row, one that `at`, `draw` or `rows` forgets, a uniform number of 0.
    """
    where = torch.tensor([True, False, True, False])
    noise, like = KeyedNoise.of(1, torch.arange(4)), zeros(4, 7, dtype=dtype)
    sign = torch.where(where, -1, 1)[:, None].to(dtype)
    assert torch.equal(noise.opposite(where).normal(like), sign * noise.normal(like))
    t, rows = torch.tensor([3, 1, 4, 1]), torch.tensor([2, 1, 2])
    later = noise.opposite(where).draw(t).at(t).rows(rows).normal(like[:3])
    assert torch.equal(later, sign[rows] * noise.draw(t).at(t).rows(rows).normal(like[:3]))
    u, other = noise.uniform(like), noise.opposite(where).uniform(like)
    mirrored = torch.where(where[:, None], 1 - u, u)
    torch.testing.assert_close(other, mirrored, rtol=0, atol=2.0**-52)
    assert ((other > 0) & (other < 1)).all()
    many = KeyedNoise.of(3, torch.arange(40)).opposite(torch.ones(40).bool())
    assert stats.kstest(many.uniform(zeros(40, 500)).flatten().numpy(), "uniform").pvalue > 1e-4
