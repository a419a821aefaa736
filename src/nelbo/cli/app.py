"""The command line itself: what all commands belong to."""

from typing import Annotated

import typer

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
)


def _version(asked: bool) -> None:
    if asked:
        from nelbo import __version__

        print(__version__)
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """The variational bound of diffusion models: train by it, measure with it, sample.

    \b
    nelbo demo                                    train, measure and sample on digits
    nelbo train digits -o runs/digits             train a recipe
    nelbo evaluate runs/digits --data digits:test bits/dim with intervals
    nelbo compare runs/a runs/b                   which is better, paired, with intervals
    nelbo improve runs/digits -o runs/better      a better bound from the same weights
    nelbo sample runs/digits -o samples.png
    nelbo report runs/digits -o report.html       the result as a page to look at
    nelbo derive runs/digits                      every line of the derivation, with its value
    """
