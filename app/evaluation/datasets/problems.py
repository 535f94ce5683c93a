"""What is wrong with the files of a dataset, all of it at once."""

from collections.abc import Iterator

from app.domain.benchmark_datasets import InvalidDatasetError

SHOWN = 20
LONGEST_SHOWN = 40
UTF16 = (b"\xff\xfe", b"\xfe\xff")
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def shown(value: object) -> str:
    """A value as it may stand in a message; of a long one no more is looked at than is shown."""
    if isinstance(value, str) and len(value) > LONGEST_SHOWN:
        return f"{value[:LONGEST_SHOWN]!r}…"
    return type(value).__name__ if isinstance(value, list | dict) else repr(value)


class Problems:
    """Collects them; of many only the first are kept."""

    def __init__(self) -> None:
        self._first: list[str] = []
        self._count = 0

    def __bool__(self) -> bool:
        return self._count > 0

    def add(self, where: str, what: str) -> None:
        """``where`` is a file with a line, or a path in one."""
        self._count += 1
        if len(self._first) < SHOWN:
            self._first.append(f"{where}: {what}")

    def raise_any(self) -> None:
        """Raises InvalidDatasetError if there is one."""
        if not self._count:
            return
        more = self._count - len(self._first)
        ending = f"; and {more} more" if more else ""
        raise InvalidDatasetError(f"the dataset cannot be used: {'; '.join(self._first)}{ending}")


def decode(name: str, content: bytes) -> str:
    """The text of a file, without a byte order mark. Raises InvalidDatasetError."""
    if content.startswith(UTF16):
        raise InvalidDatasetError(f"{name}: is UTF-16; save it as UTF-8")
    try:
        return content.removeprefix(BYTE_ORDER_MARK).decode()
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise InvalidDatasetError(f"{name}:{line}: is not UTF-8; save the file as UTF-8") from error


def read_lines(name: str, content: bytes) -> Iterator[tuple[str, str]]:
    """Where each line that is not empty is, and its text; a line ends with LF or CRLF. Raises InvalidDatasetError."""
    for number, line in enumerate(decode(name, content).split("\n"), start=1):
        if line.strip():
            yield f"{name}:{number}", line.removesuffix("\r")
