"""Deliberate errors, one at a time; a law that no error breaks is not a law (figure C10).

    python tests/mutants.py [--jobs 2] [--only TEXT] [--keep FILE]

Copies src and tests to a temporary folder, puts one error into the copy, runs the tests that must
fail there, and says killed or SURVIVED. Exit code 1 if one survives, if its text is no longer
found exactly once, or if the tests do not pass without it. `--keep FILE` writes each that was
killed to FILE, and passes over those that FILE already has, for as long as the mutant, the module
and the test files are the same. H-numbers are those of the hazards.
"""

import argparse
import gc
import hashlib
import itertools
import json
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import cache_from_source, find_spec
from multiprocessing.queues import SimpleQueue
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # importing them takes longer than most tests

# Imported here so that the children, which are forks, need not: half of a mutant's time.
import diffusers.pipelines.ddpm  # noqa: F401
import hypothesis  # noqa: F401
import jaxtyping  # noqa: F401
import matplotlib.pyplot  # noqa: F401
import pydantic  # noqa: F401
import pytest
import scipy.stats  # noqa: F401
import sklearn.datasets  # noqa: F401
import torch  # noqa: F401
import typer  # noqa: F401

from mutants_cancel import CANCEL
from mutants_categorical import CATEGORICAL
from mutants_check import CHECK
from mutants_classes import CLASSES
from mutants_coding import CODING
from mutants_company import COMPANY
from mutants_comparison import COMPARISON
from mutants_data import DATA
from mutants_density import DENSITY
from mutants_doors import DOORS
from mutants_estimator import ESTIMATOR
from mutants_folders import FOLDERS
from mutants_foreign import FOREIGN
from mutants_images import IMAGES
from mutants_lasting import LASTING
from mutants_masked import MASKED
from mutants_measuring import MEASURING
from mutants_models import MODELS
from mutants_ode import ODE
from mutants_pages import PAGES
from mutants_paper import PAPER
from mutants_parts import PARTS
from mutants_paths import PATHS
from mutants_person import PERSON
from mutants_plan import PLAN
from mutants_pydoors import PYDOORS
from mutants_text import TEXT
from mutants_trainers import TRAINERS
from mutants_wrap import WRAP

ROOT = Path(__file__).parent.parent
LAWS = "tests/bound/test_laws.py"
STATISTICS = "tests/bound/test_statistics.py"
REFERENCE = "tests/gaussian/test_reference.py"
SCHEDULE = "tests/gaussian/test_schedule.py"
DECODER = "tests/gaussian/test_decoder.py"
IDDPM = "tests/test_recipe_iddpm.py"
VDM = "tests/test_recipe_continuous.py"
TIME_LIMIT = 300  # seconds for one test
KILLED, WRONG_PACKAGE = "killed", 99
FORK = multiprocessing.get_context("fork")


@dataclass(frozen=True)
class Mutant:
    """In src/nelbo/`file`, `old` becomes `new`; each of `tests` must then fail by itself."""

    what: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    @property
    def module(self) -> str:
        """The test file whose mutants are tried one after the other."""
        return self.tests[0].partition("::")[0]

    def key(self) -> str:
        """A digest of all that the verdict is of: the mutant, its module, its test files."""
        files = [f"src/nelbo/{self.file}", *(test.partition("::")[0] for test in self.tests)]
        texts = [(ROOT / name).read_text() for name in files]
        whole = repr((self.file, self.old, self.new, self.tests, texts))
        return hashlib.sha256(whole.encode()).hexdigest()


Groups = list[tuple[Mutant, ...]]  # one for each test file
Result = tuple[int, int, str, float]  # group, place in it, outcome, seconds


def laws(*names: str) -> tuple[str, ...]:
    return tuple(f"{LAWS}::test_{name}" for name in names)


