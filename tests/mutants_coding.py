"""Deliberate errors in the codec and its integer networks, as the fields of `mutants.Mutant`."""

__all__ = ["CODING"]

INTEGERS = "tests/coding/test_integers.py::test_"
CODE = "tests/coding/test_code.py::test_"
CONTAINER = "tests/coding/test_container.py::test_"
PAGE = "tests/coding/test_bill_page.py::test_"
KILLS = "tests/coding/test_codec_kills.py::test_"
UNET = "tests/coding/test_unet_twin.py::test_"
COMPRESS = "tests/coding/test_compress.py::test_"

CODING = [
    (
        "a twin is compared on all images, whatever was stated",
        "cli/integers.py",
        "max_images = COMPARED",
        "max_images = None",
        (f"{COMPRESS}what_a_twin_costs_is_of_some_images_which_is_stated",),
    ),
    (
        "a single image that is named by its number",
        "tasks/compress.py",
        'archive.single and file.suffix == ".nlb"',
        'archive.single and file.suffix == ".x"',
        (f"{COMPRESS}a_single_image_comes_back_by_the_name_of_its_file",),
    ),
    (
        "a root that float64 rounded up is left",
        "networks/integers/arithmetic.py",
        "    root -= (root * root > x).long()\n",
        "",
        (f"{INTEGERS}the_root_is_the_largest_whole_number_whose_square_is_no_larger",),
    ),
    (
        "negative quotients towards zero",
        "networks/integers/arithmetic.py",
        'torch.div(above, root, rounding_mode="floor")',
        'torch.div(above, root, rounding_mode="trunc")',
        (f"{INTEGERS}a_norm_is_that_of_pythons_whole_numbers",),
    ),
    (
        "sums of products in float32",
        "networks/integers/arithmetic.py",
        "(weight @ inputs).long()",
        "(weight.float() @ inputs.float()).long()",
        (f"{INTEGERS}products_that_nearly_cancel_add_up_exactly",),
    ),
    (
        "a bias is left out of the declared range",
        "networks/integers/arithmetic.py",
        "[w * most + abs(b) for",
        "[w * most + 0 * b for",
        (
            f"{INTEGERS}a_layer_whose_declared_range_passes_2_to_the_53_is_refused_by_name",
            f"{INTEGERS}a_twin_is_checked_when_it_is_loaded",
        ),
    ),
    (
        "the magnitude of -2^63 in int64",
        "networks/integers/arithmetic.py",
        "return max(int(x.max()), -int(x.min()))",
        "return int(x.abs().max())",
        (f"{INTEGERS}a_norm_whose_scaled_values_overflow_is_refused",),
    ),
    (
        "a silu table whose end is cut at 2^15",
        "networks/integers/filling.py",
        "LARGEST.bit_length() - (half - 1).bit_length()",
        "(LARGEST + 1).bit_length() - half.bit_length()",
        ("tests/coding/test_twin.py::test_a_silu_table_of_any_even_length_is_that_of_silu",),
    ),
    (
        "a state is not checked when it is loaded",
        "networks/integers/twin.py",
        "lambda module, keys: module.check()",
        "lambda module, keys: None",
        (f"{INTEGERS}a_twin_is_checked_when_it_is_loaded",),
    ),
    (
        "masses without the one that each level has",
        "coding/masses.py",
        "(share + 1).scatter_add",
        "share.scatter_add",
        (f"{CODE}masses_are_those_of_pythons_whole_numbers_and_add_up",),
    ),
    (
        "constriction shares out masses that hold its own one already",
        "coding/entropy.py",
        "(masses - 1).double()",
        "masses.double()",
        (f"{CODE}a_code_lies_in_the_exact_interval_and_no_shorter_one_does",),
    ),
    (
        "an end that is cut a byte late",
        "coding/entropy.py",
        "range(2 * WORD, -1, -8)",
        "range(2 * WORD - 24, -1, -8)",
        (f"{CODE}a_code_lies_in_the_exact_interval_and_no_shorter_one_does",),
    ),
    (
        "the network receives of the first t alone",
        "coding/ordered.py",
        "twin.rows[hidden - 1]",
        "twin.rows[0 * hidden]",
        (f"{CODE}the_ideal_length_is_the_ordered_likelihood",),
    ),
    (
        "a group sees itself",
        "coding/ordered.py",
        "                parts.append(self._logits(hidden, positions))\n"
        "                hidden[:, positions] = flat[:, positions]\n",
        "                hidden[:, positions] = flat[:, positions]\n"
        "                parts.append(self._logits(hidden, positions))\n",
        (f"{CODE}the_ideal_length_is_the_ordered_likelihood",),
    ),
    (
        "a check that leaves out the head",
        "coding/container.py",
        "zlib.crc32(content[:8] + content[HEAD:end])",
        "zlib.crc32(content[HEAD:end])",
        (f"{CONTAINER}what_is_written_is_read",),
    ),
    (
        "bytes behind the last code are passed over",
        "coding/container.py",
        "sum(size for size, _ in entries) != len(content)",
        "sum(size for size, _ in entries) > len(content)",
        (f"{CONTAINER}every_flipped_bit_and_every_cut_is_refused",),
    ),
    (
        "another twin decodes",
        "tasks/compress.py",
        "if archive.digest != _digest(model):",
        "if False:",
        (f"{COMPRESS}what_cannot_be_decoded_is_one_line_and_no_output",),
    ),
    (
        "a name may lead out of the folder",
        "tasks/compress.py",
        ' and not path.is_absolute() and ".." not in path.parts',
        "",
        (f"{COMPRESS}a_name_that_leads_elsewhere_is_refused",),
    ),
    (
        "a bill's page has codes for the file",
        "results/compression.py",
        'yield "file", "the whole file", self.file',
        'yield "file", "the whole file", self.coded',
        (f"{PAGE}a_bill_reads_back_and_its_page_has_the_bytes_of_the_file",),
    ),
    (
        "a picture is in its folder before the folder is whole",
        "cli/decompress.py",
        "with files.whole_folder(folder) as part:",
        "folder.mkdir()\n    if part := folder:",
        (
            f"{KILLS}a_full_disk_at_any_write_leaves_whole_files_or_none",
            f"{KILLS}a_kill_at_any_write_leaves_whole_files_or_none",
        ),
    ),
    (
        "a U-Net's twin has a skip before what comes from below",
        "networks/integers/unet.py",
        "torch.cat([h, skips.pop()], 1)",
        "torch.cat([skips.pop(), h], 1)",
        (f"{UNET}log_probabilities_are_those_of_the_unet_but_for_rounding",),
    ),
    (
        "a U-Net's twin forgets the time",
        "networks/integers/block.py",
        "(inside + shift).clamp",
        "(inside + 0 * shift).clamp",
        (f"{UNET}log_probabilities_are_those_of_the_unet_but_for_rounding",),
    ),
    (
        "a U-Net's twin doubles after the convolution",
        "networks/integers/unet.py",
        "stage.sampler(h.repeat_interleave(2, 2).repeat_interleave(2, 3), kind)",
        "stage.sampler(h, kind).repeat_interleave(2, 2).repeat_interleave(2, 3)",
        (f"{UNET}log_probabilities_are_those_of_the_unet_but_for_rounding",),
    ),
    (
        "a U-Net's twin has zeros at one side of an image alone",
        "networks/integers/arithmetic.py",
        "(left, left, above, above)",
        "(0, 2 * left, 0, 2 * above)",
        (f"{UNET}log_probabilities_are_those_of_the_unet_but_for_rounding",),
    ),
    (
        "a U-Net's twin forgets a shortcut",
        "networks/integers/block.py",
        "else self.shortcut(h, kind)",
        "else 0 * self.shortcut(h, kind)",
        (f"{UNET}log_probabilities_are_those_of_the_unet_but_for_rounding",),
    ),
    (
        "a U-Net's twin has a shortcut that no range is held against",
        "networks/integers/block.py",
        "            self.shortcut.check(most)\n",
        "            pass\n",
        (f"{UNET}every_layer_of_a_unet_is_held_against_its_declared_range",),
    ),
    (
        "a U-Net's twin has logits of other channels at some positions",
        "networks/integers/twin.py",
        "by_channel[:, positions // pixels, :,",
        "by_channel[:, 0 * positions, :,",
        (f"{UNET}a_unets_logits_are_the_same_bits_in_any_batch_on_any_path",),
    ),
    (
        "attention of a U-Net is passed over",
        "networks/integers/unet.py",
        "        if kind not in KINDS:\n",
        '        if kind not in (*KINDS, "Attention"):\n',
        (f"{UNET}a_unet_of_other_layers_is_refused_by_their_name",),
    ),
]
