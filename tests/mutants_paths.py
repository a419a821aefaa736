"""Deliberate errors in paths, in what their networks receive and in what those say."""

__all__ = ["PATHS"]

PATH = "tests/gaussian/test_path.py::test_"
LEVEL = f"{PATH}a_level_is_the_point_of_the_path_with_that_log_snr"
WRAP = "tests/test_wrap_paths.py::test_"
RECEIVES = f"{WRAP}a_network_receives_what_its_family_gives_it"
CLOSED = f"{WRAP}an_exact_network_has_the_bound_of_its_closed_form"
ALONG = "tests/gaussian/test_along.py::test_"
RECIPE = "tests/test_recipe_paths.py::test_"
FOLDERS = "tests/formats/test_path_schedulers.py::test_"
SAYS = f"{FOLDERS}a_network_receives_and_says_what_its_class_says"
READ = f"{PATH}a_prediction_gives_the_data_back_on_every_path"

PATHS = [
    (
        "v as where a^2 + s^2 is 1",
        "gaussian/parametrization.py",
        "return -level.s, level.a",
        "return -level.s / level.norm, level.a / level.norm",
        (f"{READ}[v-ve]",),
    ),
    (
        "the score of x_t for that of z",
        "gaussian/parametrization.py",
        "return 0.0, -1 / level.s",
        "return 0.0, -level.norm / level.s",
        (f"{READ}[score-edm]",),
    ),
    (
        "a velocity by the time of the other direction",
        "gaussian/path.py",
        "return _slope(self.a, t), _slope(self.s, t)",
        "return -_slope(self.a, t), -_slope(self.s, t)",
        (f"{LEVEL}[flow]", f"{READ}[flow-velocity-flow from the data's end]"),
    ),
    (
        "EDM's F for data of deviation 1",
        "gaussian/parametrization.py",
        "(sigma_data * level.a) * (sigma_data * level.a)",
        "level.a * level.a",
        (f"{READ}[edm-F-edm]",),
    ),
    (
        "an output's weights at half the log SNR",
        "gaussian/parametrization.py",
        "self.path.at(2 * (",
        "self.path.at(1 * (",
        (f"{READ}[v-sub-vp]",),
    ),
    (
        "sub-VP with the noise of VP",
        "gaussian/path.py",
        "return -torch.expm1(-B(t))\n",
        "return (-torch.expm1(-B(t))).sqrt()\n",
        (f"{LEVEL}[sub-vp]",),
    ),
    (
        "VE's time counted from its largest sigma",
        "gaussian/path.py",
        "return (-0.5 * log_snr - log_min) / rise",
        "return 1 - (-0.5 * log_snr - log_min) / rise",
        (f"{LEVEL}[ve]",),
    ),
    (
        "an SNR of a/s",
        "gaussian/path.py",
        "return 2 * (self.a(t).log() - self.s(t).log())",
        "return self.a(t).log() - self.s(t).log()",
        (f"{PATH}time_is_computed_where_no_inverse_is_given",),
    ),
    (
        "a path that runs the other way taken as it is",
        "gaussian/path.py",
        "        if len(rises):",
        "        if len(rises) < 0:",
        (f"{PATH}what_is_no_path_is_refused_by_name[the direction of time]",),
    ),
    (
        "the step of a table after the one that is meant",
        "gaussian/path.py",
        "(-middles).to(log_snr.device))",
        "(-self.log_snr).to(log_snr.device))",
        (f"{PATH}a_table_is_the_path_at_its_steps",),
    ),
    (
        "z of a chain that keeps variance, for a network on a path",
        "gaussian/on_path.py",
        "self.scale(level) * level.norm",
        "self.scale(level)",
        (f"{RECEIVES}[ncsnpp]", f"{CLOSED}[score of VE-gaussian]"),
    ),
    (
        "sigma of z where a is not 1",
        "gaussian/level.py",
        "return self.s / self.a",
        "return self.s",
        (f"{WRAP}each_word_for_a_time_is_what_it_says[sigma-0.25]",),
    ),
    (
        "EDM's c_in with the variance of the data for its deviation",
        "gaussian/on_path.py",
        "(sigma_data * level.a) * (sigma_data * level.a)) ** -0.5",
        "sigma_data * level.a * level.a) ** -0.5",
        (f"{RECEIVES}[edm]",),
    ),
    (
        "the flow of one library for that of another",
        "wrapping/paths.py",
        '"path": {"name": "flow", "data_at": 0},',
        '"path": {"name": "flow", "data_at": 1},',
        (f"{RECEIVES}[diffusers-flow]",),
    ),
    (
        "an improved chain that does not say its curve",
        "model/gaussian.py",
        'schedule=part_at(model.facts, "schedule") or None,',
        "schedule=before.schedule,",
        (f"{WRAP}every_verb_takes_a_model_on_a_path",),
    ),
    (
        "--steps that leave the limit where it is",
        "model/continuous.py",
        "return _like(ContinuousModel, self).along(steps) if self.chains else self.along(steps)",
        "return self.along(steps)",
        (f"{WRAP}every_verb_takes_a_model_on_a_path",),
    ),
    (
        "a spacing for its quarter",
        "model/on_path.py",
        "2 * math.log(QUARTER / support.spacing)",
        "-2 * math.log(support.spacing)",
        (f"{WRAP}the_top_of_an_endless_path_is_a_quarter_of_a_spacing",),
    ),
    (
        "a time of a network on a path in the dtype of its weights before it is made",
        "gaussian/reverse.py",
        "whole = isinstance(self.network, OnPath) or not",
        "whole = not",
        (f"{WRAP}half_precision_is_of_the_network_alone",),
    ),
    (
        "EDM's v with the sign of its F",
        "gaussian/parametrization.py",
        "    return -k, -m",
        "    return k, m",
        (f"{SAYS}[EDM, v]",),
    ),
    (
        "a flow of 1000 times whatever its config says",
        "formats/diffusers/path_scheduler.py",
        "return steps * TIMES",
        "return 1000 * TIMES",
        (f"{SAYS}[flow by Heun]",),
    ),
    (
        "the time of EDM for that of CosineDPM",
        "formats/diffusers/path_scheduler.py",
        "return torch.as_tensor(level.sigma).atan() * (2 / math.pi)",
        'return TIMES["log(sigma)/4"](level)',
        (f"{SAYS}[cosine]",),
    ),
    (
        "a continuous Euler by the betas of its class's defaults",
        "formats/diffusers/path_scheduler.py",
        "known = {key: value for key, value in typed.items() if key in own}",
        'known = {key: value for key, value in typed.items() if key in own and "beta" not in key}',
        (f"{FOLDERS}a_continuous_euler_without_sigmas_has_those_of_its_own_betas",),
    ),
    (
        "the range of EDM for that of VE",
        "formats/diffusers/path_scheduler.py",
        "range=(0.0, 1.0),",
        "range=None,",
        (f"{FOLDERS}the_bound_of_a_folder_is_that_of_numpy[VE]",),
    ),
    (
        "a loss at times even in log SNR",
        "gaussian/regression.py",
        "return path.log_snr(path.data + (path.noise - path.data) * u)",
        "return 20 - 40 * u",
        (f"{RECIPE}the_loss_of_a_flow_is_the_squared_error_of_its_velocity[None]",),
    ),
    (
        "log SNR drawn where ln sigma is meant",
        "gaussian/regression.py",
        "return -2 * log_sigma",
        "return log_sigma",
        (f"{RECIPE}the_loss_of_edm_is_its_own",),
    ),
    (
        "EDM's F with z as it is",
        "recipe/on_path.py",
        "return partial(c_in, sigma_data)",
        'return SCALES["none"]',
        (f"{RECIPE}the_loss_of_edm_is_its_own",),
    ),
    (
        "a top that is not the recipe's",
        "recipe/on_path.py",
        "ends_of(path, grid, choice.log_snr, ",
        "ends_of(path, grid, (choice.log_snr[0] - 1, choice.log_snr[1]), ",
        (f"{RECIPE}the_limit_of_an_untrained_network_is_its_closed_form[digits-flow]",),
    ),
    (
        "the affine control's sum over the end of a step for its integral",
        "gaussian/along.py",
        "sure = (above - below) * left * before",
        "sure = (above - below) * left * left",
        (f"{ALONG}the_affine_totals_of_the_limit_are_the_integrals_over_each_step[straight]",),
    ),
    (
        "the affine control's noise over a step to first order",
        "gaussian/along.py",
        "random = torch.log1p(variance * (above - below) * left) - variance * sure",
        "random = variance * (above - below) * left - variance * sure",
        (f"{ALONG}the_affine_totals_of_the_limit_are_the_integrals_over_each_step[straight]",),
    ),
    (
        "every point of the lattice rule at the end of its step",
        "gaussian/controls.py",
        "return t, self.along.moment(t, place)",
        "return t, self.along.moment(t, torch.ones_like(place))",
        (f"{ALONG}the_lattice_totals_of_the_limit_are_unbiased_for_the_integrals[straight]",),
    ),
    (
        "a limit without controls",
        "model/scheduled.py",
        "return controls(self.terms, self.support, levels, context)",
        "return [] if self.infinite else controls(self.terms, self.support, levels, context)",
        (f"{ALONG}an_exact_gaussian_network_leaves_its_limit_almost_no_noise",),
    ),
    (
        "a limit that nothing doubts",
        "model/scheduled.py",
        "return Yardstick.of(self.terms, self.support, data)",
        "return None if self.infinite else Yardstick.of(self.terms, self.support, data)",
        (f"{ALONG}a_network_read_by_the_word_of_another_is_doubted_in_the_limit",),
    ),
]