MUTANTS = [
    # The chain and its terms.
    Mutant(
        "KL arguments swapped in L_{t-1}",
        "bound/terms.py",
        "chain.q.posterior(x_t, x_0, t).kl(chain.p.step(x_t, t))",
        "chain.p.step(x_t, t).kl(chain.q.posterior(x_t, x_0, t))",
        laws("the_joint_log_ratio_has_the_terms_as_its_expectation"),
    ),
    Mutant(
        "KL arguments swapped in L_T",
        "bound/terms.py",
        "chain.q.marginal(x_0, constant_time(chain.q.T, x_0)).kl(chain.p.prior(x_0))",
        "chain.p.prior(x_0).kl(chain.q.marginal(x_0, constant_time(chain.q.T, x_0)))",
        laws("the_joint_log_ratio_has_the_terms_as_its_expectation"),
    ),
    Mutant(
        "L_T at T - 1",
        "bound/terms.py",
        "chain.q.marginal(x_0, constant_time(chain.q.T, x_0)).kl",
        "chain.q.marginal(x_0, constant_time(max(chain.q.T - 1, 1), x_0)).kl",
        laws("exhaustive_gives_each_known_term_in_its_column"),
    ),
    Mutant(
        "L_0 at the data instead of x_1 (H16)",
        "bound/terms.py",
        "return -chain.p.decoder(x_1).log_prob(x_0)",
        "return -chain.p.decoder(x_0).log_prob(x_0)",
        laws("the_three_terms_and_the_path_have_the_closed_forms_of_gaussian_data"),
    ),
    Mutant(
        "log p of a path with t off by one (H15)",
        "bound/chain.py",
        "scores.append(self.step(x, constant_time(t, x)).log_prob(x_prev))",
        "scores.append(self.step(x, constant_time(t - 1, x)).log_prob(x_prev))",
        laws("the_joint_log_ratio_equals_d10_path_by_path"),
    ),
    Mutant(
        "log p of a path without the prior",
        "bound/chain.py",
        "[self.prior(x_0).log_prob(x_T), self.decoder(x_1).log_prob(x_0)]",
        "[self.decoder(x_1).log_prob(x_0)]",
        laws("the_joint_log_ratio_equals_d10_path_by_path"),
    ),
    # Estimators.
    Mutant(
        "L_T dropped (H11)",
        "bound/estimators.py",
        "[*terms, prior_term(chain, x_0)]",
        "[*terms, 0 * prior_term(chain, x_0)]",
        laws("exhaustive_gives_each_known_term_in_its_column"),
    ),
    Mutant(
        "L_0 dropped (H11)",
        "bound/estimators.py",
        "terms = [term(chain, x_0, constant_time(t, x_0), noise) for t in times]",
        "terms = [(t > 1) * term(chain, x_0, constant_time(t, x_0), noise) for t in times]",
        laws("exhaustive_gives_each_known_term_in_its_column"),
    ),
    Mutant(
        "estimator weight n -> n + 1",
        "bound/estimators.py",
        "chain.q.T * term(chain, x_0, t, noise)",
        "(chain.q.T + 1) * term(chain, x_0, t, noise)",
        laws("one_time_averaged_over_every_t_is_the_known_sum"),
    ),
    Mutant(
        "training objective without L_T (H11)",
        "bound/estimators.py",
        "return prior_term(chain, x_0) + chain.q.T",
        "return chain.q.T",
        laws("one_time_averaged_over_every_t_is_the_known_sum"),
    ),
    Mutant(
        "each place of the batch bound to a stratum of t",
        "bound/estimators.py",
        "(torch.arange(count, dtype=torch.float64) / count + offset) % 1",
        "(torch.arange(count, dtype=torch.float64) + offset) / count",
        laws("each_low_discrepancy_time_is_uniform_and_together_they_are_even"),
    ),
    Mutant(
        "times from 0",
        "bound/estimators.py",
        "return 1 + (T * position).long().clamp(max=T - 1)",
        "return (T * position).long().clamp(max=T - 1)",
        laws("each_low_discrepancy_time_is_uniform_and_together_they_are_even"),
    ),
    Mutant(
        "trajectory without the prior",
        "bound/estimators.py",
        "q.marginal(x_0, t).log_prob(x_prev) - p.prior(x_0).log_prob(x_prev)",
        "q.marginal(x_0, t).log_prob(x_prev)",
        laws("a_tight_chain_has_no_gap_on_any_path", "the_joint_log_ratio_equals_d10_path_by_path"),
    ),
    Mutant(
        "trajectory with steps of q for its posterior (memo: Bayes without x_0)",
        "bound/estimators.py",
        "q.posterior(x_t, x_0, t).log_prob(x_prev) - p.step",
        "q.step(x_prev, t).log_prob(x_t) - p.step",
        laws("a_tight_chain_has_no_gap_on_any_path"),
    ),
    Mutant(
        "importance-weighted without log K",
        "bound/estimators.py",
        "math.log(paths) - torch.logsumexp",
        "-torch.logsumexp",
        laws("importance_weighting_a_tight_chain_gives_the_likelihood"),
    ),
    Mutant(
        "importance-weighted mean of logs",
        "bound/estimators.py",
        "math.log(paths) - torch.logsumexp(-values.reshape(len(x_0), paths), dim=1)",
        "values.reshape(len(x_0), paths).mean(1)",
        laws("importance_weighting_tightens_the_bound_towards_the_likelihood"),
    ),
    Mutant(
        "importance-weighted by exp of large numbers",
        "bound/estimators.py",
        "torch.logsumexp(-values.reshape(len(x_0), paths), dim=1)",
        "(-values.reshape(len(x_0), paths)).exp().sum(1).log()",
        laws("importance_weighting_survives_thousands_of_nats"),
    ),
    Mutant(
        "rows of a mixed batch put back in the wrong order",
        "bound/estimators.py",
        "return torch.cat(parts)[order]",
        "return torch.cat(parts)",
        laws("term_keeps_each_example_in_its_place_when_times_are_mixed"),
    ),
    # Noise.
    Mutant(
        "the same noise at every t (H35)",
        "bound/noise.py",
        "return self._fold(2 * t + 1)",
        "return self._fold(0 * t + 1)",
        laws("the_public_laws_hold_for_every_parametrization_and_variance"),
    ),
    Mutant(
        "the same noise in every draw",
        "bound/noise.py",
        "return self._fold(2 * number)",
        "return self._fold(0 * number)",
        laws("importance_weighting_tightens_the_bound_towards_the_likelihood"),
    ),
    Mutant(
        "noise by place in the batch, not by image (H34)",
        "bound/noise.py",
        ".expand(len(ids)))._fold(ids)",
        ".expand(len(ids)))._fold(torch.arange(len(ids)))",
        laws("values_do_not_depend_on_the_batch_or_its_order"),
    ),
    Mutant(
        "seed and image mixed symmetrically",
        "bound/noise.py",
        "cls(torch.tensor(seed, dtype=torch.int64).expand(len(ids)))._fold(ids)",
        "cls(_mix(_mix(torch.tensor(seed) + GOLDEN) ^ _mix(ids + GOLDEN)))",
        laws("noise_tells_the_seed_from_the_image"),
    ),
    Mutant(
        "Box-Muller factor",
        "bound/noise.py",
        "radius.log_().mul_(-2).sqrt_()",
        "radius.log_().mul_(-1).sqrt_()",
        laws("ancestral_samples_have_the_exact_mean_and_variance"),
    ),
    # Statistics.
    Mutant(
        "merged streams forget the shift between their means (H31)",
        "bound/statistics.py",
        "other.squares + shift.square() * self.count * share",
        "other.squares",
        (f"{STATISTICS}::test_merged_streams_are_one_stream",),
    ),
    Mutant(
        "mean of batch means (H31)",
        "bound/statistics.py",
        "self.mean += shift * share",
        "self.mean += shift * 0.5",
        (f"{STATISTICS}::test_the_mean_over_images_is_one_for_any_processes_and_batches",),
    ),
    Mutant(
        "a one-sided quantile",
        "bound/statistics.py",
        "0.5 + level / 2",
        "level",
        (f"{STATISTICS}::test_an_interval_is_students",),
    ),
    # The Gaussian family.
    Mutant(
        "KL uses the model's variance for q's (H10)",
        "gaussian/distribution.py",
        "self.log_var - other.log_var",
        "other.log_var - other.log_var",
        laws("the_joint_log_ratio_has_the_terms_as_its_expectation"),
    ),
    Mutant(
        "lost reduction: mean over dimensions (H09)",
        "gaussian/distribution.py",
        "return x.flatten(1).sum(1)",
        "return x.flatten(1).mean(1)",
        laws("the_weight_of_the_bound_in_eps_form_is_the_closed_form"),
    ),
    Mutant(
        "draws with the variance for the deviation (H13)",
        "gaussian/distribution.py",
        "self.mean + torch.exp(0.5 * self.log_var)",
        "self.mean + torch.exp(self.log_var)",
        laws("ancestral_samples_have_the_exact_mean_and_variance"),
    ),
    Mutant(
        "score without the log-variance (H11)",
        "gaussian/distribution.py",
        "squares + self.log_var + math.log(2 * math.pi)",
        "squares + math.log(2 * math.pi)",
        laws("the_three_terms_and_the_path_have_the_closed_forms_of_gaussian_data"),
    ),
    Mutant(
        "posterior mean coefficients swapped",
        "gaussian/forward.py",
        "x_0_part = at(self.schedule.posterior_x_0, t, x_0) * x_0\n"
        "        return x_0_part + at(self.schedule.posterior_x_t, t, x_t) * x_t",
        "x_0_part = at(self.schedule.posterior_x_t, t, x_0) * x_0\n"
        "        return x_0_part + at(self.schedule.posterior_x_0, t, x_t) * x_t",
        laws("bayes_identity_holds_at_any_point_and_time"),
    ),
    Mutant(
        "posterior variance beta",
        "gaussian/schedule.py",
        "self._over_t(self.beta[1:] * self.one_minus_alpha_bar[:-1])",
        "self._over_t(self.beta[1:] * self.one_minus_alpha_bar[1:])",
        laws("bayes_identity_holds_at_any_point_and_time"),
    ),
    Mutant(
        "the posterior answers at t = 1",
        "gaussian/forward.py",
        "if int(t.min()) < 2:",
        "if int(t.min()) < 1:",
        laws("the_posterior_refuses_the_first_step"),
    ),
    Mutant(
        "a schedule table in float32 (H22)",
        "gaussian/schedule.py",
        "return self.log_alpha_bar.exp()",
        "return self.log_alpha_bar.float().exp().double()",
        laws("a_step_after_a_marginal_is_the_next_marginal"),
    ),
    Mutant(
        "1 - alpha_bar by subtraction (H22)",
        "gaussian/schedule.py",
        "return -torch.expm1(self.log_alpha_bar)",
        "return 1 - self.alpha_bar",
        (f"{SCHEDULE}::test_every_table_keeps_14_digits_at_every_t",),
    ),
    Mutant(
        "schedule cast to half precision (H23)",
        "gaussian/schedule.py",
        "row = table[t].to(x, non_blocking=True)",
        "row = table[t].half().to(x, non_blocking=True)",
        laws("a_step_after_a_marginal_is_the_next_marginal"),
    ),
    Mutant(
        "betas outside (0, 1) pass (H25)",
        "gaussian/schedule.py",
        "if not inside.all():",
        "if False:",
        (f"{SCHEDULE}::test_the_schedule_itself_checks_its_table",),
    ),
    Mutant(
        "zero terminal SNR passes with eps (H24)",
        "gaussian/reverse.py",
        "if divides and float(schedule.alpha_bar[-1]) == 0:",
        "if False:",
        laws("zero_terminal_snr_is_exact_or_refused"),
    ),
    Mutant(
        "log SNR with the sign of log NSR",
        "gaussian/schedule.py",
        "return self.log_alpha_bar - self.log_one_minus_alpha_bar",
        "return self.log_one_minus_alpha_bar - self.log_alpha_bar",
        laws("the_network_receives_each_time_exactly_once"),
    ),
    Mutant(
        "sub-chain with the betas of the whole (H14)",
        "gaussian/schedule.py",
        "[math.fsum(self.log_alpha[s:t].tolist()) for s, t in spans(steps, self.T)]",
        "[float(self.log_alpha[t - 1]) for s, t in spans(steps, self.T)]",
        laws("a_sub_chain_is_a_chain_of_its_own_with_the_marginals_of_the_whole"),
    ),
    Mutant(
        "kept index off by one (H14)",
        "gaussian/schedule.py",
        "self.kept[torch.tensor(steps) - 1]",
        "self.kept[torch.tensor(steps) - 1] - 1",
        laws("the_network_of_a_sub_chain_receives_the_original_times"),
    ),
    Mutant(
        "time index off by one (H15)",
        "gaussian/reverse.py",
        "return schedule.kept[t - 1] - 1",
        "return schedule.kept[t - 1] - 0",
        laws("the_network_receives_each_time_exactly_once"),
    ),
    Mutant(
        "a skipped chain tells its own index (H14)",
        "gaussian/reverse.py",
        "return schedule.kept[t - 1] - 1",
        "return t - 1",
        laws("the_network_of_a_sub_chain_receives_the_original_times"),
    ),
    Mutant(
        "the decoder asks the network at t = 2",
        "gaussian/reverse.py",
        "self.predict(x_1, constant_time(1, x_1))",
        "self.predict(x_1, constant_time(min(2, self.q.T), x_1))",
        laws("the_network_receives_each_time_exactly_once"),
    ),
    Mutant(
        "clip ignored (H17)",
        "gaussian/reverse.py",
        "return x_0.clamp(*self.clip)",
        "return x_0",
        laws("clipping_is_a_part_of_the_model_in_its_bound_and_in_its_samples"),
    ),
    Mutant(
        "sign in v",
        "gaussian/parametrization.py",
        "return -level.s, level.a",
        "return level.s, level.a",
        (
            "tests/test_wrap.py::test_the_bound_of_a_linear_network_is_its_closed_form"
            "[v_prediction-v-small]",
        ),
    ),
    Mutant(
        "sign of the noise in a target",
        "gaussian/parametrization.py",
        "return k * x_0 + m * eps",
        "return k * x_0 - m * eps",
        laws("the_target_of_a_parametrization_gives_the_data_back"),
    ),
    Mutant(
        "eps estimate not divided by sqrt(alpha_bar)",
        "gaussian/parametrization.py",
        "return m / both, -s / both",
        "return m, -s",
        laws("the_weight_of_the_bound_in_eps_form_is_the_closed_form"),
    ),
    Mutant(
        "likelihood of the levels without alpha_bar",
        "gaussian/parametrization.py",
        "(alpha_bar.sqrt() / deviation).unsqueeze(2) * self._values(prior)",
        "(1 / deviation).unsqueeze(2) * self._values(prior)",
        laws("the_levels_posterior_is_bayes_rule_over_the_levels"),
    ),
    Mutant(
        "learned range mixes variances, not logarithms (H12)",
        "gaussian/variance.py",
        "fraction * at(self.schedule.beta, t, x_0_hat).log() + (1 - fraction) * log_low",
        "(fraction * at(self.schedule.beta, t, x_0_hat) + (1 - fraction) * log_low.exp()).log()",
        laws("a_learned_variance_interpolates_the_logarithms"),
    ),
    Mutant(
        "learned range with its end points swapped (H12)",
        "gaussian/variance.py",
        "fraction * at(self.schedule.beta, t, x_0_hat).log() + (1 - fraction) * log_low",
        "(1 - fraction) * at(self.schedule.beta, t, x_0_hat).log() + fraction * log_low",
        laws("a_learned_variance_interpolates_the_logarithms"),
    ),
    Mutant(
        "V_1 = 1e-20 (H05)",
        "gaussian/variance.py",
        "return float(schedule.posterior_variance[2])",
        "return 1e-20",
        laws("the_three_terms_and_the_path_have_the_closed_forms_of_gaussian_data"),
    ),
    Mutant(
        "bin mass clamped at 1e-12 (H01)",
        "gaussian/decoder.py",
        "return torch.where(narrow, thin, wide).to(mean.dtype)",
        "return torch.where(narrow, thin, wide).clamp(min=math.log(1e-12)).to(mean.dtype)",
        (
            *laws("the_gradient_is_finite_and_alive_at_any_first_deviation"),
            "tests/test_architecture.py::test_nothing_clamps_a_mass_or_hides_a_nan",
        ),
    ),
    Mutant(
        "tanh for the normal distribution function (H02)",
        "gaussian/decoder.py",
        "    tail = high < 0\n",
        "    def cdf(x: Tensor) -> Tensor:\n"
        "        return 0.5 * (1 + torch.tanh(0.7978845608 * (x + 0.044715 * x**3)))\n\n"
        "    return (cdf(high) - cdf(low)).log()\n",
        (DECODER,),
    ),
    Mutant(
        "half-width 1/255 hard-coded (H03)",
        "gaussian/decoder.py",
        "0.5 * grid.spacing / deviation",
        "(1 / 255) / deviation",
        (DECODER,),
    ),
    Mutant(
        "edges decided by comparing numbers (H03)",
        "gaussian/decoder.py",
        "first, last = level == 0, level == grid.n - 1",
        "value = grid.values(level, mean.dtype)\n    first, last = value < -0.999, value > 0.999",
        (DECODER,),
    ),
    Mutant(
        "data left in [0, 1] (H04)",
        "types.py",
        "return (self.lo + levels.to(torch.float64) * self.spacing).to(dtype)",
        "return (levels.to(torch.float64) * self.spacing / (self.hi - self.lo)).to(dtype)",
        laws("a_grid_runs_from_lo_to_hi"),
    ),
    Mutant(
        "latents scored with the 8-bit decoder (H06)",
        "gaussian/decoder.py",
        "return Gaussian(prediction.x_0, prediction.log_var)",
        "return DiscretizedGaussian(prediction.x_0, prediction.log_var, Grid(256))",
        laws("a_tight_chain_has_no_gap_on_any_path"),
    ),
    Mutant(
        "the mean of the last step for a sample (H16, H18)",
        "gaussian/decoder.py",
        "x = Gaussian(self.mean, self.log_var).sample(noise)",
        "x = self.mean",
        laws("ancestral_samples_have_the_exact_histogram_of_the_levels"),
    ),
    Mutant(
        "the median level for a sample (H16)",
        "gaussian/decoder.py",
        "uniform = noise.uniform(cumulative[:, :, 0]) * cumulative[:, :, -1]",
        "uniform = 0.5 * cumulative[:, :, -1]",
        laws("samples_of_the_levels_decoder_have_its_exact_histogram"),
    ),
    Mutant(
        "L_simple is a mean over dimensions",
        "gaussian/objective.py",
        ".square().flatten(1).sum(1)",
        ".square().flatten(1).mean(1)",
        laws("the_simple_loss_is_the_squared_error_of_the_target"),
    ),
    # Recipes that learn the variance or the schedule.
    Mutant(
        "recipe: the hybrid's weight is not passed on",
        "recipe/objective.py",
        "partial(gaussian.hybrid_loss, weight=weight)",
        "gaussian.hybrid_loss",
        (f"{IDDPM}::test_the_bound_does_not_reach_the_channel_of_the_mean",),
    ),
    Mutant(
        "recipe: u at the start of each part of [0, 1]",
        "recipe/objective.py",
        "(t - 1 + place) / T",
        "(t - 1 + 0 * place) / T",
        (f"{VDM}::test_u_is_uniform_over_the_batch",),
    ),
    Mutant(
        "recipe: a learned schedule is decayed like the network",
        "model/weights.py",
        "((list(group), 0.0)",
        "((list(group), weight_decay)",
        (f"{VDM}::test_the_curve_is_clipped_apart_and_not_decayed",),
    ),
    Mutant(
        "the limit's parts of [0, 1] are T, not T - 1",
        "gaussian/along.py",
        "return (t.double() - 1) / (self.schedule.T - 1)",
        "return (t.double() - 1) / self.schedule.T",
        ("tests/gaussian/test_continuous.py::test_each_step_of_the_limit_is_at_u_of_its_own_part",),
    ),
    Mutant(
        "a chain along the curve in the network's dtype",
        "model/continuous.py",
        "copy.deepcopy(trained.log_snr).double().requires_grad_(False)",
        "trained.log_snr",
        (f"{VDM}::test_a_network_in_bfloat16_leaves_the_schedule_as_it_is",),
    ),
    *(
        Mutant(*row)
        for row in (
            *ESTIMATOR,
            *FOLDERS,
            *LASTING,
            *MEASURING,
            *MODELS,
            *CANCEL,
            *CATEGORICAL,
            *MASKED,
            *TEXT,
            *CODING,
            *CHECK,
            *COMPANY,
            *DENSITY,
            *DOORS,
            *FOREIGN,
            *IMAGES,
            *PAPER,
            *PARTS,
            *PERSON,
            *PLAN,
            *DATA,
            *TRAINERS,
            *WRAP,
            *PYDOORS,
            *PAGES,
            *ODE,
            *PATHS,
            *COMPARISON,
            *CLASSES,
        )
    ),
]


