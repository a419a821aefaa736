"""Deliberate errors in what a file, an array or a recipe is read as."""

__all__ = ["DATA"]

DOORS = "tests/test_data_doors.py::test_"
TYPED = "tests/test_recipe_typed.py::test_"

DATA = [
    (
        "data: booleans under any levels",
        "data/images.py",
        "or (bools and self.n != 2)",
        "and not bools",
        (DOORS + "a_type_that_cannot_count_to_the_levels_is_refused_at_every_door",),
    ),
    (
        "data: bytes under more than 256 levels",
        "data/images.py",
        "if held < self.n or",
        "if",
        (DOORS + "a_type_that_cannot_count_to_the_levels_is_refused_at_every_door",),
    ),
    (
        "data: narrow greys stretched to 0..255",
        "data/pictures.py",
        "array // (255 // (n - 1))",
        "array",
        (DOORS + "a_narrow_grey_is_read_under_its_own_levels_and_refused_under_others",),
    ),
    (
        "data: narrow greys under any levels",
        "data/pictures.py",
        "bits is not None and n != 2**bits",
        "bits == 1 and n not in (2, 256)",
        (
            DOORS + "a_narrow_grey_is_read_under_its_own_levels_and_refused_under_others",
            DOORS + "a_picture_of_one_bit_and_the_same_array_are_one_data_set",
        ),
    ),
    (
        "data: a digest without its last images",
        "data/images.py",
        "for start in range(0, len(array), BLOCK):",
        "for start in range(0, len(array) - 1, BLOCK):",
        ("tests/test_large_arrays.py::test_a_mapped_array_is_the_images_that_it_would_be",),
    ),
    (
        "the bytes of the first tensor for those of the one that is named",
        "data/tensors.py",
        'LENGTH.size + length + int(number_of(list_at(entry, "data_offsets")[0]))',
        "LENGTH.size + length",
        ("tests/test_large_arrays.py::test_a_tensor_of_a_file_is_the_one_that_was_saved",),
    ),
    (
        "data: a digest of some images that does not say of how many",
        "data/images.py",
        'origin={**self.origin, "taken_of": len(self)} if self.mapped else self.origin,',
        "",
        ("tests/test_large_arrays.py::test_a_mapped_array_is_the_images_that_it_would_be",),
    ),
    (
        "data: a fourth channel dropped",
        "data/stored.py",
        "tags.get(SAMPLES, 1) > len(image.getbands())",
        "tags.get(SAMPLES, 1) > 9",
        (DOORS + "what_a_reader_rescales_drops_or_fills_is_refused_by_name",),
    ),
    (
        "data: palettes of 16 bits cut to 8",
        "data/stored.py",
        "if b % 257 and b % 256",
        "if b < 0",
        (DOORS + "what_a_reader_rescales_drops_or_fills_is_refused_by_name",),
    ),
    (
        "data: rows that are not there are black",
        "data/stored.py",
        'if image.format in ("PNG", "GIF"):',
        'if image.format == "GIF":',
        (DOORS + "a_picture_whose_data_end_early_is_refused",),
    ),
    (
        "data: a JPEG that ends early is filled",
        "data/stored.py",
        "out += data[place:end] + JUNK",
        "out += data[place:end]",
        (DOORS + "a_picture_whose_data_end_early_is_refused",),
    ),
    (
        "data: a JPEG that stops at a restart is filled",
        "data/stored.py",
        'more if restarts else b""',
        'b""',
        (DOORS + "whole_jpegs_of_many_kinds_are_taken_and_short_ones_are_not",),
    ),
    (
        "data: the last of two arrays of one name",
        "data/arrays.py",
        "if count > 1]",
        "if count > 9]",
        (DOORS + "an_npz_with_two_arrays_of_one_name_is_refused",),
    ),
    (
        "data: train and test merged",
        "data/spec.py",
        "if split is None and len(splits) > 1:",
        "if split is None and len(splits) > 9:",
        (DOORS + "a_folder_of_splits_is_read_by_one_of_them_and_never_merged",),
    ),
    (
        "data: test images that are trained on are not counted",
        "training/test_data.py",
        "sum(row in known for row in _digests(test))",
        "int(training.sha256 == test.sha256)",
        (TYPED + "test_images_that_are_trained_on_are_counted_aloud",),
    ),
    (
        "data: file names in the order of evaluation",
        "results/per_image.py",
        "shown(self.sources[i]) for i in order",
        "shown(name) for name in reversed(self.sources)",
        (TYPED + "the_per_image_table_of_a_folder_has_its_file_names",),
    ),
    (
        "recipe: true is 1",
        "recipe/part.py",
        "allow_inf_nan=False, strict=True)\n\n\nclass Growing",
        "allow_inf_nan=False)\n\n\nclass Growing",
        (TYPED + "a_value_of_another_type_is_refused_with_file_key_and_value",),
    ),
    (
        "recipe: a schedule's true is 1",
        "model/parts.py",
        "TYPED = ConfigDict(strict=True,",
        "TYPED = ConfigDict(",
        (TYPED + "a_value_of_another_type_is_refused_with_file_key_and_value",),
    ),
    (
        "recipe: a change that training does not see",
        "recipe/read.py",
        "        _change(tree, changes)\n",
        "        _change(dict(tree), changes[:1])\n",
        (TYPED + "set_changes_any_key_and_is_recorded_in_the_run",),
    ),
]
