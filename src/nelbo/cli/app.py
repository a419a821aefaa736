"""The command line itself: what all commands belong to."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from nelbo.cli.start import next_steps
from nelbo.cli.terminal import TerminalOptions, set_terminal_options
from nelbo.errors import BadInput, printable

__all__ = ["EVERYWHERE", "app", "check_alone", "is_typed"]

EVERYWHERE = frozenset({"--debug", "-q", "--quiet", "-v", "--verbose", "--no-color"})
"""Options of the command line that may stand behind a command too."""

SHARING = ("train", "evaluate", "compare")  # what several processes do together


class Command(TyperCommand):
    """A command whose --help has a section for each panel of options, in plain text."""

    def format_options(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401 - click's, or typer's
        """Arguments, options, and then each panel, with its name above it."""
        sections: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
        for parameter in self.get_params(ctx):
            own = parameter.param_type_name.capitalize() + "s"
            panel = getattr(parameter, "rich_help_panel", None) or own
            record = parameter.get_help_record(ctx)
            if record is not None:
                sections.setdefault(panel, []).append(record)
        for name, records in sections.items():
            if records:
                with formatter.section(name):
                    formatter.write_dl(records)


app = typer.Typer(
    invoke_without_command=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
)


def _version(requested: bool) -> None:
    if requested:
        from nelbo import __version__

        print(__version__)
        raise typer.Exit


@app.callback(
    epilog="-q, -v, --no-color and --debug may stand behind a command too. NO_COLOR and "
    "FORCE_COLOR are obeyed. Results go to stdout, all else to stderr."
)
def root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("-q", "--quiet", help="No progress and no hints; warnings stay.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("-v", "--verbose", help="Say what is read, and where it is computed.")
    ] = False,
    no_color: Annotated[bool, typer.Option("--no-color", help="Plain text in a terminal.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """The variational bound of diffusion models: train by it, measure with it, sample.

    \b
    nelbo demo                                    train, measure and sample on digits
    nelbo train digits -o runs/digits             train a recipe
    nelbo recipes new --data my-images/           a recipe for your own, and its cost
    nelbo evaluate runs/digits --data digits:test bits/dim with intervals
    nelbo evaluate --plan plan.toml               several models on several data sets
    nelbo compare runs/a runs/b                   which is better, paired, with intervals
    nelbo merge parts/*.json -o result.json       what evaluate --part wrote, made into one
    nelbo classify runs/digits-classes            which class each image has
    nelbo rank runs/digits                        the easiest images and the hardest
    nelbo improve runs/digits -o runs/better      a better bound from the same weights
    nelbo sample runs/digits -o samples.png
    nelbo compress runs/twin images/ -o a.nlb     without a loss, as small as the likelihood says
    nelbo report runs/digits -o report.html       the result as a page to look at
    nelbo derive runs/digits                      every line of the derivation, with its value
    nelbo cite runs/digits                        BibTeX of what was used
    """
    set_terminal_options(TerminalOptions(quiet, verbose, not no_color))
    check_alone(context.invoked_subcommand)
    if context.invoked_subcommand is None:
        print(printable(next_steps(Path(), _commands()), lines=True))


def check_alone(command: str | None) -> None:
    """Before any work: of several processes each would do all of it, and one destroy the other's.

    Raises:
        BadInput: there are several, and the command does not share its work.
    """
    size = os.environ.get("WORLD_SIZE", "1")
    if command is not None and command not in SHARING and size != "1":
        raise BadInput(
            f"nelbo {command} is the work of one process, and WORLD_SIZE = {size}: start it "
            "without torchrun; train, evaluate and compare share theirs"
        )


def _commands() -> set[str]:
    named = ((command.name, command.callback) for command in app.registered_commands)
    return {name or callback.__name__ for name, callback in named if callback is not None}


def is_typed(context: typer.Context, name: str) -> bool:
    """Whether the user gave this parameter, in place of its default."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"
