"""What is on disk and believed: results, tables, checkpoints, sizes; fields of `mutants.Mutant`."""

__all__ = ["LASTING"]

TABLES = "tests/test_tables_and_results.py::test_"
CRAFTED = "tests/test_crafted_checkpoints.py::test_"
SIZES = "tests/test_sizes.py::test_"
DISK = "tests/test_disk.py::test_"
SAMPLE = "tests/tasks/test_sample.py::test_"

LASTING = [
    (
        "a table of another evaluation",
        "results/per_image.py",
        "result.update(values.contiguous()",
        "(values.contiguous()",
        (f"{TABLES}a_changed_table_makes_no_page",),
    ),
    (
        "the digest of a table by its file",
        "results/per_image.py",
        'values = column if name == "id" else torch.where(column.isnan(), math.nan, column)',
        "values = column + 0.0",
        (f"{TABLES}what_is_unknown_has_one_digest",),
    ),
    (
        "terms of an image that do not add up",
        "results/per_image.py",
        "if bool(off.any()):",
        "if False:",
        (f"{TABLES}an_older_result_is_read_and_what_it_lacks_is_reported",),
    ),
    (
        "a total that is not the sum of its terms",
        "results/result.py",
        "if not _same(value, sum(term.value for term in result.terms), *result.terms):",
        "if False:",
        (f"{TABLES}a_result_that_contradicts_itself_makes_no_page",),
    ),
    (
        "an interval round another figure",
        "results/result.py",
        "not _same(value, sum(ends) / 2, *ends)",
        "False",
        (f"{TABLES}a_result_that_contradicts_itself_makes_no_page",),
    ),
    (
        "nats per image of other dims",
        "results/result.py",
        'if not _same(tree.get("nats_per_image", nats), nats):',
        "if False:",
        (f"{TABLES}a_result_that_contradicts_itself_makes_no_page",),
    ),
    (
        "figures under the name of another model",
        "results/result.py",
        "result.tree.get(CONTENT, content := digest_of(result.tree)) != content",
        "False",
        (f"{TABLES}what_a_result_is_of_cannot_be_edited_and_an_older_one_reports_so",),
    ),
    (
        "figures of a result that nobody measured",
        "results/result.py",
        "result.tree.get(DIGEST, figures := figures_digest(result.tree)) != figures",
        "False",
        (f"{TABLES}a_figure_that_was_edited_makes_no_page",),
    ),
    (
        "weights that are cast to the dtype of the network",
        "recipe/build.py",
        "if name in own and own[name].dtype != x.dtype:",
        "if False:",
        (f"{CRAFTED}crafted_tensors_are_refused",),
    ),
    (
        "noise of the place of a step among those that are drawn together",
        "training/draws.py",
        "self.times.draw(KeyedNoise.of(self.seed, steps), ",
        "self.times.draw(KeyedNoise.of(self.seed, steps - first), ",
        ("tests/tasks/test_train_draws.py::test_a_step_sees_the_same_whatever_is_made_with_it",),
    ),
    (
        "a copy in a record that counts",
        "estimation/record.py",
        "if NAMED.fullmatch(path.name)",
        'if path.name.startswith("values-")',
        (f"{SIZES}a_copy_in_a_record_is_not_of_it",),
    ),
    (
        "a NaN of a mass drawn as level 0",
        "gaussian/decoder.py",
        "return value.masked_fill(uniform.isnan(), torch.nan)",
        "return value",
        (f"{SAMPLE}a_nan_at_any_t_of_any_family_is_no_sample",),
    ),
    (
        "a NaN of a discretized mean drawn as level 0",
        "gaussian/decoder.py",
        "return torch.where(x.isnan(), x, self.grid.values(self.grid.levels(x), x.dtype))",
        "return self.grid.values(self.grid.levels(x), x.dtype)",
        (f"{SAMPLE}a_nan_at_any_t_of_any_family_is_no_sample",),
    ),
    (
        "a NaN of a state's mass drawn as state 0",
        "sampling/ancestral.py",
        "distribution.log_probs.exp().sum(-1) if isinstance(distribution, Categorical) else x",
        "x",
        (f"{SAMPLE}a_nan_at_any_t_of_any_family_is_no_sample",),
    ),
    (
        "a guess that is NaN drawn as half grey",
        "tasks/report/drawing.py",
        "            _require_finite(x_0_hat, t, some)\n",
        "",
        ("tests/report/test_page_of_runs.py::test_a_guess_that_is_not_finite_makes_no_page",),
    ),
    (
        "steps of an improvement that are looked at after the work",
        "tasks/improve.py",
        "    _require_measured(steps, min(candidates, model.T))\n",
        "",
        (f"{DISK}what_is_refused_has_written_nothing",),
    ),
    (
        "a budget that is looked at when the record is there",
        "tasks/evaluate.py",
        "    require_budget(None if exhaustive else given.budget, len(images), model.T)\n",
        "",
        (f"{DISK}what_is_refused_has_written_nothing",),
    ),
    (
        "a folder of nothing that is in the way",
        "training/lock.py",
        "            folder.rmdir()\n",
        "            pass\n",
        (f"{DISK}a_start_that_wrote_nothing_is_not_in_the_way",),
    ),
    (
        "a derivation's page that replaces a result's",
        "cli/derive.py",
        'Output("--html", html, "derivation page",',
        'Output("--html", html, "page",',
        ("tests/test_outputs.py::test_an_earlier_output_of_the_same_kind_is_replaced",),
    ),
    (
        "an older result taken without a word",
        "results/result.py",
        "if CONTENT not in result.tree:",
        "if False:",
        (f"{TABLES}an_older_result_is_read_and_what_it_lacks_is_reported",),
    ),
]