class SharedFixtures:
    """Those of conftest.py, which imports nelbo: read once jaxtyping has hooked that import."""

    def pytest_configure(self, config: pytest.Config) -> None:
        config.pluginmanager.register(import_module("conftest"))


@dataclass(frozen=True)
class Place:
    """A copy of the sources and tests where one mutant at a time lives."""

    folder: Path

    def copy_from(self, root: Path) -> "Place":
        for name in ("src", "tests"):
            shutil.copytree(root / name, self.folder / name)
        shutil.copy2(root / "pyproject.toml", self.folder)
        return self

    def outcome(self, tests: Sequence[str]) -> int | None:
        """pytest's exit code in a child that imports this copy; None after TIME_LIMIT a test."""
        process = FORK.Process(target=self._child, args=(tests,))
        process.start()
        process.join(TIME_LIMIT * len(tests))
        if process.is_alive():
            process.kill()
            process.join()
            return None
        return process.exitcode

    def _child(self, tests: Sequence[str]) -> None:
        with (self.folder / "log").open("w") as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        source = str(self.folder / "src")
        os.chdir(self.folder)
        os.environ["PYTHONPATH"] = source
        # what conftest.py would do, which is not read: its folder has what several tests share
        sys.path[:0] = [source, str(self.folder / "tests")]
        spec = find_spec("nelbo")
        if spec is None or not str(spec.origin).startswith(source):
            print(f"the copy is not what is imported: {spec}")
            os._exit(WRONG_PACKAGE)
        sys.dont_write_bytecode = False  # the copy keeps what it has compiled
        quiet = ["-x", "-q", "-p", "no:cacheprovider", "--noconftest"]
        quiet += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # for what diffusers imported
        sys.exit(pytest.main([*quiet, *tests], plugins=[SharedFixtures()]))


