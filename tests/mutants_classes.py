"""Deliberate errors in which image has which class, from the bound to the data."""

__all__ = ["CLASSES"]

BOUND = "tests/bound/test_conditional.py::test_"
MEASURED = "tests/estimation/test_class_bounds.py::test_"
TASKS = "tests/tasks/test_classes.py::test_"
DATA = "tests/test_labels.py::test_"
ROW = f"{BOUND}every_estimate_of_a_row_is_that_of_its_own_class"
DERIVED = f"{BOUND}the_derivation_holds_given_a_condition_and_is_that_of_each_class"
COMPARED = "a_conditional_model_is_compared_with_an_unconditional_one_on_the_same_noise"
LIMIT = f"{MEASURED}the_limit_of_many_steps_is_given_the_labels_too"

CLASSES = [
    # The rows of a conditional chain.
    (
        "classes: those of the first rows at t = 1",
        "bound/estimators.py",
        "reconstruction_term(chain.rows(start),",
        "reconstruction_term(chain.rows(torch.arange(len(start))),",
        (f"{ROW}[gaussian-term]", f"{ROW}[categorical-one time]"),
    ),
    (
        "classes: those of the first rows at t > 1",
        "bound/estimators.py",
        "transition_term(chain.rows(later),",
        "transition_term(chain.rows(torch.arange(len(later))),",
        (f"{ROW}[gaussian-term]", f"{ROW}[likelihood-decoded-one time]"),
    ),
    (
        "classes: paths in another order than their images",
        "bound/estimators.py",
        "trajectory(chain.rows(row), x_0[row]",
        "trajectory(chain.rows(torch.arange(len(x_0)).repeat(paths)), x_0[row]",
        (f"{ROW}[gaussian-weighted]",),
    ),
    (
        "classes: a condition that stays in the model",
        "bound/chain.py",
        "other = copy.copy(self)",
        "other = self",
        (f"{BOUND}without_a_condition_nothing_is_passed_and_nothing_is_copied",),
    ),
    (
        "classes: one label broadcast over a batch",
        "bound/chain.py",
        "if len(c) != len(x):",
        "if len(c) not in (1, len(x)):",
        (f"{BOUND}a_condition_of_other_rows_is_an_error_and_not_a_broadcast",),
    ),
    (
        "classes: those of other paths in the factors",
        "derivation/factors.py",
        "chain.p.rows(row).step(x_t, t)",
        "chain.p.rows(row.sort().values).step(x_t, t)",
        (DERIVED,),
    ),
    (
        "classes: that of the first image on all paths",
        "derivation/sampling.py",
        "self.chain.rows(example)",
        "self.chain.rows(torch.zeros_like(example))",
        (DERIVED,),
    ),
    (
        "classes: those of the first paths for the independent draws",
        "derivation/sampling.py",
        "chain.rows(own)",
        "chain.rows(torch.arange(len(own)))",
        (DERIVED,),
    ),
    (
        "classes: those of other rows in the independent draws",
        "derivation/sampling.py",
        "term(chain.rows(row),",
        "term(chain.rows(row.sort().values),",
        (DERIVED,),
    ),
    (
        "classes: a level likelihood over a chain of p(x)",
        "gaussian/continuous.py",
        "self.reverse.given(*self.condition).step",
        "self.reverse.step",
        (f"{ROW}[likelihood-decoded-term]",),
    ),
    (
        "classes: not split with their rows",
        "networks/batches.py",
        "zip(*(x.split(size) for x in rows), strict=True)",
        "((*p, *(x[: len(p[0])] for x in rows[2:])) "
        "for p in zip(*(x.split(size) for x in rows[:2]), strict=True))",
        (f"{BOUND}a_network_is_called_on_few_rows_with_their_own_labels",),
    ),
    # Measuring.
    (
        "classes: those of the first images for L_0",
        "estimation/evaluator.py",
        "whole.rows(image)\n                x_1",
        "whole.rows(torch.arange(len(image)))\n                x_1",
        (f"{MEASURED}each_image_has_the_bound_of_its_own_class[False]",),
    ),
    (
        "classes: those of the rows and not of their images",
        "estimation/evaluator.py",
        "whole.rows(image)\n                moment",
        "whole.rows(row % len(self.images))\n                moment",
        (f"{MEASURED}rows_in_any_order_have_the_classes_of_their_images",),
    ),
    (
        "classes: not in a record",
        "estimation/evaluator.py",
        'hashes["labels"] = self.images.labels_sha256',
        'hashes["labels"] = None',
        (f"{MEASURED}a_record_goes_on_with_the_same_labels_alone",),
    ),
    (
        "classes: those of the first images for the errors",
        "estimation/errors.py",
        "p.rows(image).predict",
        "p.rows(torch.arange(len(image))).predict",
        (f"{MEASURED}the_errors_of_each_image_are_those_of_its_own_class",),
    ),
    (
        "classes: lost with the steps that are left out",
        "model/continuous.py",
        "for each in fields(_AlongCurve)}",
        'for each in fields(_AlongCurve)} | {"classes": None}',
        (LIMIT,),
    ),
    (
        "classes: a limit of p(x)",
        "gaussian/precise.py",
        "self.model.given(*chain.p.condition)",
        "self.model",
        (LIMIT,),
    ),
    (
        "classes: a label that is none of them",
        "model/condition.py",
        "if not 0 <= int(labels.min()) <= int(labels.max()) < classes:",
        "if not 0 <= int(labels.min()) <= int(labels.max()) <= classes:",
        (f"{TASKS}a_label_that_is_no_class_is_named",),
    ),
    (
        "classes: a figure of p(x | class) called one of p(x)",
        "results/context.py",
        'if "likelihood" in model else ""',
        'if "likelihood" not in model else ""',
        (f"{MEASURED}{COMPARED}",),
    ),
    # Training, sampling, improving.
    (
        "classes: those of the first images in every batch",
        "training/loop.py",
        "[c[index] for c in self.condition]",
        "[c[: len(index)] for c in self.condition]",
        (f"{TASKS}a_step_trains_on_each_image_with_its_own_label[bound]",),
    ),
    (
        "classes: a run that does not know its labels",
        "tasks/train.py",
        'data["labels"] = images.labels_sha256',
        'data["labels"] = ""',
        (f"{TASKS}a_run_does_not_go_on_with_other_labels",),
    ),
    (
        "classes: in groups and not in turn",
        "sampling/ancestral.py",
        "torch.arange(count) % (model.classes or 1)",
        "torch.arange(count) // 3 % (model.classes or 1)",
        (f"{TASKS}a_sample_of_a_class_is_that_of_its_own_chain",),
    ),
    (
        "classes: lost by improving",
        "model/gaussian.py",
        "classes=model.classes,",
        "classes=None,",
        (f"{TASKS}an_improved_model_of_classes_is_one",),
    ),
    (
        "classes: a conditional network that guesses",
        "networks/resnet.py",
        "        check_label(self.classes, label)\n",
        "",
        (f"{TASKS}a_network_refuses_to_guess_a_label[resnet-3]",),
    ),
    (
        "classes: an embedding that begins at random",
        "networks/resnet.py",
        "nn.init.zeros_(self.label.weight)",
        "pass",
        (f"{TASKS}a_network_of_classes_begins_as_the_one_without",),
    ),
    (
        "classes: written into recipes that have none",
        "recipe/choices.py",
        '("rank", "classes", "embedding")',
        '("rank", "embedding")',
        (f"{TASKS}older_recipes_are_written_as_they_were",),
    ),
    # Labels as data.
    (
        "classes: a part of the digits with the labels of the whole",
        "data/named.py",
        "array[kept], labels[kept]",
        "array[kept], labels[: len(kept)]",
        (f"{DATA}the_digits_have_the_labels_of_scikit_learn_and_the_digests_that_they_had",),
    ),
    (
        "classes: a subset with the labels of the first images",
        "data/examples.py",
        "self.labels[where]",
        "self.labels[: len(where)]",
        (f"{DATA}labels_stay_with_their_images",),
    ),
    (
        "classes: as many labels as there happen to be",
        "data/named.py",
        "if len(labels) != count:",
        "if False:",
        (f"{DATA}labels_that_are_not_whole_are_refused_by_name",),
    ),
]
