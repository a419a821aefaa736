"""How many digits of a number are printed: as many as its interval knows."""

__all__ = ["plain_number", "with_half"]

DECIMALS = 4


def plain_number(value: float, half: float | None = None) -> str:
    """Four decimals, or as many as two digits of half its interval need; 6.4e-05 if it is small."""
    if half is None and 0 < abs(value) < 10**-DECIMALS * 9.5:
        return f"{value:.1e}"
    decimals = DECIMALS
    if half:
        decimals = max(DECIMALS, 1 - int(f"{half:.1e}".partition("e")[2]))
    return f"{value:.{decimals}f}"


def with_half(value: float, half: float | None, sign: str = "") -> str:
    """value ± half, both with the same number of decimals; sign: "+" for that of a difference."""
    mark = "+" if sign and value >= 0 else ""
    known = "unknown" if half is None else plain_number(half, half)
    return f"{mark}{plain_number(value, half or 0.0)} ± {known}"
