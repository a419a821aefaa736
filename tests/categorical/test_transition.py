"""Transitions: structured forms against their matrices, products exactly, and what is refused."""

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath import mp, mpf
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from nelbo import testing
from nelbo.bound.noise import KeyedNoise
from nelbo.categorical.dense import Dense, discretized_gaussian
from nelbo.categorical.forward import TRANSITIONS, CategoricalForward
from nelbo.categorical.resampling import Resampling, absorbing, resampling, uniform
from nelbo.categorical.transition import Transition
from nelbo.errors import BadInput

torch.set_num_threads(1)

FLOAT = torch.float64
INF = math.inf
T = 6
BETAS = [0.05, 0.1, 0.3, 0.2, 0.6, 0.9]
TARGET = [0.5, 0.0, 0.3, 0.2]


def generic(T: int, K: int, seed: int = 0) -> Dense:
    """Any matrices, a tenth of their entries 0."""
    generator = torch.Generator().manual_seed(seed)
    weights = torch.rand(T, K, K, generator=generator, dtype=FLOAT)
    weights = weights * (torch.rand(T, K, K, generator=generator) > 0.1) + torch.eye(K)
    return Dense(weights / weights.sum(2, keepdim=True), FLOAT)


EVERY: dict[str, Transition] = {
    "uniform": uniform(BETAS, 4, FLOAT),
    "uniform-forgets": uniform([*BETAS[:-1], 1.0], 5, FLOAT),
    "absorbing": absorbing(BETAS, 4, FLOAT),
    "absorbing-ends": absorbing([1 / (T - t) for t in range(T)], 5, FLOAT),
    "resampling": resampling(BETAS, TARGET, FLOAT),
    "discretized-gaussian": discretized_gaussian(BETAS, 6, FLOAT),
    "generic": generic(T, 5),
    "sub-uniform": uniform([b / 4 for b in BETAS * 3], 4, FLOAT).subchain([2, 3, 7, 8, 14, 18]),
    "sub-generic": generic(9, 3).subchain([1, 2, 4, 7, 8, 9]),
}
RESAMPLING = {name: q for name, q in EVERY.items() if isinstance(q, Resampling)}
every_transition = pytest.mark.parametrize("q", EVERY.values(), ids=EVERY)
every_resampling = pytest.mark.parametrize("q", RESAMPLING.values(), ids=RESAMPLING)


def matrix(q: Transition, t: int) -> Tensor:
    """Q_t, by its rows."""
    return q.log_row(torch.arange(q.K)[None], torch.tensor([t]))[0].exp()


def matrix_bar(q: Transition, t: int) -> Tensor:
    """Qbar_t, by its rows."""
    return q.log_row_bar(torch.arange(q.K)[None], torch.tensor([t]))[0].exp()


def definition(q: Resampling) -> Dense:
    """The same chain as matrices: (1 - beta_t) I + beta_t 1 m^T."""
    beta = -torch.expm1(q.log_alpha)[:, None, None]
    tables = (1 - beta) * torch.eye(q.K, dtype=FLOAT) + beta * q.target
    return Dense(tables / tables.sum(2, keepdim=True), FLOAT)


def states(K: int, *shape: int) -> Tensor:
    return torch.randint(K, shape, generator=torch.Generator().manual_seed(K))


def assert_close(got: Tensor, want: Tensor, tolerance: float = 1e-12) -> None:
    torch.testing.assert_close(got, want, rtol=tolerance, atol=tolerance)


# Every transition is a stack of row-stochastic matrices and their products.


@every_transition
def test_rows_add_up_to_1(q: Transition):
    """Kills: the mass of the diagonal counted twice or left out."""
    for t in range(1, q.T + 1):
        for rows in (matrix(q, t), matrix_bar(q, t)):
            assert bool((rows >= 0).all())
            assert_close(rows.sum(1), torch.ones(q.K, dtype=FLOAT), 1e-14)


@every_transition
def test_qbar_is_the_product_of_the_steps(q: Transition):
    """Chapman-Kolmogorov, as matrices. Kills: products in reverse order, alpha for alpha_bar."""
    product = torch.eye(q.K, dtype=FLOAT)
    assert_close(matrix_bar(q, 0), product, 0)
    for t in range(1, q.T + 1):
        product = product @ matrix(q, t)
        assert_close(matrix_bar(q, t), product, 1e-14)