def verdict(mutant: Mutant, place: Place) -> str:
    """Puts the error in, runs the tests that must fail, puts the original back."""
    path = place.folder / "src" / "nelbo" / mutant.file
    original = path.read_text()
    if original.count(mutant.old) != 1:
        return f"TEXT FOUND {original.count(mutant.old)} TIMES"
    path.write_text(original.replace(mutant.old, mutant.new))
    # another mutant of this file, as long and of the same second, may have been compiled before
    compiled = Path(cache_from_source(str(path)))
    compiled.unlink(missing_ok=True)
    try:
        for test in mutant.tests:
            code = place.outcome([test])
            if code != pytest.ExitCode.TESTS_FAILED:
                # anything else is no verdict: a module that cannot be imported, no such test
                return f"{'SURVIVED' if code == 0 else f'ERROR {code} in'} {test}"
    finally:
        path.write_text(original)
        compiled.unlink(missing_ok=True)
    return KILLED


def work(
    groups: Groups, numbers: "SimpleQueue[int | None]", folder: Path, results: "SimpleQueue[Result]"
) -> None:
    """Tries every mutant of the groups whose numbers it takes, in a copy of its own."""
    place = Place(folder)
    while (number := numbers.get()) is not None:
        tests = sorted({test for mutant in groups[number] for test in mutant.tests})
        sound = place.outcome(tests) == pytest.ExitCode.OK
        if not sound:
            print((place.folder / "log").read_text()[-4000:], flush=True)
        for index, mutant in enumerate(groups[number]):
            started = time.perf_counter()
            try:
                outcome = verdict(mutant, place) if sound else "TESTS FAIL WITHOUT IT"
            except Exception as error:  # the parent waits for an answer
                outcome = f"ERROR {error!r}"
            results.put((number, index, outcome, time.perf_counter() - started))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", default="", help="mutants whose description or file holds this")
    parser.add_argument("--keep", type=Path, help="a file of those killed, to go on from")
    arguments = parser.parse_args()
    mutants = [m for m in MUTANTS if arguments.only in m.what or arguments.only in m.file]
    kept = killed_before(arguments.keep)
    left = [mutant for mutant in mutants if mutant.key() not in kept]
    print(f"{len(mutants)} mutants, {len(mutants) - len(left)} of them killed before", flush=True)
    started = time.perf_counter()
    killed = len(mutants) - len(left)
    with tempfile.TemporaryDirectory(prefix="nelbo-mutants-") as temporary:
        for mutant, outcome, seconds in run(left, Path(temporary), arguments.jobs):
            print(f"{outcome:8} {seconds:5.1f} s  {mutant.what}", flush=True)
            if outcome == KILLED:
                killed += 1
                keep(arguments.keep, mutant)
    seconds = time.perf_counter() - started
    print(f"\n{killed} of {len(mutants)} mutants killed in {seconds:.0f} s")
    return 0 if killed == len(mutants) else 1


