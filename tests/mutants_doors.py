"""What scheduler classes do by themselves, and types of configs: the fields of `mutants.Mutant`."""

__all__ = ["DOORS"]

CLASSES = "tests/formats/test_scheduler_classes.py::test_"

DOORS = [
    (
        "x0-hat clipped by classes that never clip",
        "formats/diffusers/scheduler_classes.py",
        '"clip_sample": False,',
        '"clip_sample": True,',
        (f"{CLASSES}x0_hat_is_clipped_where_the_class_itself_clips",),
    ),
    (
        "a key at work that the class does not read",
        "formats/diffusers/scheduler_classes.py",
        "known = key in own or key in REVERSE",
        "known = True",
        (f"{CLASSES}a_key_that_the_class_does_not_read_does_nothing_and_is_named",),
    ),
    (
        "latents clipped by default",
        "formats/foreign.py",
        'scheduler = scheduler.unclipped() if decoder == "density" else scheduler',
        "pass",
        (f"{CLASSES}a_density_is_clipped_only_where_somebody_says_it",),
    ),
    (
        "DDPM's betas for a class that is not here",
        "formats/diffusers/scheduler_classes.py",
        '"beta_start": 0.00085,',
        '"beta_start": 0.0001,',
        (f"{CLASSES}a_class_that_is_not_here_has_its_own_defaults",),
    ),
    (
        "DDPM's steps for every class",
        "formats/diffusers/scheduler_classes.py",
        "if name in BY_FORMULA:",
        'if config["timestep_spacing"] is not None:',
        (f"{CLASSES}a_shorter_chain_keeps_the_times_of_the_class",),
    ),
    (
        "text taken for true",
        "typed_json.py",
        "strict=True",
        "strict=False",
        (f"{CLASSES}a_value_of_another_type_is_refused_by_file_key_and_value",),
    ),
    (
        "the last of two equal keys wins",
        "typed_json.py",
        "if len(result) < len(pairs):",
        "if False:",
        (f"{CLASSES}what_is_no_json_object_is_refused_in_one_line",),
    ),
]