@every_transition
def test_columns_are_the_columns_of_the_rows(q: Transition):
    """Kills: a column that is a row (a transpose that uniform chains do not show)."""
    x = torch.arange(q.K)[None]
    for t in range(1, q.T + 1):
        time = torch.tensor([t])
        assert_close(q.log_column(x, time)[0].exp(), matrix(q, t).T, 1e-15)
        assert_close(q.log_column_bar(x, time)[0].exp(), matrix_bar(q, t).T, 1e-15)


@every_transition
def test_a_mixture_is_a_weighted_sum_of_rows(q: Transition):
    """Weights that add up to 1 or to 7, some 0. Kills: a mixture of columns, a sum of logs."""
    weights = torch.rand(3, 2, q.K, generator=torch.Generator().manual_seed(0), dtype=FLOAT)
    weights[1, :, 1:] = 0
    weights[2] *= 7
    for t in range(1, q.T + 1):
        mixed = q.log_mix_bar(weights.log(), torch.tensor([t] * 3))
        assert_close(mixed.exp(), weights @ matrix_bar(q, t))


@pytest.mark.parametrize("name", ["uniform", "uniform-forgets", "discretized-gaussian"])
def test_uniform_and_gaussian_chains_are_doubly_stochastic(name: str):
    """So they end in the uniform law. Kills: rows divided by their own sums (A.2.3)."""
    q = EVERY[name]
    for t in range(1, q.T + 1):
        assert_close(matrix(q, t).sum(0), torch.ones(q.K, dtype=FLOAT), 1e-14)
        assert_close(matrix_bar(q, t).sum(0), torch.ones(q.K, dtype=FLOAT), 1e-14)


# The structured form is the matrix it stands for.


@every_resampling
def test_the_structured_operations_are_those_of_the_matrices(q: Resampling):
    """All five. Kills: log m[x] for log m, the target's own mass left out of the diagonal."""
    dense = definition(q)
    x, t = states(q.K, 7 * q.T, 2, 3), torch.arange(1, q.T + 1).repeat(7)
    for operation in ("log_row", "log_column", "log_row_bar", "log_column_bar"):
        got, want = getattr(q, operation)(x, t), getattr(dense, operation)(x, t)
        assert got.shape == (*x.shape, q.K)
        # In a chain that forgets, 1 - beta_T rounds to 0, not quite alike in the two.
        assert_close(got.exp(), want.exp())
        assert bool((got[want > -INF] - want[want > -INF]).abs().max() <= 1e-12)
        assert torch.equal(got > -INF, want > -INF)
    log_w = torch.randn(len(t), 2, 3, q.K, generator=torch.Generator().manual_seed(1), dtype=FLOAT)
    log_w[:, 0, :, 0] = -INF
    assert_close(q.log_mix_bar(log_w, t).exp(), dense.log_mix_bar(log_w, t).exp())


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(
    betas=st.lists(st.floats(1e-9, 1 - 1e-9), min_size=1, max_size=6),
    weights=st.lists(st.integers(0, 5), min_size=2, max_size=6).filter(any),
)
def test_any_resampling_is_its_matrices(betas: list[float], weights: list[int]):
    """Kills: a special case for uniform or absorbing."""
    q = resampling(betas, [w / sum(weights) for w in weights], FLOAT)
    dense = definition(q)
    for t in range(1, q.T + 1):
        assert_close(matrix(q, t), matrix(dense, t), 1e-14)
        assert_close(matrix_bar(q, t), matrix_bar(dense, t), 1e-14)


@pytest.mark.parametrize("K", [2, 17])
@pytest.mark.parametrize("beta", [1e-9, 1e-4, 0.02])
def test_logarithms_keep_their_digits_over_a_thousand_steps(beta: float, K: int):
    """Against 50 digits. Kills: cumprod of 1 - beta, log(1 - alpha_bar), float32 tables (H22)."""
    times = (1, 2, 10, 500, 1000)
    q, x = uniform([beta] * 1000, K, FLOAT), torch.zeros(len(times), 1).long()
    rows = q.log_row_bar(x, torch.tensor(times))[:, 0]
    with mp.workdps(50):
        for t, row in zip(times, rows, strict=True):
            abar = (1 - mpf(beta)) ** t
            same, other = mp.log(abar + (1 - abar) / K), mp.log((1 - abar) / K)
            assert abs(mpf(float(row[0])) - same) <= 1e-14 * abs(same)
            assert abs(mpf(float(row[1])) - other) <= 1e-14 * abs(other)


