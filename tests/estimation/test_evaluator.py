"""Asking a network: what does not fit into memory, what is computed in which dtype and where."""

import itertools
import json

import pytest
import several
import torch

from nelbo import formats
from nelbo.cli.options import find_device
from nelbo.errors import BadInput
from nelbo.results import environment
from nelbo.tasks.evaluate import evaluate

ERRORS = {
    "CUDA": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    "CPU": RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
    "cuBLAS": RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"),
}


class Narrow(several.Small):
    """Has memory for so many rows at once; remembers how many it was given."""

    def __init__(self, room, error):
        super().__init__()
        self.room, self.error, self.given = room, error, []

    def forward(self, x_t, t):
        self.given.append(len(x_t))
        if len(x_t) > self.room:
            raise self.error
        return super().forward(x_t, t)


@pytest.mark.parametrize("kind", ERRORS)
def test_what_does_not_fit_is_halved_until_it_does_and_stays_so(kind):
    """Kills: a row lost or asked twice in a halved batch, a batch tried whole again and again."""
    images = several.images(20)
    options = {"exhaustive": True, "batch_size": 50, "check": False}
    expected = evaluate(several.small_model(several.Small()), images, **options)
    network = Narrow(13, ERRORS[kind])
    result = evaluate(several.small_model(network), images, **options)
    # two draws of L_0 of 20 images, then twice 100 rows in batches of 50
    assert network.given == [40, 20, *[10] * 4, *[10] * 20]
    assert result.network_evaluations == expected.network_evaluations
    assert result.estimator["batch_size"] == 50
    for name in several.COLUMNS:
        got, wanted = getattr(result.per_image, name), getattr(expected.per_image, name)
        assert torch.allclose(got, wanted, rtol=1e-5, atol=0)


def test_one_row_that_does_not_fit_and_any_other_error_are_errors():
    """Kills: an endless loop, an error of the network taken for want of memory."""
    network = Narrow(0, ERRORS["CUDA"])
    with pytest.raises(torch.OutOfMemoryError, match="Tried to allocate"):
        evaluate(several.small_model(network), several.images(5), exhaustive=True, check=False)
    assert network.given == [10, 5, 3, 2, 1]
    network = Narrow(0, RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        evaluate(several.small_model(network), several.images(5), exhaustive=True, check=False)
    assert network.given == [10]


@pytest.mark.parametrize("kind", ERRORS)
def test_the_check_takes_the_rows_that_fit(kind):
    """Kills: a network that fits two images refused for want of memory for four."""
    network = Narrow(2, ERRORS[kind])
    result = evaluate(several.small_model(network), several.images(5), budget=60)
    assert result.estimator["check"]["network_evaluations"] == 8
    network = Narrow(1, ERRORS[kind])
    with pytest.raises(BadInput, match=r"two images at once do not fit into memory.*--no-check"):
        evaluate(several.small_model(network), several.images(5), budget=60)


def test_the_dtype_is_the_networks_alone(nelbo, zero_run, tmp_path):
    """A network that says 0 says it in any dtype: nothing else may change, in the last bit.

    Kills: states, means or sums in the network's dtype.
    """
    results = []
    for dtype in ("float32", "bfloat16"):
        table, result = tmp_path / f"{dtype}.csv", tmp_path / f"{dtype}.json"
        arguments = ("evaluate", zero_run, "--max-images", 20, "--budget", 200, "--dtype", dtype)
        assert nelbo(*arguments, "--per-image", table, "--json", result)[0] == 0
        tree = json.loads(result.read_text())
        assert tree["environment"].pop("dtype") == dtype
        assert ("x_t_rounded" in tree["model"]) == (dtype == "bfloat16")
        tree["model"].pop("x_t_rounded", None)
        rounded = [warning for warning in tree["warnings"] if "gets x_t in bfloat16" in warning]
        assert len(rounded) == (dtype == "bfloat16")
        assert all("of its noise at every t" in warning for warning in rounded)
        tree["warnings"] = [warning for warning in tree["warnings"] if warning not in rounded]
        del tree["model"]["sha256"], tree["seconds"], tree["command"], tree["content_sha256"]
        limit = tree["estimator"]["check"].pop("limit")
        assert limit == (2e-2 if dtype == "bfloat16" else 1e-3)
        results.append((tree, table.read_bytes()))
    assert results[0] == results[1]


def test_a_bfloat16_network_is_measured_in_float64(run):
    images = several.images(10)
    wide, narrow = formats.load(run), formats.load(run)
    narrow.network.to(torch.bfloat16)
    tables = [evaluate(model, images, budget=200).per_image for model in (wide, narrow)]
    for name in several.COLUMNS:
        columns = [getattr(table, name) for table in tables]
        assert columns[1].dtype == torch.float64
        if name in ("L_T", "L_mid"):
            assert torch.equal(*columns) == (name == "L_T")


@pytest.fixture
def backends():
    """Of convolutions and of matrix products; put back as they were."""
    result = (torch.backends.cudnn.conv, torch.backends.cuda.matmul)
    before = [backend.fp32_precision for backend in result]
    yield result
    for backend, precision in zip(result, before, strict=True):
        backend.fp32_precision = precision


def test_tf32_is_on_where_either_kind_of_product_may_use_it(backends):
    """Kills: the state of matrix products for that of convolutions, which is on by default."""
    assert environment(torch.device("cuda"), torch.float32)["tf32"] is True
    for precisions in itertools.product(("tf32", "ieee"), repeat=2):
        for backend, precision in zip(backends, precisions, strict=True):
            backend.fp32_precision = precision
        assert environment(torch.device("cuda"), torch.float32)["tf32"] == ("tf32" in precisions)
        assert environment(torch.device("cpu"), torch.float32)["tf32"] is False


def test_processes_share_the_gpus_that_there_are(monkeypatch):
    """Kills: cuda:N by the local rank where fewer are visible."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for local, place in {None: 0, "0": 0, "1": 1, "2": 0, "3": 1}.items():
        monkeypatch.delenv("LOCAL_RANK", raising=False)
        if local is not None:
            monkeypatch.setenv("LOCAL_RANK", local)
        assert find_device("auto") == torch.device("cuda", place)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert find_device("auto") == torch.device("cpu")
