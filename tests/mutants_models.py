"""Deliberate errors in how networks of others are read, and in better variances and losses."""

__all__ = ["MODELS"]

WRAP = "tests/test_wrap.py::test_"
GRID = "tests/pretrained/test_scheduler_grid.py::test_"
OPTIMAL = "tests/gaussian/test_optimal.py::test_"
ONE_TIME = "tests/gaussian/test_one_time.py::test_"
HYBRID = "tests/gaussian/test_hybrid.py::test_"
RECIPE = "tests/test_recipe.py::test_"
STEP = f"{GRID}the_reverse_step_is_that_of_ddpm_scheduler"

MODELS = [
    # Any network by its own conventions.
    (
        "v read as x_0",
        "wrapping.py",
        '"v_prediction": "v"}',
        '"v_prediction": "x_0"}',
        (f"{WRAP}the_bound_of_a_linear_network_is_its_closed_form[v_prediction-v-small]",),
    ),
    (
        "a learned range with a V_1 of its own (H05)",
        "wrapping.py",
        "LearnedRange(schedule, first_variance(schedule, V_1))",
        "LearnedRange(schedule, 1e-20)",
        (f"{WRAP}the_bound_of_a_linear_network_is_its_closed_form[eps-eps-learned-range]",),
    ),
    (
        "a clip that is stored and not used (H17)",
        "wrapping.py",
        "clip=_clip(clip, support),",
        "clip=None,",
        (f"{WRAP}clip_is_part_of_the_model",),
    ),
    (
        "the steps a network knows forgotten (H15)",
        "wrapping.py",
        "whole if steps is None else whole.subchain(list(steps))",
        "whole",
        (f"{WRAP}a_network_of_t_below_T_is_the_sub_chain_of_these",),
    ),
    (
        "a sub-chain with the variances of the whole (H14)",
        "model/gaussian.py",
        "schedule.subchain(steps),\n            parametrization=parametrization,\n"
        "            variance=variance,",
        "schedule.subchain(steps),\n            parametrization=parametrization,\n"
        "            variance=lambda _: chosen,",
        (
            f"{WRAP}a_shorter_chain_is_the_closed_form_of_its_own_betas",
            f"{WRAP}a_variance_may_be_any_function_of_the_schedule",
        ),
    ),
    (
        "t/T of the sub-chain (H15)",
        "gaussian/reverse.py",
        "schedule.kept[t - 1].double() / schedule.whole_T",
        "schedule.kept[t - 1].double() / schedule.T",
        (f"{WRAP}a_network_of_t_below_T_is_the_sub_chain_of_these",),
    ),
    (
        "one label for the first image alone",
        "networks/adapter.py",
        "return value.expand(count, *value.shape)",
        "return value[None]",
        (f"{WRAP}arguments_are_repeated_over_the_batch_where_they_are_tensors",),
    ),
    # A diffusers scheduler's config.
    (
        "fixed_large_log read as something else (H13)",
        "pretrained/scheduler.py",
        '"fixed_large_log": large,',
        '"fixed_large_log": small,',
        (f"{GRID}each_variance_type_is_its_formula_at_every_t[fixed_large_log]",),
    ),
    (
        "fixed_small_log read as a deviation (H13)",
        "pretrained/scheduler.py",
        '"fixed_small_log": small,',
        '"fixed_small_log": large,',
        (f"{GRID}each_variance_type_is_its_formula_at_every_t[fixed_small_log]",),
    ),
    (
        "learned range mixes variances, not logarithms, in a diffusers model (H12)",
        "gaussian/variance.py",
        "fraction * at(self.schedule.beta, t, x_t).log() + (1 - fraction) * log_low",
        "(fraction * at(self.schedule.beta, t, x_t) + (1 - fraction) * log_low.exp()).log()",
        (f"{STEP}[epsilon-learned_range-False-all]",),
    ),
    (
        "q's variance is the model's (H10)",
        "gaussian/forward.py",
        "self.schedule.posterior_variance",
        "self.schedule.beta",
        (f"{WRAP}the_bound_of_a_linear_network_is_its_closed_form[eps-eps-large]",),
    ),
    (
        "clip_sample ignored (H17)",
        "pretrained/scheduler.py",
        'clips = config["clip_sample"] and not config["thresholding"]',
        "clips = False",
        (f"{STEP}[epsilon-fixed_small-True-all]",),
    ),
    (
        "thresholding ignored (H17)",
        "pretrained/scheduler.py",
        '    if not config["thresholding"]:\n        return plain',
        "    if True:\n        return plain",
        (f"{GRID}dynamic_thresholding_is_part_of_the_step",),
    ),
    (
        "thresholding over the batch",
        "pretrained/scheduler.py",
        "flat.abs().quantile(self.ratio, dim=1, keepdim=True)",
        "flat.abs().flatten().quantile(self.ratio)",
        (f"{GRID}dynamic_thresholding_is_part_of_the_step",),
    ),
    (
        "x_0 read as eps",
        "pretrained/scheduler.py",
        '"sample": "x_0"',
        '"sample": "eps"',
        (f"{STEP}[sample-fixed_small-False-all]",),
    ),
    (
        "index and t mixed up (H15)",
        "pretrained/scheduler.py",
        "return [int(i) + 1 for i in index]",
        "return [max(int(i), 1) for i in index]",
        (f"{GRID}kept_steps_are_the_timesteps_of_diffusers",),
    ),
    (
        "steps_offset forgotten (H14)",
        "pretrained/scheduler.py",
        "* (T // steps) + offset",
        "* (T // steps)",
        (f"{GRID}kept_steps_are_the_timesteps_of_diffusers",),
    ),
    (
        "absent keys are DDPM's defaults for any class",
        "pretrained/scheduler.py",
        "own = {**_defaults(getattr(diffusers, name)), **raw}",
        "own = dict(raw)",
        (f"{GRID}absent_keys_are_the_defaults_of_that_class",),
    ),
    (
        "eps passes at zero terminal SNR in a config (H24)",
        "pretrained/scheduler.py",
        'if kind == "epsilon" and float(schedule.alpha_bar[-1]) == 0:',
        "if False:",
        (f"{GRID}what_has_no_bound_is_refused_in_one_line",),
    ),
    (
        "an EDM scheduler gets a number",
        "pretrained/scheduler.py",
        "    if name in SAME_Q:\n        return",
        "    if True:\n        return",
        (f"{GRID}what_has_no_bound_is_refused_in_one_line",),
    ),
    (
        "alpha_bar shifted in place of its root (H24)",
        "pretrained/schedules.py",
        "half = 0.5 * schedule.log_alpha_bar[1:]",
        "half = 1.0 * schedule.log_alpha_bar[1:]",
        (f"{GRID}every_schedule_is_diffusers_own_in_float64",),
    ),
    (
        "a schedule of diffusers in float32 (H22)",
        "pretrained/schedules.py",
        'return Schedule("laplace", torch.tensor(log_alpha, dtype=torch.float64))',
        'return Schedule("laplace", torch.tensor(log_alpha).double())',
        (f"{GRID}every_schedule_is_diffusers_own_in_float64",),
    ),
    # Better variances and sub-chains.
    (
        "optimal variance with c for c^2",
        "gaussian/optimal_variance.py",
        "gain = schedule.posterior_x_0[2:].square().reshape(one_per_t)",
        "gain = schedule.posterior_x_0[2:].reshape(one_per_t)",
        (f"{OPTIMAL}on_gaussian_data_it_is_the_closed_form",),
    ),
    (
        "optimal variance on beta",
        "gaussian/optimal_variance.py",
        "schedule.posterior_variance[2:].reshape(one_per_t) + gain * M",
        "schedule.beta[2:].reshape(one_per_t) + gain * M",
        (f"{OPTIMAL}on_gaussian_data_it_is_the_closed_form",),
    ),
    (
        "expected KL of one dimension",
        "gaussian/optimal_variance.py",
        " * (error.dims / M.shape[1])",
        "",
        (f"{OPTIMAL}the_expected_kl_is_the_mean_of_the_public_term",),
    ),
    (
        "shrunk the wrong way round",
        "gaussian/optimal_variance.py",
        "return own * M + (1 - own) * M.mean(-1, keepdim=True)",
        "return (1 - own) * M + own * M.mean(-1, keepdim=True)",
        (f"{OPTIMAL}shrunk_errors_serve_other_images_like_the_better_of_both_tables",),
    ),
    (
        "a jump at the small variance called optimal",
        "gaussian/optimal_subchain.py",
        "torch.log1p(falls[s, :s, None] * part)",
        "(falls[s, :s, None] * part)",
        (f"{OPTIMAL}a_jump_costs_what_the_sub_chain_of_it_does",),
    ),
    (
        "a part of the dimensions in place of those before",
        "gaussian/optimal_subchain.py",
        "jumps[s, :s] += torch.log1p",
        "jumps[s, :s] = torch.log1p",
        (f"{OPTIMAL}jumps_of_many_dimensions_are_summed_in_parts",),
    ),
    (
        "a greedy sub-chain",
        "gaussian/optimal_subchain.py",
        "reach, below = (jumps + reach).min(1)",
        "below = jumps.argmin(1)\n        reach = jumps.min(1).values + reach[below]",
        (f"{OPTIMAL}it_is_the_best_of_all_sub_chains",),
    ),
    (
        "a sub-chain that ends for nothing",
        "gaussian/optimal_subchain.py",
        "        totals.append(reach + prior)",
        "        totals.append(reach)",
        (f"{OPTIMAL}it_is_the_best_of_all_sub_chains",),
    ),
    (
        "the longest sub-chain for the best",
        "gaussian/optimal_subchain.py",
        "return int(self.bounds[:at_most].argmin()) + 1",
        "return at_most",
        (f"{OPTIMAL}with_other_networks_more_steps_may_cost_and_best_says_so",),
    ),
    # The hybrid loss.
    (
        "the mean learns from the bound too",
        "gaussian/objective.py",
        "answer.output.detach()",
        "answer.output",
        (f"{HYBRID}the_mean_learns_from_l_simple_and_the_variance_from_the_bound",),
    ),
    (
        "the hybrid loss without its T",
        "gaussian/objective.py",
        "weight * p.q.T * _term",
        "weight * _term",
        (
            f"{HYBRID}the_value_is_l_simple_plus_weight_times_t_times_the_term",
            f"{HYBRID}the_mean_over_t_is_l_simple_plus_weight_times_the_bound_less_its_prior_term",
        ),
    ),
    (
        "the hybrid loss's rows in another order",
        "gaussian/objective.py",
        "torch.cat(parts)[torch.cat([start, later]).argsort()]",
        "torch.cat(parts)",
        (f"{HYBRID}the_value_is_l_simple_plus_weight_times_t_times_the_term",),
    ),
    (
        "the hybrid loss without the clip",
        "gaussian/objective.py",
        "mean = p.clipped(p.parametrization.x_0(answer.output.detach(), x_t, t, q.schedule))",
        "mean = p.parametrization.x_0(answer.output.detach(), x_t, t, q.schedule)",
        (f"{HYBRID}the_value_is_l_simple_plus_weight_times_t_times_the_term",),
    ),
    # Recipes of real images.
    (
        "a low rank read channel by channel last",
        "networks/logits.py",
        "c.reshape(-1, len(self.table), c[0, 0].numel())",
        "c.reshape(-1, c[0, 0].numel(), len(self.table)).mT",
        (f"{RECIPE}logits_of_low_rank_are_a_table_times_what_the_network_says_of_each_pixel",),
    ),
    (
        "patches put together in another order",
        "networks/unet.py",
        "pixel_shuffle(output, self.patch)",
        "pixel_shuffle(output.roll(1, 1), self.patch)",
        (f"{RECIPE}patches_are_pixels_of_more_channels",),
    ),
    (
        "attention counted from the coarsest",
        "networks/unet.py",
        "for level in range(len(widths))]",
        "for level in reversed(range(len(widths)))]",
        (f"{RECIPE}attention_is_where_it_is_asked_for",),
    ),
    (
        "a later setting always written",
        "recipe/choices.py",
        "if key not in self.later or getattr(self, key) != fields[key].default",
        "if key not in self.later or value != fields[key].default",
        (f"{RECIPE}a_setting_that_is_new_is_written_only_where_it_is_used",),
    ),
    (
        "other data trained on and measured alike",
        "recipe/changed.py",
        'f"{train}:train", f"{train}:test"',
        'f"{train}:train", f"{train}:train"',
        (f"{RECIPE}other_data_stand_in_both_places_and_need_a_test_split_or_test_data",),
    ),
    (
        "the class of a CIFAR-10 record read as its first pixel",
        "data/named.py",
        "records[:, 1:]",
        "records[:, :-1]",
        ("tests/test_data.py::test_cifar10_is_read_plane_by_plane_from_its_records",),
    ),
    (
        "the bound by one call: L_0 in another row",
        "gaussian/objective.py",
        "terms.index_copy(0, rows.to(x_0.device), L_0)",
        "terms.index_copy(0, rows.to(x_0.device), L_0.flip(0))",
        (f"{ONE_TIME}value_and_gradient_are_those_of_the_chain",),
    ),
    (
        "the bound by one call: no factor T",
        "gaussian/objective.py",
        "self.prior_rest + p.q.T * terms",
        "self.prior_rest + terms",
        (f"{ONE_TIME}value_and_gradient_are_those_of_the_chain",),
    ),
    (
        "a step by numbers: the coefficients of t - 1",
        "gaussian/ancestral.py",
        "i = t - 1",
        "i = t - 2",
        (f"{ONE_TIME}a_step_by_numbers_is_the_step_to_the_bit",),
    ),
    (
        "steps that are made together share a draw",
        "tasks/train/draws.py",
        "Block(noise.draw(number), ",
        "Block(noise.draw(number // self.length), ",
        ("tests/tasks/test_train_draws.py::test_the_noise_of_a_row_is_that_of_its_image_and_step",),
    ),
    (
        "a block's first rows for each of its parts",
        "bound/noise.py",
        "return made[rows]",
        "return made[: rows.stop - rows.start]",
        ("tests/bound/test_noise.py::test_a_row_of_a_block_has_the_numbers_that_it_has_by_itself",),
    ),
]