def killed_before(path: Path | None) -> set[str]:
    """The keys that an earlier run has kept."""
    if path is None or not path.exists():
        return set()
    return {json.loads(line)["key"] for line in path.read_text().splitlines()}


def keep(path: Path | None, mutant: Mutant) -> None:
    if path is not None:
        with path.open("a") as file:
            file.write(json.dumps({"key": mutant.key(), "what": mutant.what}) + "\n")


def run(
    mutants: Sequence[Mutant], temporary: Path, jobs: int
) -> Iterable[tuple[Mutant, str, float]]:
    """Outcome and seconds as they come from `jobs` processes, a test file's mutants in a row."""
    by_module = sorted(mutants, key=lambda mutant: mutant.module)
    groups = [tuple(g) for _, g in itertools.groupby(by_module, key=lambda mutant: mutant.module)]
    numbers: SimpleQueue[int | None] = FORK.SimpleQueue()
    results: SimpleQueue[Result] = FORK.SimpleQueue()
    for number in [*range(len(groups)), *[None] * jobs]:
        numbers.put(number)
    gc.freeze()  # no child need look through what was imported before
    for job in range(jobs):
        folder = Place(temporary / str(job)).copy_from(ROOT).folder
        FORK.Process(target=work, args=(groups, numbers, folder, results)).start()
    for _ in mutants:
        number, index, outcome, seconds = results.get()
        yield groups[number][index], outcome, seconds


if __name__ == "__main__":
    sys.exit(main())
