"""The traps of models of other libraries, each stepped into: what must then fail.

With `mutants_models.MODELS`, where the scheduler's own are, a table of conventions and hazards

    | where it says so | trap |
    |---|---|
    | folder | EMA or raw, pickles, git-lfs pointers, missing keys, a scheduler elsewhere |
    | scheduler | names of schedules and variances, V_1, clipping, spacing, samplers of the same q |
    | network | halves of channels, labels, the null class, ranges, float times, half precision |
    | neither | levels and range, that are defaults and are told to be |
    | improved | steps, variances, weights and options that are not those of the model |

as the fields of `mutants.Mutant`. H-numbers are those of the hazards.
"""

__all__ = ["FOLDERS"]

FOLDER = "tests/formats/test_diffusers_folder.py::test_"
GRID = "tests/formats/test_scheduler_grid.py::test_"
OTHERS = "tests/tasks/test_improve_others.py::test_"

FOLDERS = [
    # Files and weights.
    (
        "raw weights where there is a moving average (H37)",
        "formats/diffusers/folder.py",
        'kind = weights or ("ema" if ema.is_dir() else "raw")',
        'kind = weights or "raw"',
        (f"{FOLDER}the_moving_average_is_preferred_and_named",),
    ),
    (
        "one set of weights under any name (H37)",
        "formats/diffusers/folder.py",
        "if weights not in (None, known):",
        "if False:",
        (f"{FOLDER}one_set_of_weights_is_not_both",),
    ),
    (
        "a git-lfs pointer read as a file",
        "formats/diffusers/folder.py",
        "if file.read(len(POINTER)) == POINTER:",
        "if False:",
        (f"{FOLDER}a_git_lfs_pointer_has_its_own_message",),
    ),
    (
        "full unpickling",
        "formats/diffusers/networks.py",
        'torch.load(file, map_location="cpu", weights_only=True)',
        'torch.load(file, map_location="cpu", weights_only=False)',
        (f"{FOLDER}a_malicious_pickle_is_refused_and_does_not_run",),
    ),
    (
        "weights left at random values",
        "formats/diffusers/networks.py",
        'for problem in ("missing_keys", "unexpected_keys", "mismatched_keys"):',
        "for problem in ():",
        (f"{FOLDER}a_folder_without_a_bound_is_refused_in_one_line",),
    ),
    (
        "a local folder looked up on the hub",
        "formats/hub.py",
        "if not place.exists() and is_hub_name(str(path)) else place",
        "if is_hub_name(str(path)) or place.is_dir() else place",
        (f"{FOLDER}a_local_folder_never_asks_the_network",),
    ),
    # The chain.
    (
        "scaled_linear read as linear",
        "formats/diffusers/schedules.py",
        '"scaled_linear": lambda: scaled_linear(T, *ends),',
        '"scaled_linear": lambda: linear(T, *ends),',
        (f"{GRID}every_schedule_is_diffusers_own_in_float64",),
    ),
    (
        "rescale_betas_zero_snr ignored (H24)",
        "formats/diffusers/schedules.py",
        'return zero_terminal_snr(schedule) if config["rescale_betas_zero_snr"] else schedule',
        "return schedule",
        (f"{GRID}zero_terminal_snr_is_exact",),
    ),
    (
        "betas in float32 (H22)",
        "formats/diffusers/schedules.py",
        '"linear": lambda: linear(T, *ends),',
        '"linear": lambda: from_betas(torch.linspace(*ends, T).tolist()),',
        (f"{GRID}every_schedule_is_diffusers_own_in_float64",),
    ),
    (
        "trained_betas of another length pass (H25)",
        "formats/diffusers/schedules.py",
        "if schedule.T != T:",
        "if False:",
        (f"{GRID}what_has_no_bound_is_refused_in_one_line",),
    ),
    (
        "V_1 as diffusers clamps it (H05)",
        "formats/foreign.py",
        'V_1: float | str = "beta_tilde_2"',
        "V_1: float | str = 1e-20",
        (f"{GRID}the_decoder_has_x0_hat_and_the_variance_v_1",),
    ),
    (
        "variances of the whole chain in a shorter one (H14)",
        "formats/foreign.py",
        "return partial(VARIANCES[kind], V_1=first)",
        "whole: list[Variance] = []\n"
        "    make = partial(VARIANCES[kind], V_1=first)\n"
        "    return lambda schedule: whole[0] if whole else "
        "(whole.append(make(schedule)) or whole[0])",
        (
            f"{FOLDER}the_bound_of_an_affine_network_is_its_closed_form"
            "[unet-epsilon-fixed_small-leading]",
        ),
    ),
    (
        "t for the index (H15)",
        "formats/foreign.py",
        'time_input=TIME_INPUTS["index"],',
        'time_input=TIME_INPUTS["t"],',
        (
            f"{GRID}the_reverse_step_of_a_dit_is_that_of_ddpm_scheduler[epsilon-fixed_small-True-all]",
        ),
    ),
    (
        "evenly spaced steps whatever the config says (H14)",
        "formats/foreign.py",
        "        spacing=scheduler.spacing,\n",
        "",
        (
            f"{GRID}the_reverse_step_of_a_dit_is_that_of_ddpm_scheduler"
            "[epsilon-fixed_small-True-leading]",
        ),
    ),
    (
        "a clip range of its own read as the usual one (H17)",
        "formats/diffusers/scheduler.py",
        "clip=(-reach, reach) if clips else None,",
        "clip=(-1.0, 1.0) if clips else None,",
        (f"{FOLDER}a_range_of_clipping_that_is_not_the_datas_is_kept",),
    ),
    (
        "no clip asked for, and clipped (H17)",
        "formats/diffusers/scheduler.py",
        '        config["clip_sample"], config["thresholding"] = clip, False\n',
        "",
        (f"{FOLDER}clipping_changes_the_bound",),
    ),
    (
        "a sampler passed off as DDPM",
        "formats/foreign.py",
        'foreign = scheduler.name != "DDPMScheduler"',
        "foreign = False",
        (f"{GRID}a_sampler_on_the_same_q_is_read_as_its_ddpm",),
    ),
    # The network.
    (
        "a second half dropped in silence",
        "formats/foreign.py",
        "if wanted is None and not learned:",
        "if False:",
        (f"{FOLDER}doubled_channels_of_a_fixed_variance_are_not_decided_in_silence",),
    ),
    (
        "a learned variance asked for, and not used (H12)",
        "formats/foreign.py",
        'return "learned_range", "option"',
        'return kind, "option"',
        (f"{FOLDER}doubled_channels_of_a_fixed_variance_are_not_decided_in_silence",),
    ),
    (
        "a network that sees more than x_t",
        "formats/diffusers/networks.py",
        "if outputs not in (channels, 2 * channels):",
        "if False:",
        (f"{FOLDER}twice_the_channels_means_twice_those_of_the_data",),
    ),
    (
        "class 0 for no class",
        "formats/diffusers/networks.py",
        "count if label is None else label, count if null else count - 1",
        "label or 0, count if null else count - 1",
        (f"{FOLDER}a_dit_is_called_with_its_label_and_its_doubled_channels",),
    ),
    (
        "a class decided in silence",
        "formats/diffusers/networks.py",
        "if label is None and not null:",
        "label = 0 if label is None and not null else label\n    if False:",
        (f"{FOLDER}a_unet_of_classes_needs_the_class_to_be_specified",),
    ),
    (
        "an output divided by sigma",
        "formats/diffusers/networks.py",
        'if full.get("time_embedding_type") == "fourier":',
        "if False:",
        (f"{FOLDER}score_networks_are_refused",),
    ),
    (
        "a range that is not the usual one taken for it (H04)",
        "formats/foreign.py",
        "if options.range is None and unusual:",
        "if False:",
        (f"{FOLDER}a_folder_without_a_bound_is_refused_in_one_line",),
    ),
    (
        "t in the network's dtype (H23)",
        "gaussian/reverse.py",
        "whole = isinstance(self.network, OnPath) or not time.is_floating_point()",
        "whole = isinstance(self.network, OnPath)",
        (f"{FOLDER}a_network_in_half_precision_receives_whole_steps",),
    ),
    (
        "a default passed off as the config's word",
        "model/settings.py",
        'return (default, "default") if option is None',
        'return (default, "config") if option is None',
        (f"{FOLDER}options_say_what_the_config_does_not_and_are_reported_with_their_source",),
    ),
    # Improved folders.
    (
        "steps of a sub-chain taken for those of the whole (H14)",
        "tasks/improve.py",
        '"steps": costs.schedule.kept[torch.tensor(kept) - 1].tolist(),',
        '"steps": kept,',
        (f"{OTHERS}a_sub_chain_or_an_improved_model_is_improved_by_its_own_steps",),
    ),
    (
        "options of an improved folder lost",
        "formats/improved.py",
        'Options.of(object_at(about, "options"))',
        "Options()",
        (f"{OTHERS}an_improved_folder_is_loaded_as_it_was_made",),
    ),
    (
        "an improvement used for other weights",
        "formats/improved.py",
        'if model.sha256() != about["sha256"]:',
        "if False:",
        (f"{OTHERS}a_folder_that_was_tampered_with_or_cut_short_is_refused",),
    ),
    (
        "the weights copied before what was improved",
        "formats/improved.py",
        "    return (place / NAME).is_file()",
        "    return (place / NAME).is_file() and (place / 'x').is_file()",
        (f"{OTHERS}an_improved_folder_is_loaded_as_it_was_made",),
    ),
    (
        "a learned variance in the way of the table",
        "model/gaussian.py",
        "variance = replace(variance, outputs=p.variance.outputs)",
        "variance = replace(variance, outputs=0)",
        (f"{OTHERS}a_variance_of_the_networks_own_gives_way_to_the_table",),
    ),
    (
        "errors of the first images alone",
        "tasks/improve.py",
        "images.subset(_mixed(len(images), seed)[:IMAGES].sort().values)",
        "images.first(min(len(images), IMAGES))",
        (f"{OTHERS}errors_are_measured_on_images_from_anywhere",),
    ),
]
