"""What follows the path in a spec: `,key=value`, once or more."""

from collections.abc import Sequence

from nelbo.data.images import shown
from nelbo.errors import BadInput, closest

__all__ = ["options"]


def options(spec: str, keys: Sequence[str], what: str) -> tuple[str, dict[str, str]]:
    """The path, and the options behind it by name; what: the source that messages say it is.

    Raises:
        BadInput: a key that is none of these, or twice.
    """
    parts, values = spec.split(","), dict[str, str]()
    while len(parts) > 1 and "=" in parts[-1]:
        key, _, value = parts.pop().partition("=")
        if key not in keys:
            near = closest(key, keys)
            hint = f"did you mean {near}?" if near else f"they are {', '.join(keys)}"
            raise BadInput(f"{shown(spec)}: unknown option {shown(key)} of {what}: {hint}")
        if key in values:
            raise BadInput(f"{shown(spec)}: {key} is given twice")
        values[key] = value
    return ",".join(parts), values
