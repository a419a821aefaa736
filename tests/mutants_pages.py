"""Deliberate errors in what a page says of a result, and in what is drawn on it."""

__all__ = ["PAGES"]

PAGE = "tests/report/test_page.py::test_"
RUNS = "tests/report/test_page_of_runs.py::test_"
PLOTS = "tests/report/test_plots.py::test_"
TEXT = "tests/report/test_text_page.py::test_"

READ = "tests/report/test_saved.py::test_an_evaluation_that_was_read_is_one"
PAGES = [
    (
        "a result that is read has the spread of one more image",
        "results/stored.py",
        "return Mean.of_half(self.mean(part), half, self.images - 1)",
        "return Mean.of_half(self.mean(part), half, self.images)",
        (READ,),
    ),
    (
        "a half of the interval of a look read as its standard error",
        "results/stored.py",
        'Mean.of_half(self.mean(part), self.half(part["ci95_monte_carlo"]), math.inf)',
        'Mean(self.mean(part), self.half(part["ci95_monte_carlo"]), math.inf)',
        (READ,),
    ),
    (
        "an error of x0-hat read as that of a whole image",
        "results/evaluation_parts.py",
        "* level).square() * self.dims",
        "* level).square()",
        (READ,),
    ),
    (
        "a log SNR that is not read back",
        "results/evaluation_parts.py",
        "return known or None",
        "return None",
        (READ,),
    ),
    (
        "the table beside a model's result is not looked for",
        "tasks/report/model_page.py",
        "return measured(result, say)",
        "return read(result, say), None",
        (
            "tests/report/test_model_page.py::test_"
            "the_table_of_images_beside_a_result_is_that_of_its_page",
        ),
    ),
    (
        "the Monte Carlo interval shown for sampling of images",
        "results/shown.py",
        "return self.half_width(self.total)",
        "return self.half_width(self.monte_carlo)",
        (f"{PAGE}the_numbers_are_those_of_the_result_as_the_command_line_rounds_them",),
    ),
    (
        "a standard error shown as half an interval",
        "results/evaluation.py",
        "mean.mean, self.dims), self.half_width(mean))",
        "mean.mean, self.dims), self._per_dim(mean.se))",
        (f"{PAGE}the_numbers_are_those_of_the_result_as_the_command_line_rounds_them",),
    ),
    (
        "another schema is read as this one",
        "results/evaluation.py",
        "if schema != SCHEMA:",
        "if False:",
        (f"{PAGE}what_is_no_result_is_refused_in_one_line",),
    ),
    (
        "ids of one chart in all of them",
        "report/svg.py",
        'f"{name}-{number}"',
        'f"part-{number}"',
        (f"{PAGE}the_page_of_a_run_is_whole_and_shows_everything",),
    ),
    (
        "JSON that ends its own script",
        "report/page/assembly.py",
        'whole.replace("<", "\\\\u003c")',
        "whole",
        (f"{PAGE}names_are_text_whatever_they_are",),
    ),
    (
        "names that are markup",
        "report/page/assembly.py",
        "autoescape=True,",
        "autoescape=False,",
        (f"{PAGE}names_are_text_whatever_they_are",),
    ),
    (
        "control variates that always pass",
        "report/page/checks.py",
        'if not control["passed"]',
        "if False",
        (f"{PAGE}checks_say_what_the_result_says",),
    ),
    (
        "shares of negative terms",
        "report/page/headline.py",
        "term.value >= -1e-9 * whole",
        "True",
        (f"{PAGE}what_is_negative_or_unknown_is_written_and_not_drawn",),
    ),
    (
        "groups over log SNR with t of all",
        "report/plotted.py",
        "t, bits, se, x, place = t[kept]",
        "_, bits, se, x, place = t[kept]",
        (f"{PLOTS}over_log_snr_every_bit_is_kept_and_what_is_infinite_left_out",),
    ),
    (
        "the dearest images are the cheapest",
        "tasks/report/drawing.py",
        "order.flip(0)[:count]",
        "order[:count]",
        (f"{RUNS}the_easiest_and_hardest_images_are_those_of_the_table",),
    ),
    (
        "the place in the table taken for the id",
        "tasks/report/drawing.py",
        "images.levels[place[id]]",
        "images.levels[id]",
        (f"{RUNS}the_easiest_and_hardest_images_are_those_of_the_table",),
    ),
    (
        "x0-hat of the step before",
        "gaussian/reverse.py",
        "return self.predict(x_t, t).x_0",
        "return self.predict(x_t, (t - 1).clamp(min=1)).x_0",
        (f"{RUNS}the_guess_of_a_gaussian_chain_is_off_by_what_its_steps_say[levels]",),
    ),
    (
        "a mean level that counts from 1",
        "categorical/reverse.py",
        "return log_probs.exp() @ levels",
        "return log_probs.exp() @ (levels + 1)",
        (f"{RUNS}the_guess_of_a_categorical_chain_is_the_mean_of_its_decoder",),
    ),
    (
        "a result of other weights has a page",
        "tasks/report/report.py",
        'if model.sha256() != result.model.get("sha256"):',
        "if False:",
        (f"{RUNS}a_result_of_other_weights_is_refused",),
    ),
    (
        "quarters of the chain from t = 0",
        "training/loop.py",
        "4 * (t - 1) // self.model.T",
        "(4 * t // self.model.T).clamp(max=3)",
        ("tests/tasks/test_train.py::test_the_losses_of_the_quarters_of_the_chain_make_the_loss",),
    ),
    (
        "the way of another text than the first sample",
        "tasks/report/drawing.py",
        "on_its_way(levels[0].tolist(), n, symbols)",
        "on_its_way(levels[-1].tolist(), n, symbols)",
        (f"{TEXT}the_page_of_text_has_samples_and_their_way_from_masks",),
    ),
    (
        "what follows the end of a text is shown",
        "sampling/texts.py",
        "if symbols.end in ids:",
        "if False:",
        (f"{TEXT}a_text_on_its_way_ends_where_its_end_symbol_is",),
    ),
]
