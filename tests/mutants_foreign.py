"""Models of others and of functions: wrong in the number, or in what is recorded of it."""

__all__ = ["FOREIGN"]

FILES = "tests/formats/test_foreign_files.py::test_"
FUNCTION = "tests/test_file_function.py::test_"
TRIAL = "tests/formats/test_trial_and_hub.py::test_"

FOREIGN = [
    (
        "shards read and one file recorded",
        "formats/weights.py",
        "if len(files) > 1:",
        "if False:",
        (f"{FILES}two_layouts_of_one_variant_are_not_one_model",),
    ),
    (
        "the first variant taken in silence",
        "formats/weights.py",
        "if len(variants) > 1:",
        "if False:",
        (f"{FILES}of_several_variants_one_is_chosen_by_name",),
    ),
    (
        "a flag that is a text",
        "formats/diffusers/networks.py",
        "if isinstance(parameter.default, bool) and name in config:",
        "if False:",
        (f"{FILES}a_value_of_another_type_is_refused_by_file_key_and_value",),
    ),
    (
        "latents scaled by a text",
        "formats/diffusers/latents.py",
        "scaling_factor: Annotated[StrictFloat, Field(gt=0)] | None = None",
        "scaling_factor: Any = None",
        (f"{FILES}a_value_of_another_type_is_refused_by_file_key_and_value",),
    ),
    (
        "a network of float64 measured in float32",
        "cli/options.py",
        "    if dtype is not None:\n        model.network.to(getattr(torch, dtype))",
        "    model.network.to(getattr(torch, dtype or 'float32'))",
        (f"{FUNCTION}a_function_keeps_the_dtype_of_its_network",),
    ),
    (
        "another file's neighbour imported",
        "formats/python_file.py",
        "        del sys.modules[name]",
        "        pass",
        (f"{FUNCTION}modules_beside_two_files_are_each_files_own",),
    ),
    (
        "a function's model without the digest of its file",
        "formats/python_file.py",
        "model.settings.noting(python=about)",
        "model.settings",
        (f"{FUNCTION}python_loads_it_too_and_it_is_the_wrapped_model",),
    ),
    (
        "T not tried",
        "model/trial.py",
        "for t in sorted({1, model.T}):",
        "for t in (1,):",
        (f"{TRIAL}a_table_of_times_that_is_too_short_is_refused_with_t",),
    ),
    (
        "a trial in training mode",
        "model/trial.py",
        "        evaluating(model.network),\n",
        "",
        (f"{TRIAL}a_trial_leaves_no_trace",),
    ),
    (
        "another revision than was asked for",
        "formats/hub.py",
        "revision=revision",
        "revision=None",
        (f"{TRIAL}names_of_the_hub_with_folders_and_revisions",),
    ),
]
