"""The command that says what a model is: inspect."""

from nelbo.cli.app import Command, app
from nelbo.cli.compressed_file import inspect_file, is_compressed
from nelbo.cli.options import JsonOption, ModelArgument, Steps, find_model
from nelbo.cli.outputs import Force, Output, check_outputs, deliver
from nelbo.cli.reading import Reading, reads_models
from nelbo.cli.terminal import console
from nelbo.errors import printable

__all__ = ["inspect"]


@app.command(cls=Command)
@reads_models
def inspect(
    model: ModelArgument,
    reading: Reading,
    steps: Steps = None,
    json: JsonOption = None,
    force: Force = False,
) -> None:
    """Say what a model is: every setting, and where it is from.

    \b
    nelbo inspect runs/digits
    nelbo inspect ./ddpm-cifar10 --json -
    nelbo inspect my-images.nlb
    """
    from nelbo.tasks.inspect import inspect as run

    check_outputs(Output("--json", json, "inspection", stdout=True), force=force)
    if is_compressed(model):
        inspect_file(model, json)
        return
    inspection = run(find_model(model, reading, "cpu", steps))

    def show() -> None:
        if json == "-":
            print(inspection.to_json(), end="")
            return
        screen = console()
        screen.print(printable(inspection.heading), markup=False, soft_wrap=True)
        screen.print(inspection.table())
        for warning in inspection.warnings:
            screen.print(printable(f"warning: {warning}"), markup=False, soft_wrap=True)

    deliver(show, (json, inspection.to_json().encode), stdout=json != "-")