def test_an_absorbing_chain_keeps_a_state_or_masks_it():
    """Kills: the first state as the mask, a mask that is left again, if only by rounding."""
    q = absorbing([0.3, 0.45, 0.1], 3, FLOAT)
    mask, t = torch.full((4, 1), 2), torch.tensor([0, 1, 2, 3])
    assert bool((q.log_row_bar(mask, t)[..., 2] == 0).all())
    q = absorbing([0.25, 0.5], 3, FLOAT)
    assert_close(matrix(q, 1), torch.tensor([[3, 0, 1], [0, 3, 1], [0, 0, 4]]).double() / 4, 1e-15)
    assert_close(matrix_bar(q, 2), torch.tensor([[3, 0, 5], [0, 3, 5], [0, 0, 8]]).double() / 8)


def test_a_chain_whose_last_beta_is_1_ends_in_its_target():
    """Exactly: L_T is 0 for the target as p(x_T). Kills: NaN from 0 * log 0."""
    for q in (EVERY["uniform-forgets"], EVERY["absorbing-ends"]):
        assert_close(matrix_bar(q, T), q.target.expand(q.K, -1), 0)
        assert torch.equal(matrix_bar(q, T) > 0, q.target.expand(q.K, -1) > 0)


@pytest.mark.parametrize("K", [2, 5, 16])
def test_the_discretized_gaussian_is_the_formula_of_the_paper(K: int):
    """A.2.3, at 30 digits. Kills: K for K - 1, beta for its square, half the normaliser."""
    q = discretized_gaussian([0.02, 0.3], K, FLOAT)
    with mp.workdps(30):
        for t, beta in ((1, mpf(0.02)), (2, mpf(0.3))):

            def weight(n: int, beta: mpf = beta) -> mpf:
                return mp.exp(-4 * mpf(n) ** 2 / ((K - 1) ** 2 * beta))

            Z = sum(weight(n) for n in range(1 - K, K))
            for i in range(K):
                row = [weight(i - j) / Z if i != j else mpf(0) for j in range(K)]
                row[i] = 1 - sum(row)
                want = torch.tensor([float(x) for x in row], dtype=FLOAT)
                assert_close(q.tables[t - 1, i], want, 1e-15)


def test_dense_products_are_those_of_exact_rationals():
    """Kills: products in float32, or normalised on the way."""
    tables = [
        [[Fraction(1 + (3 * i + 5 * j + 7 * t) % 11) for j in range(4)] for i in range(4)]
        for t in range(5)
    ]
    tables = [[[w / sum(row) for w in row] for row in table] for table in tables]
    q = Dense(
        torch.tensor([[[float(w) for w in row] for row in table] for table in tables], dtype=FLOAT)
    )
    product = [[Fraction(int(i == j)) for j in range(4)] for i in range(4)]
    for t, table in enumerate(tables, start=1):
        product = [
            [sum(row[k] * table[k][j] for k in range(4)) for j in range(4)] for row in product
        ]
        want = torch.tensor([[float(w) for w in row] for row in product], dtype=FLOAT)
        torch.testing.assert_close(q.products[t], want, rtol=2e-15, atol=0)


# The forward chain's laws, the public ones.


@every_transition
def test_the_public_laws_of_a_forward_chain_hold(q: Transition):
    """Kills: posterior with Qbar_t for Qbar_{t-1}, with the row for the column."""
    testing.check_forward(CategoricalForward(q), states(3, 2, 2), draws=512)


