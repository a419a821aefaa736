"""Deliberate errors where a person looks: the command line, and what is shown of a training."""

__all__ = ["PERSON"]

SHOWN = "tests/tasks/test_train_shown.py::test_"
CLI = "tests/test_cli_person.py::test_"
IMPROVE = "tests/tasks/test_improve.py::test_"
RECIPE = "tests/test_recipe.py::test_"

PERSON = [
    (
        "progress: a second part of the work at the rate of the first",
        "cli/progress.py",
        "if done < self.last:",
        "if done < 0:",
        (CLI + "the_time_left_is_stated_once_something_is_done",),
    ),
    (
        "command: large arrays are mapped anew each time",
        "__main__.py",
        "KEEPING = ((-4, 0), (-1, -1))",
        "KEEPING = ((-1, -1),)",
        (CLI + "memory_that_is_freed_is_used_again_unless_the_user_says_otherwise",),
    ),
    (
        "shown: samples by the generator that dropout draws from",
        "training/pictures.py",
        "seed = self.recipe.training.seed",
        "seed = int(torch.randint(9, ())) * 0",
        (SHOWN + "drawing_samples_does_not_disturb_training",),
    ),
    (
        "shown: samples by other noise at each step",
        "training/pictures.py",
        "seed = self.recipe.training.seed",
        "seed = int(path.stem[5:])",
        (SHOWN + "samples_are_those_of_the_averaged_weights_by_the_same_noise_each_time",),
    ),
    (
        "shown: samples of the raw weights",
        "training/loop.py",
        "self.pictures.draw(average,",
        "self.pictures.draw(self.state.learner.network,",
        (SHOWN + "samples_are_those_of_the_averaged_weights_by_the_same_noise_each_time",),
    ),
    (
        "shown: samples that a signal put off are never drawn",
        "training/loop.py",
        "        self._draw()\n        if position.measured",
        "        if position.measured",
        (SHOWN + "a_signal_while_samples_are_drawn_saves_and_the_picture_is_drawn_later",),
    ),
    (
        "shown: sampling does not hear a signal",
        "training/pictures.py",
        "            turn()\n",
        "",
        (SHOWN + "a_signal_while_samples_are_drawn_saves_and_the_picture_is_drawn_later",),
    ),
    (
        "shown: a tracker counts steps from 0",
        "training/log.py",
        'step=whole_at(entry, "step"))',
        'step=whole_at(entry, "step") - 1)',
        (
            SHOWN + "a_tracker_receives_what_the_log_holds_and_changes_nothing",
            SHOWN + "tensorboard_shows_what_the_log_holds_after_a_kill_too",
        ),
    ),
    (
        "shown: TensorBoard keeps what a killed start has shown",
        "training/tracking.py",
        '{"purge_step": step + 1} if step else {}',
        "{}",
        (SHOWN + "tensorboard_shows_what_the_log_holds_after_a_kill_too",),
    ),
    (
        "shown: a missing package is found when it is needed",
        "training/tracking.py",
        "if find_spec(name) is None:",
        "if False:",
        (SHOWN + "a_tracker_that_is_missing_is_refused_before_any_work",),
    ),
    (
        "person: a hint that is no command",
        "cli/start.py",
        "steps = [step for step in steps if step[0].split()[1] in commands]",
        "pass",
        (CLI + "only_commands_that_there_are_are_proposed",),
    ),
    (
        "person: NO_COLOR that is empty counts",
        "cli/terminal.py",
        'bool(os.environ.get("NO_COLOR"))',
        '"NO_COLOR" in os.environ',
        (CLI + "colours_are_as_the_user_wants_them",),
    ),
    (
        "person: bars in a pipe where colours are forced",
        "cli/progress.py",
        "if not sys.stderr.isatty():",
        "if not console(stderr=True).is_terminal:",
        (CLI + "there_is_no_bar_without_a_terminal_even_if_colours_are_forced",),
    ),
    (
        "person: a record that is not named",
        "cli/outputs.py",
        "also=[*also, *filter(None, [record])],",
        "also=also,",
        (CLI + "every_file_that_is_written_is_named_at_the_end",),
    ),
    (
        "person: options of the whole line only before the command",
        "cli/command_line.py",
        "return [*general, *others, *arguments[end:]]",
        "return list(arguments)",
        (CLI + "quiet_leaves_warnings_alone_and_verbose_says_what_is_read",),
    ),
    (
        "person: the first key that is like the word, in its own case only",
        "errors.py",
        "difflib.get_close_matches(word.casefold(), spelt, n=1)",
        "difflib.get_close_matches(word.upper(), spelt, n=1)",
        (RECIPE + "a_misspelt_word_of_a_recipe_is_guessed",),
    ),
    (
        "an x0-hat of NaN is squared",
        "estimation/errors.py",
        'evaluator.finite((prediction.x_0 - x_0).flatten(1), t, image, "x0-hat")',
        "(prediction.x_0 - x_0).flatten(1).double().cpu()",
        (IMPROVE + "an_x0_hat_that_is_not_finite_is_named_by_t_and_image",),
    ),
    (
        "building a model seeds the GPU, amid its training",
        "recipe/build.py",
        "torch.default_generator.manual_seed(",
        "torch.manual_seed(",
        (RECIPE + "the_same_seed_gives_the_same_weights_and_leaves_torchs_generators_alone",),
    ),
]
