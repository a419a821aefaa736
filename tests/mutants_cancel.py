"""Deliberate losses of digits in the terms of a Gaussian chain, and in what V_1 is by default."""

__all__ = ["CANCEL"]

LAW = "tests/gaussian/test_cancellation.py::test_"
TERM = f"{LAW}a_term_from_a_float32_network_is_that_of_float64_at_its_x_t"
LATTICE = f"{LAW}a_lattice_is_read_in_float32_as_in_float64"
V_1 = "tests/gaussian/test_V_1.py::test_"
TRAINING = f"{LAW}training_in_float32_has_the_term_of_float64_for_the_noise_that_was_drawn"

CANCEL = [
    (
        "x0-hat in the dtype of x_t",
        "gaussian/reverse.py",
        "variance.double(), x_t.double(), t)",
        "variance, x_t, t)",
        (f"{TERM}[eps-small-False-dtype0]",),
    ),
    (
        "x_0 and x0-hat in float32",
        "gaussian/precise.py",
        "error = x_0 - prediction.x_0",
        "error = x_0.float() - prediction.x_0.float()",
        (f"{TERM}[eps-small-False-dtype0]",),
    ),
    (
        "x_t that the network did not get",
        "gaussian/precise.py",
        "deviation * eps).to(dtype)",
        "deviation * eps)",
        (f"{TERM}[eps-small-False-dtype0]",),
    ),
    (
        "x_t in float32 for a network in float64",
        "gaussian/precise.py",
        "return torch.float64 if _reverse(p)",
        "return torch.float32 if _reverse(p)",
        (f"{TERM}[v-large-False-dtype1]",),
    ),
    (
        "the variances' ratio left out of a term of the error",
        "gaussian/forward.py",
        "kl(Gaussian(torch.zeros_like(shift), log_var))",
        "kl(Gaussian(torch.zeros_like(shift), log_posterior))",
        (f"{TERM}[v-large-False-dtype0]",),
    ),
    (
        "q's variance in a term of the error is the model's (H10)",
        "gaussian/forward.py",
        "log_posterior = at(self.schedule.posterior_variance,",
        "log_posterior = at(self.schedule.beta,",
        (f"{TERM}[v-large-False-dtype0]",),
    ),
    (
        "the decoder's mean in float32",
        "gaussian/reverse.py",
        "return self.emission(self.predict_precisely(x_1, constant_time(1, x_1)))",
        "return self.emission(self.predict(x_1, constant_time(1, x_1)))",
        (f"{LAW}L_0_of_16_bits_is_that_of_float64_at_its_x_1[density-eps]",),
    ),
    (
        "a lattice read from no level",
        "gaussian/parametrization.py",
        "if prior.dtype != x_t.dtype:",
        "if False:",
        (LATTICE,),
    ),
    (
        "the mean of levels in float32",
        "gaussian/parametrization.py",
        "return self.grid.values(near, x_t.dtype) + self.grid.spacing * beside",
        "return self.grid.values(near, logits.dtype) + self.grid.spacing * beside",
        (LATTICE,),
    ),
    (
        "x0-hat in float32 in continuous time",
        "gaussian/precise.py",
        "self.along.log_snr(t), x_0.dtype).x_0",
        "self.along.log_snr(t)).x_0",
        (f"{LAW}the_limit_of_continuous_time_is_that_of_float64_at_its_x_u",),
    ),
    (
        "improve's x0-hat in float32",
        "estimation/errors.py",
        "predict_precisely(x_t, t)",
        "predict(x_t, t)",
        (f"{LAW}squared_errors_that_variances_are_made_from_are_those_of_float64",),
    ),
    (
        "the clip left out of the error that is trained on",
        "gaussian/reverse.py",
        "return error if self.clip is None else",
        "return error if True else",
        (f"{TRAINING}[eps-True]",),
    ),
    (
        "the error that is trained on in units of the output",
        "gaussian/parametrization.py",
        "return r * (k * x_0",
        "return r.sign() * (k * x_0",
        (f"{TRAINING}[v-False]",),
    ),
    (
        "the affine control's noise in float32",
        "gaussian/controls.py",
        "scaled(self.along, x_t.double(), t)",
        "scaled(self.along, x_t, t)",
        (f"{LAW}the_affine_control_is_that_of_float64_at_its_x_t",),
    ),
    (
        "a rounding of a part of the noise that is not told",
        "gaussian/precise.py",
        "spacing / math.sqrt(12) / NOTICED",
        "spacing / math.sqrt(12)",
        (f"{LAW}a_result_says_where_its_network_gets_a_rounded_x_t",),
    ),
    # V_1.
    (
        "V_1 of a log SNR by beta-tilde",
        "gaussian/variance.py",
        '"inverse_snr_1" if schedule.by_log_snr else "beta_tilde_2"',
        '"beta_tilde_2"',
        (f"{V_1}an_exact_denoiser_along_a_log_snr_has_the_entropy_by_default",),
    ),
    (
        "V_1 of betas by 1 / SNR",
        "gaussian/variance.py",
        '"inverse_snr_1" if schedule.by_log_snr else "beta_tilde_2"',
        '"inverse_snr_1"',
        (f"{V_1}schedules_of_betas_keep_beta_tilde_2",),
    ),
    (
        "a sub-chain of a log SNR taken for one of betas",
        "gaussian/schedule.py",
        "return Schedule(self.name, table, kept, self.whole_T, self.by_log_snr)",
        "return Schedule(self.name, table, kept, self.whole_T)",
        (f"{V_1}sub_chains_of_a_log_snr_have_the_1_over_snr_of_their_own_x_1",),
    ),
    (
        "an error at t = 1 in units of V_1 without the root",
        "estimation/evaluator.py",
        "error, units = squares.sqrt().tolist()",
        "error, units = squares.tolist()",
        (f"{V_1}an_error_above_sqrt_V_1_is_reported",),
    ),
]
