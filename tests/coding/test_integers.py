"""Whole numbers: exact against Python's own, equal on every path, and within declared ranges."""

import hashlib
import itertools
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.functional import one_hot
from twins import float_model, random_images, twin

import nelbo
from nelbo import checkpoint
from nelbo.errors import BadInput
from nelbo.networks.integers import Convolution, Norm, floor_root
from nelbo.networks.integers.arithmetic import LARGEST, UNIT, WIDE

GOLDEN = Path(__file__).parent.parent / "golden"


def test_the_root_is_the_largest_whole_number_whose_square_is_no_larger():
    """Kills: a root that float64 rounds up to the next whole number is left."""
    roots = torch.tensor([1, 2, 3, 2**10, 94_906_267, 2**30 - 1, 2**31 - 1])
    x = torch.cat([roots * roots - 1, roots * roots, roots * roots + 1])
    assert floor_root(x).tolist() == [math.isqrt(int(v)) for v in x]


def filled_convolution(seed, stride=1, kernel=3):
    draw = torch.Generator().manual_seed(seed)
    layer = Convolution("toy", nn.Conv2d(3, 4, kernel, stride, padding=kernel // 2))
    layer.weight.copy_(torch.randint(-2047, 2048, layer.weight.shape, generator=draw))
    layer.bias.copy_(torch.randint(-(2**30), 2**30, layer.bias.shape, generator=draw))
    layer.factor.copy_(torch.randint(2**20, layer.factor.shape, generator=draw))
    layer.shift.fill_(32)
    a = torch.randint(-LARGEST, LARGEST + 1, (2, 3, 5, 6), generator=draw)
    return layer, a


@pytest.mark.parametrize(("stride", "kernel"), [(1, 3), (2, 3), (1, 1)])
@pytest.mark.parametrize("kind", [torch.float64, torch.int64])
def test_a_convolution_is_that_of_pythons_whole_numbers(stride, kernel, kind):
    """Kills: a quotient that is rounded towards zero; a place of the kernel out of turn."""
    layer, a = filled_convolution(1, stride, kernel)
    output, pad = layer(a, kind), kernel // 2
    for b, o, y, x in [
        (0, 0, 0, 0),
        (1, 3, 2, 1),
        (0, 2, output.shape[2] - 1, output.shape[3] - 1),
    ]:
        total = int(layer.bias[o])
        for c in range(3):
            for i in range(kernel):
                for j in range(kernel):
                    row, column = y * stride + i - pad, x * stride + j - pad
                    if 0 <= row < 5 and 0 <= column < 6:
                        total += int(layer.weight[o, c, i, j]) * int(a[b, c, row, column])
        wanted = (total * int(layer.factor[o]) + 2**31) // 2**32
        assert int(output[b, o, y, x]) == max(-LARGEST, min(LARGEST, wanted))


@pytest.mark.parametrize("kind", [torch.float64, torch.int64])
def test_products_that_nearly_cancel_add_up_exactly(kind):
    """2047 x 32767 - 2047 x 32766. Kills: sums in float32, which is off by 1 in any order."""
    layer, a = filled_convolution(1, 1, 1)
    layer.weight.zero_()
    layer.weight[:, 0], layer.weight[:, 1] = 2047, -2047
    layer.bias.zero_()
    layer.factor.fill_(2**32)
    a[:, 0], a[:, 1] = LARGEST, LARGEST - 1
    assert (layer(a, kind) == 2047).all()


def test_a_norm_is_that_of_pythons_whole_numbers():
    """Kills: negative quotients that are rounded towards zero; rows of another time."""
    layer = Norm("toy", nn.GroupNorm(2, 4), 6, rows=3)
    draw = torch.Generator().manual_seed(2)
    layer.scale.copy_(2**WIDE + torch.randint(2**18, (3, 4), generator=draw))  # shows a unit
    layer.offset.copy_(torch.randint(-(2**28), 2**28, (3, 4), generator=draw))
    layer.eps.fill_(1000)
    h = torch.randint(-3000, 3000, (2, 4, 2, 3), generator=draw)
    output = layer(h, torch.tensor([2, 0]))
    for b, row in ((0, 2), (1, 0)):
        for c, y_at, x_at in itertools.product(range(4), range(2), range(3)):
            group = [int(v) for v in h[b, c // 2 * 2 : c // 2 * 2 + 2].flatten()]
            n, total = len(group), sum(group)
            spread = n * sum(v * v for v in group) - total * total
            root = math.isqrt((spread << 2 * layer.finer) + 1000)
            y = ((n * int(h[b, c, y_at, x_at]) - total) << (UNIT + layer.finer)) // root
            whole = y * int(layer.scale[row, c]) + int(layer.offset[row, c])
            assert int(output[b, c, y_at, x_at]) == (whole + 2 ** (WIDE - 1)) // 2**WIDE


def states(images, model):
    n = model.grid.n
    hidden = torch.arange(images.levels[0].numel()).reshape(model.shape) % 2 == 0
    x = torch.where(hidden, n, images.levels.long())
    return one_hot(x, n + 1).movedim(-1, 2).flatten(1, 2)


@pytest.mark.parametrize("seed", range(3))
def test_logits_are_the_same_bits_in_any_batch_with_any_threads_and_in_int64(seed):
    """Kills: a sum that is not exact, such as one in float32, or of activations not whole."""
    model = twin(seed)
    x, row = states(random_images(seed, 64), model), torch.arange(64) % 8
    network = model.network
    wanted = network.logits(x, row)
    threads, onednn = torch.get_num_threads(), torch.backends.mkldnn.enabled
    try:
        for count, batch, enabled in ((1, 1, True), (2, 7, False), (2, 64, True)):
            torch.set_num_threads(count)
            torch.backends.mkldnn.enabled = enabled
            parts = zip(x.split(batch), row.split(batch), strict=True)
            assert torch.equal(torch.cat([network.logits(*part) for part in parts]), wanted)
    finally:
        torch.set_num_threads(threads)
        torch.backends.mkldnn.enabled = onednn
    network.kind = torch.int64
    try:
        assert torch.equal(network.logits(x, row), wanted)
    finally:
        network.kind = torch.float64


def test_a_layer_whose_declared_range_passes_2_to_the_53_is_refused_by_name():
    """Kills: ranges that are observed, where the declared ones allow more; ranges that overflow."""
    for bias in (2**53, 2**63 - 1, -(2**63)):
        layer, _ = filled_convolution(3)
        layer.bias[1] = bias
        with pytest.raises(BadInput, match=r"the layer toy is not exact.*sum of products.*2\^53"):
            layer.check(LARGEST)


@pytest.mark.parametrize("shift", [-1, 64, 2**62])
def test_a_shift_that_no_whole_number_has_is_refused(shift):
    """Kills: a shift by more than 63 bits, which differs from one processor to another."""
    layer, _ = filled_convolution(3)
    layer.shift.fill_(shift)
    with pytest.raises(BadInput, match=f"toy shifts by {shift} bits"):
        layer.check(LARGEST)


@pytest.mark.parametrize("name", ["scale", "offset"])
def test_a_norm_whose_scaled_values_overflow_is_refused(name):
    """Kills: the magnitude of -2^63 taken in int64, where it is negative."""
    layer = Norm("toy", nn.GroupNorm(2, 4), 6, rows=3)
    layer.eps.fill_(1000)
    layer.check(LARGEST)
    getattr(layer, name)[1, 2] = -(2**63)
    with pytest.raises(BadInput, match=r"the layer toy is not exact.*a scaled value"):
        layer.check(LARGEST)


def test_a_twin_is_checked_when_it_is_loaded():
    """Kills: a state whose sums overflow is taken as it is."""
    network = twin().network
    state = {name: x.clone() for name, x in network.state_dict().items()}
    state["body.blocks.0.first.bias"][0] = 2**53
    other = type(network)(float_model().network, network.sizes)
    with pytest.raises(BadInput, match=r"blocks\.0\.first\.2"):
        other.load_state_dict(state)


def test_a_twin_with_fewer_rows_than_positions_is_refused(tmp_path):
    """Kills: a table as long as its file says, which coding reads past its end."""
    stored = checkpoint.load(GOLDEN / "twin.safetensors")
    tensors = {**stored.tensors, "integers.rows": stored.tensors["integers.rows"][:-1].clone()}
    path = tmp_path / "short.safetensors"
    checkpoint.save(path, checkpoint.Checkpoint(tensors, stored.description))
    with pytest.raises(BadInput, match=r"short\.safetensors contradicts itself.*rows"):
        nelbo.load(path)


def test_a_time_that_is_none_of_the_chains_is_refused():
    """Kills: the nearest row in place of none."""
    with pytest.raises(BadInput, match="tables of its own chain's times"):
        twin().network(torch.zeros(1, 6, 4, 4), torch.tensor([0.123]))


def logits_digest() -> str:
    """The digest of the golden twin's logits of 20 digits, every other pixel hidden, at each t."""
    model = nelbo.load(GOLDEN / "twin.safetensors")
    x = states(nelbo.data.load("digits:test").first(20), model)
    rows = len(model.network.times)
    whole = [model.network.logits(x, torch.full((20,), row)) for row in range(rows)]
    return hashlib.sha256(torch.stack(whole).numpy().astype("<i8").tobytes()).hexdigest()


def test_the_golden_twins_logits_are_the_stored_bits_here():
    """Kills: any change of the arithmetic, which would strand the files of this version."""
    assert logits_digest() == json.loads((GOLDEN / "twin.json").read_text())["logits_sha256"]


def test_the_golden_twins_logits_are_the_stored_bits_without_vector_instructions():
    """Kills: a result that depends on the processor."""
    code = "from test_integers import logits_digest; print(logits_digest())"
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "ATEN_CPU_CAPABILITY": "default", "PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False
    )
    wanted = json.loads((GOLDEN / "twin.json").read_text())["logits_sha256"]
    assert done.stdout.strip() == wanted, done.stderr
