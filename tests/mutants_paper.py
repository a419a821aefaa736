"""Deliberate errors in tables and figures of papers."""

__all__ = ["PAPER"]

LAW = "tests/report/test_paper.py::test_"
VERDICT = "tests/report/test_verdict.py::test_"
RECIPES = "tests/test_recipes_command.py::test_"
NOTEBOOK = "tests/report/test_notebook.py::test_"

PAPER = [
    (
        "the Monte Carlo column shows the interval for new images",
        "report/tables.py",
        "half = result.half_monte_carlo",
        "half = result.half",
        (f"{LAW}a_table_has_the_numbers_of_its_results",),
    ),
    (
        "a table without its terms in their order",
        "report/tables.py",
        'r"$\\sum L_{t-1}$", "Σ L_(t−1)", _term(1)',
        'r"$\\sum L_{t-1}$", "Σ L_(t−1)", _term(2)',
        (f"{LAW}a_table_has_the_numbers_of_its_results",),
    ),
    (
        "an interval that four decimals do not show",
        "results/rounding.py",
        "    if half:\n",
        "    if False:\n",
        (f"{LAW}a_number_has_the_digits_that_its_interval_knows",),
    ),
    (
        "an ampersand of a name that begins a column",
        "report/rows.py",
        'for character in "&%$#_{}"',
        'for character in "%$#_{}"',
        (f"{LAW}names_are_text_to_latex_and_to_markdown",),
    ),
    (
        "a warned result beside others without a word",
        "report/tables.py",
        "for text in result.warnings]",
        "for text in ()]",
        (f"{LAW}what_a_reader_has_to_know_stands_under_the_table",),
    ),
    (
        "fonts that journals refuse",
        "report/figures.py",
        '"pdf.fonttype": 42,',
        '"pdf.fonttype": 3,',
        (f"{LAW}a_figure_is_a_file_of_its_width_without_a_title[rate]",),
    ),
    (
        "the second result minus the first",
        "report/figures.py",
        "change = difference(a, b)",
        "change = difference(b, a)",
        (f"{LAW}the_lines_are_those_of_the_results",),
    ),
    (
        "a loss drawn beside a bound",
        "report/figures.py",
        "held_out = all(",
        "held_out = any(",
        (f"{LAW}a_training_is_its_held_out_bound_where_every_log_has_one",),
    ),
    (
        "the worse model called better",
        "results/verdict.py",
        "(a if difference < 0 else b)",
        "(b if difference < 0 else a)",
        (f"{VERDICT}the_verdict_says_what_the_intervals_say",),
    ),
    (
        "models told apart by the Monte Carlo interval alone",
        "results/verdict.py",
        "if half is not None and size > half:",
        "if half is not None and size > half_monte_carlo:",
        (f"{VERDICT}the_verdict_says_what_the_intervals_say",),
    ),
    (
        "A read for B",
        "results/comparison.py",
        'a=_side(read, object_at(tree, "a")),',
        'a=_side(read, object_at(tree, "b")),',
        (f"{VERDICT}a_comparison_is_read_back_as_it_was",),
    ),
    (
        "a patch by which the U-Net cannot be halved",
        "recipe/fitted.py",
        "if height % (2 * patch) == 0 and height // patch <= INSIDE",
        "if height // patch <= INSIDE",
        (f"{RECIPES}a_recipe_fits_whatever_the_shape_and_the_levels[shape4-256]",),
    ),
    (
        "log SNR of few levels for many",
        "recipe/fitted.py",
        "3.03 if n >= MANY_LEVELS else 6.2",
        "6.2",
        (f"{RECIPES}data_like_those_of_a_recipe_get_that_recipe",),
    ),
    (
        "held-out images that cost nothing",
        "tasks/cost.py",
        "held_out=choice.held_out * choice.held_out_budget,",
        "held_out=0,",
        (f"{RECIPES}a_cost_is_measured_and_leaves_nothing",),
    ),
    (
        "evaluations that fall as the precision, not as its square",
        "tasks/cost.py",
        "(1.96 * RELATIVE * self.bits / precision) ** 2",
        "1.96 * RELATIVE * self.bits / precision",
        (f"{RECIPES}a_cost_adds_up",),
    ),
    (
        "held-out images that take more of --minutes than training",
        "tasks/cost.py",
        "min(self.times, math.floor(MEASURING * seconds / each))",
        "self.times",
        (f"{RECIPES}a_cost_adds_up",),
    ),
    (
        "held-out images measured more often than time was left for",
        "recipe/fitted.py",
        "return every if steps // every <= measured else math.ceil(steps / measured)",
        "return every",
        (f"{RECIPES}held_out_images_are_measured_at_most_as_often_as_time_was_left_for",),
    ),
    (
        "a card with the Monte Carlo interval alone",
        "report/card.py",
        '"ci95_half_width_sampling_of_images": result.half,',
        '"ci95_half_width_sampling_of_images": result.half_monte_carlo,',
        ("tests/report/test_card.py::test_the_hub_reads_the_result_back",),
    ),
    (
        "a notebook shows the interval for new images twice",
        "report/showing.py",
        "_half(result.half_monte_carlo)",
        "_half(result.half)",
        (f"{NOTEBOOK}a_cell_is_the_head_of_the_page",),
    ),
]
