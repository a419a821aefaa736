"""Deliberate errors in what is said of several results beside each other."""

__all__ = ["COMPARISON"]

RANKING = "tests/report/test_ranking.py::test_"
ALL = "tests/tasks/test_compare_all.py::test_"
PAGE = "tests/report/test_comparison_page.py::test_"

COMPARISON = [
    (
        "paired results with the interval of separate images",
        "results/ranking.py",
        "        mean = _mean(values)\n",
        "        mean = _welch(a.mean, b.mean)\n",
        (f"{RANKING}two_results_of_the_same_images_are_paired",),
    ),
    (
        "images paired by their place in the table",
        "results/ranking.py",
        '[entry.images["id"].argsort()]',
        "",
        (f"{RANKING}an_image_meets_itself_whatever_the_order_of_its_table",),
    ),
    (
        "images of other data paired",
        "results/ranking.py",
        '        return "they were measured on different images"\n',
        "        return None\n",
        (
            f"{RANKING}what_cannot_be_paired_says_why_and_has_the_interval_of_separate_images[images]",
        ),
    ),
    (
        "noise of one seed taken to be independent",
        "results/ranking.py",
        "    if not at_most:\n",
        "    if True:\n",
        (f"{RANKING}noise_that_may_be_shared_is_not_taken_to_be_independent",),
    ),
    (
        "the best picked by looking, tested as if it had not been",
        "results/ranking.py",
        "1 - (1 - LEVEL) / self.together",
        "LEVEL",
        (f"{RANKING}three_looks_need_more_than_one",),
    ),
    (
        "bits of 17 levels beside bits of 256",
        "results/ranking.py",
        '        ("levels", a.levels, b.levels),\n',
        "",
        (f"{RANKING}what_is_no_comparison_is_refused_in_one_line[changes2-levels, 17 and 256]",),
    ),
    (
        "the worst model first",
        "results/ranking.py",
        "key=lambda one: (one[0].per_dim, json",
        "key=lambda one: (-one[0].per_dim, json",
        (f"{RANKING}the_order_in_which_results_are_given_leaves_no_trace[order0]",),
    ),
    (
        "column minus row",
        "report/page/comparison.py",
        "(1, (a, b)) if row < column else (-1, (b, a))",
        "(1, (a, b)) if row < column else (1, (b, a))",
        (f"{PAGE}the_differences_are_those_of_the_ranking_and_their_signs_agree",),
    ),
    (
        "terms of chains of other lengths as if they were alike",
        "report/ranking_plots.py",
        "points.bits[later] * scale",
        "points.bits[later]",
        (f"{PAGE}chains_of_other_lengths_are_laid_over_each_other",),
    ),
    (
        "settings that are the same for all beside each other",
        "report/page/comparison.py",
        "if len(set(values)) == 1:",
        "if False:",
        (f"{PAGE}only_what_differs_is_beside_each_other",),
    ),
    (
        "several: the first minus each of the others",
        "tasks/compare_all.py",
        "                other,\n                first,\n",
        "                first,\n                other,\n",
        (f"{ALL}each_is_the_other_minus_the_first",),
    ),
    (
        "several: each tested as if it were the only one",
        "results/comparisons.py",
        "(1 - LEVEL) / len(self.comparisons)",
        "(1 - LEVEL)",
        (f"{ALL}several_looks_need_wider_intervals",),
    ),
]
