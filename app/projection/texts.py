"""Texts that may come from anyone, made fit to stand in one line of a file."""


def fit(text: object, longest: int) -> str:
    """One line of at most ``longest`` characters that can be written as UTF-8."""
    line = " ".join(str(text or "")[: 2 * longest].encode("utf-8", "replace").decode().split())
    return line if len(line) <= longest else f"{line[: longest - 1].rstrip()}…"