@every_transition
def test_the_posterior_is_bayes_rule_at_every_state(q: Transition):
    """q(x_{t-1} | x_t, x_0) by hand. Kills: a posterior of x_t = x_0 only."""
    forward = CategoricalForward(q)
    x_0, x_t = (
        grid.reshape(-1, 1) for grid in torch.meshgrid(*[torch.arange(q.K)] * 2, indexing="ij")
    )
    for number in range(2, q.T + 1):
        t = torch.full((q.K**2,), number)
        got = forward.posterior(x_t, x_0, t).log_probs.exp()[:, 0]
        joint = matrix_bar(q, number - 1)[x_0[:, 0]] * matrix(q, number).T[x_t[:, 0]]
        possible = joint.sum(1) > 0
        want = joint / joint.sum(1, keepdim=True)
        assert_close(got[possible], want[possible])
        assert bool(got[~possible].isnan().all()), "there is nothing to condition on"


@every_transition
def test_the_posterior_refuses_the_first_step(q: Transition):
    x = states(3, 2, 2)
    with pytest.raises(BadInput, match="point mass at t = 1"):
        CategoricalForward(q).posterior(x, x, torch.tensor([2, 1]))


@pytest.mark.parametrize("name", ["uniform", "absorbing-ends", "discretized-gaussian", "generic"])
def test_each_example_has_its_own_time(name: str):
    """Kills: the first example's t for all."""
    q, x, t = EVERY[name], states(4, 6, 2, 2), torch.tensor([3, 1, 6, 2, 5, 4])
    log_w = torch.log_softmax(torch.rand(6, 2, 2, q.K, dtype=FLOAT), -1)
    for operation, argument in [
        *((name, x) for name in ("log_row", "log_column", "log_row_bar", "log_column_bar")),
        ("log_mix_bar", log_w),
    ]:
        whole = getattr(q, operation)(argument, t)
        alone = [getattr(q, operation)(argument[i : i + 1], t[i : i + 1]) for i in range(6)]
        assert_close(whole.exp(), torch.cat(alone).exp(), 1e-15)


# Sub-chains.


@pytest.mark.parametrize("name", ["uniform", "absorbing-ends", "discretized-gaussian", "generic"])
def test_a_sub_chain_has_the_marginals_of_the_whole_and_remembers_its_times(name: str):
    """H14. Kills: a sub-chain with the steps of the whole, kept counted from the sub-chain."""
    q, kept = EVERY[name], [2, 3, 6]
    sub = q.subchain(kept)
    assert (sub.T, sub.K, sub.whole_T, sub.dtype) == (3, q.K, T, FLOAT)
    assert sub.kept.tolist() == kept
    assert sub.subchain([1, 3]).kept.tolist() == [2, 6]
    for t, original in enumerate(kept, start=1):
        assert_close(matrix_bar(sub, t), matrix_bar(q, original), 1e-14)
    assert_close(matrix(sub, 3), matrix(q, 4) @ matrix(q, 5) @ matrix(q, 6), 1e-14)
    testing.check_forward(CategoricalForward(sub), states(3, 2, 2), draws=64)


@pytest.mark.parametrize("steps", [[], [0, 2], [2, 2], [3, 1], [1, 7]])
@pytest.mark.parametrize("name", ["uniform", "generic"])
def test_kept_steps_must_increase_within_the_chain(name: str, steps: list[int]):
    with pytest.raises(BadInput, match=r"kept steps must increase within 1\.\.6"):
        EVERY[name].subchain(steps)


def test_the_rows_of_a_long_sub_chain_may_be_off_by_one_rounding_per_step():
    """Kills: the tolerance of one step for a product of a thousand."""
    tables = generic(1, 3).tables * (1 + 0.9e-12)
    sub = Dense(tables.expand(1000, -1, -1)).subchain([1, 1000])
    assert float((sub.tables.sum(2) - 1).abs().max()) > 1e-10


# What is refused, in words.


@pytest.mark.parametrize("make", TRANSITIONS.values(), ids=TRANSITIONS)
@pytest.mark.parametrize(
    ("betas", "named"),
    [
        ([0.1, 0.0, 0.2], "beta[2] = 0.0"),
        ([0.1, 0.2, 1.2], "beta[3] = 1.2"),
        ([0.1, 1.0, 0.2], "beta[2] = 1.0"),
        ([-0.1, 0.2], "beta[1] = -0.1"),
        ([0.1, math.nan], "beta[2] = nan"),
    ],
)
def test_a_beta_outside_the_unit_interval_is_named(make, betas: list[float], named: str):
    """H25. Kills: beta checked as a sum, NaN passed."""
    with pytest.raises(BadInput) as error:
        make(betas, 3)
    assert named in str(error.value)
    assert make([0.1, 1.0], 3).T == 2, "the last beta may be 1"


