"""The integer twin that `nelbo improve --integers` makes, for compress and decompress."""

from pathlib import Path

from nelbo.cli.options import check_new, command, find_model, find_training_data
from nelbo.cli.outputs import Output, check_outputs, deliver_result
from nelbo.cli.progress import bars
from nelbo.cli.reading import Reading
from nelbo.cli.terminal import artefacts, detail, note

__all__ = ["improve_integers"]

COMPARED = 500  # images, where the command line does not say: whole numbers are computed slowly


def improve_integers(
    model: str,
    reading: Reading,
    output: Path,
    data: str | None,
    test: str | None,
    held_out: float,
    precision: float,
    budget: int | None,
    max_images: int | None,
    seed: int,
    check: bool,
    device: str,
    json: str | None,
    force: bool,
) -> None:
    """Makes the integer twin of a run, and measures what it costs, paired."""
    from nelbo.tasks.compare import compare
    from nelbo.tasks.integers import integer_twin, save

    check_new(output)
    check_outputs(Output("--json", json, "comparison", stdout=True), force=force)
    loaded = find_model(model, reading, device)
    fitted, others = find_training_data(model, loaded, data, test, held_out, seed)
    if max_images is None and len(others) > COMPARED:
        note(f"what it costs is of the first {COMPARED} of {len(others):,} images: --max-images N")
        max_images = COMPARED
    others = others if max_images is None else others.first(max_images)
    twin = integer_twin(loaded, fitted, seed=seed)
    folder = save(model, twin, output)
    detail(f"{folder}: made from {len(fitted):,} images of {fitted.name}")
    with bars() as start:
        result = compare(
            twin,
            loaded,
            others,
            precision=precision,
            budget=budget,
            seed=seed,
            check=check,
            command=command(),
            progress=start("twin and original"),
        )
    deliver_result(result, json, also=artefacts(folder))
    note("A is the integer twin, B the network that it was made of")