@pytest.mark.parametrize("make", TRANSITIONS.values(), ids=TRANSITIONS)
def test_no_steps_or_one_state_are_refused(make):
    for betas, K in (([], 3), ([0.1], 1), ([0.1], 0)):
        with pytest.raises(BadInput, match="at least one step and two states"):
            make(betas, K)


def test_log_alpha_is_checked_as_beta_is():
    third = torch.full((3,), 1 / 3, dtype=FLOAT)
    for log_alpha, named in (
        ([-0.1, 0.0], r"beta\[2\] = -?0\.0"),
        ([-INF, -1.0], r"beta\[1\] = 1\.0"),
    ):
        with pytest.raises(BadInput, match=named):
            Resampling(torch.tensor(log_alpha, dtype=FLOAT), third)
    assert Resampling(torch.tensor([-50.0, -1.0], dtype=FLOAT), third).T == 2, "beta rounds to 1"


@pytest.mark.parametrize("target", [[0.5, 0.4], [1.5, -0.5], [math.nan, 1.0]])
def test_a_target_that_is_no_distribution_is_refused(target: list[float]):
    with pytest.raises(BadInput, match="the target must be probabilities that add up to 1"):
        resampling([0.1], target)


@pytest.mark.parametrize("entry", [-0.25, 0.3, math.nan])
def test_a_row_that_is_no_distribution_is_named_with_its_time(entry: float):
    """Kills: columns in place of rows, t from 0."""
    tables = generic(4, 3).tables.clone()
    tables[2, 1, 0] += entry
    with pytest.raises(BadInput, match="row 1 of Q_t at t = 3"):
        Dense(tables)


def test_rows_with_the_right_sum_but_a_negative_entry_are_refused():
    tables = generic(2, 3).tables.clone()
    tables[0, 2] = torch.tensor([1.5, -0.5, 0])
    with pytest.raises(BadInput, match=r"row 2 of Q_t at t = 1: sum 1\.0, least entry -0\.5"):
        Dense(tables)


def test_tables_of_another_shape_or_precision_are_refused():
    """Outside the tests nothing but this checks a shape."""
    from jaxtyping import config

    config.update("jaxtyping_disable", True)
    try:
        for tables in (torch.eye(3), torch.eye(3)[None], torch.zeros(2, 3, 4, dtype=FLOAT)):
            with pytest.raises(BadInput, match=r"tables must be \(T, K, K\) in float64"):
                Dense(tables)
    finally:
        config.update("jaxtyping_disable", False)


@pytest.mark.parametrize("name", ["uniform", "discretized-gaussian"])
@pytest.mark.parametrize("state", [-1, 9])
def test_a_state_that_does_not_exist_is_an_error(name: str, state: int):
    """Kills: -1 read as the last state."""
    x, t = torch.tensor([[0, state]]), torch.tensor([2])
    for operation in ("log_row", "log_column", "log_row_bar", "log_column_bar"):
        with pytest.raises((RuntimeError, IndexError)):
            getattr(EVERY[name], operation)(x, t)


# Precision, gradients and memory.


@every_transition
def test_rows_come_in_the_dtype_requested_from_float64_tables(q: Transition):
    """H22. Kills: tables in the dtype of the rows."""
    rough = type(q)(**{**vars_of(q), "dtype": torch.float32})
    x, t = states(q.K, 4 * q.T, 3), torch.arange(1, q.T + 1).repeat(4)
    log_w = torch.randn(*x.shape, q.K, generator=torch.Generator().manual_seed(2)).double()
    for operation, argument in (("log_row_bar", x), ("log_column", x), ("log_mix_bar", log_w)):
        got, want = getattr(rough, operation)(argument, t), getattr(q, operation)(argument, t)
        assert got.dtype == torch.float32
        assert want.dtype == torch.float64
        torch.testing.assert_close(got, want.float(), rtol=1e-6, atol=1e-6)


def vars_of(q: Transition) -> dict:
    return {name: getattr(q, name) for name in q.__dataclass_fields__}


@every_transition
def test_the_gradient_of_a_mixture_is_finite_where_it_has_no_mass(q: Transition):
    """H26. Kills: logaddexp of two -inf, log of 0."""
    logits = torch.randn(2, 3, q.K, generator=torch.Generator().manual_seed(3), dtype=FLOAT)
    logits[0, 0, 1:] = -INF
    logits[1, 2, -1] = -INF
    logits.requires_grad_()
    for t in range(1, q.T + 1):
        mixed = q.log_mix_bar(logits.log_softmax(-1), torch.tensor([t, t]))
        (grad,) = torch.autograd.grad(mixed[mixed > -INF].sum(), logits)
        assert bool(grad.isfinite().all())
    only = logits.detach()[1, :2].log_softmax(-1).requires_grad_()
    assert torch.autograd.gradcheck(lambda w: q.log_mix_bar(w[None], torch.tensor([2])).exp(), only)


class Largest(TorchDispatchMode):
    """Remembers the most elements that any operation has given memory to."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else [out]:
            if isinstance(tensor, Tensor):
                size = tensor.untyped_storage().nbytes() // tensor.element_size()
                self.elements = max(self.elements, size)
        return out


@pytest.mark.parametrize("name", ["uniform", "absorbing"])
def test_256_states_in_784_dimensions_need_no_matrix_per_dimension(name: str):
    """(B, D, K) and no more: 1.6e6 elements, where (B, D, K, K) are 4e8. Kills: K x K per pixel."""
    B, K = 8, 256
    q = CategoricalForward(TRANSITIONS[name]([0.01] * 100, K))
    x_0, t = states(K - 1, B, 1, 28, 28), torch.arange(2, B + 2) * 10
    noise = KeyedNoise.of(0, torch.arange(B))
    with Largest() as largest:
        x_t = q.marginal(x_0, t).sample(noise)
        posterior = q.posterior(x_t, x_0, t)
        step = q.step(posterior.sample(noise), t)
        mixed = q.transition.log_mix_bar(posterior.log_probs, t - 1)
        assert bool(posterior.kl(posterior).isfinite().all())
    assert step.log_probs.shape == mixed.shape == (B, 1, 28, 28, K)
    assert 0 < largest.elements <= B * 784 * K


def test_a_dense_chain_of_256_states_needs_one_matrix_per_example():
    """Kills: K x K per pixel in the rows or the mixture of a dense chain."""
    B, K = 4, 256
    q = CategoricalForward(discretized_gaussian([0.01] * 4, K))
    x_0, t = states(K, B, 1, 28, 28), torch.tensor([2, 3, 4, 3])
    assert q.transition.products.shape == (5, K, K)
    with Largest() as largest:
        x_t = q.marginal(x_0, t).sample(KeyedNoise.of(0, torch.arange(B)))
        posterior = q.posterior(x_t, x_0, t)
        q.transition.log_mix_bar(posterior.log_probs, t - 1)
    assert bool(posterior.log_probs.exp().sum(-1).isfinite().all())
    assert 0 < largest.elements <= B * 784 * K


@pytest.mark.parametrize("name", ["uniform", "absorbing-ends", "discretized-gaussian", "generic"])
def test_latents_are_drawn_with_the_probabilities_of_the_matrix(name: str):
    """z-scores state by state. Kills: noise that ignores the dimension, a transposed matrix."""
    q, count = EVERY[name], 40_000
    x = CategoricalForward(q).marginal(torch.ones(count, 2).long(), torch.full((count,), 3))
    drawn = x.sample(KeyedNoise.of(1, torch.arange(count)))
    mass = matrix_bar(q, 3)[1]
    for dimension in range(2):
        seen = torch.bincount(drawn[:, dimension], minlength=q.K) / count
        deviation = (mass * (1 - mass) / count).sqrt()
        assert bool(((seen - mass).abs() <= 4 * deviation).all())
    both = ((drawn[:, 0] == 1) & (drawn[:, 1] == 1)).double().mean()
    chance = mass[1] ** 2
    assert abs(float(both - chance)) < 4 * math.sqrt(chance * (1 - chance) / count)
