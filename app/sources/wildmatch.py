"""Git's wildcards over the bytes of a path, in as many steps as that is long, whatever the pattern."""

from collections.abc import Callable

SLASH = ord("/")
NOT_SLASH = frozenset(range(256)) - {SLASH}
WILD = frozenset(b"*?[\\")
CLASSES: dict[bytes, Callable[[int], bool]] = {
    b"alnum": lambda byte: chr(byte).isalnum(),
    b"alpha": lambda byte: chr(byte).isalpha(),
    b"blank": lambda byte: byte in b" \t",
    b"cntrl": lambda byte: byte < 32 or byte == 127,
    b"digit": lambda byte: byte in b"0123456789",
    b"graph": lambda byte: 32 < byte < 127,
    b"lower": lambda byte: chr(byte).islower(),
    b"print": lambda byte: 32 <= byte < 127,
    b"punct": lambda byte: 32 < byte < 127 and not chr(byte).isalnum(),
    b"space": lambda byte: byte in b" \t\n\r",
    b"upper": lambda byte: chr(byte).isupper(),
    b"xdigit": lambda byte: byte in b"0123456789abcdefABCDEF",
}
"""What git takes them for: of ASCII alone, and a form feed is no space."""


class NeverMatchesError(Exception):
    """A bracket or an escape has no end; git matches nothing with such a pattern."""


class Wildmatch:
    """One pattern.

    ``*``, ``?`` and brackets stay inside a name, ``**`` between slashes goes through any number of folders. Places in
    the pattern are numbered, and those reached so far are the bits of one number: nothing is ever tried twice.

    Raises:
        NeverMatchesError: if no path can match.
    """

    def __init__(self, pattern: bytes) -> None:
        self._steps: list[frozenset[int]] = []
        self._stays = self._stays_in_name = self._skips = 0
        self._read(pattern)
        self._end = 1 << len(self._steps)
        self._after: dict[int, int] = {}
        # where paths through the pattern part or meet
        held = self._stays | self._stays_in_name | self._skips << 2
        self.literal = None if held or any(len(step) != 1 for step in self._steps) else _join(self._steps)
        self._head, self._tail = self._find_ends(held)

    def matches(self, path: bytes) -> bool:
        """Whether the whole path matches."""
        if self.literal is not None:
            return path == self.literal
        if not (path.startswith(self._head) and path.endswith(self._tail)):
            return False
        places = self._skip(1)
        for byte in path:
            stays = self._stays if byte == SLASH else self._stays | self._stays_in_name
            places = self._skip((places & self._steps_with(byte)) << 1 | places & stays)
            if not places:
                return False
        return bool(places & self._end)

    def _skip(self, places: int) -> int:
        skipped = places & self._skips
        return places | skipped << 1 | skipped << 2

    def _steps_with(self, byte: int) -> int:
        """The places that this byte leads on from."""
        known = self._after.get(byte)
        if known is None:
            known = self._after[byte] = sum(1 << place for place, step in enumerate(self._steps) if byte in step)
        return known

    def _find_ends(self, held: int) -> tuple[bytes, bytes]:
        """What every match begins and ends with; cheap to look for, and most paths have neither."""
        number = len(self._steps)
        first = 0
        while first < number and len(self._steps[first]) == 1 and not held >> first & 1:
            first += 1
        last = number
        while last and len(self._steps[last - 1]) == 1 and not held >> last & 1:
            last -= 1
        return _join(self._steps[:first]), _join(self._steps[last:])

    # --- reading the pattern --------------------------------------------------------------------

    def _read(self, pattern: bytes) -> None:
        at = 0
        # git compares what comes before the first wildcard by itself, so stars behind that stand at a beginning
        start = next((place for place, byte in enumerate(pattern) if byte in WILD), len(pattern))
        while at < len(pattern):
            byte = pattern[at : at + 1]
            if byte == b"*":
                at = self._read_stars(pattern, at, is_first=at == start or pattern[at - 1] == SLASH)
            elif byte == b"[":
                step, at = read_bracket(pattern, at + 1)
                self._steps.append(step - {SLASH})
            elif byte == b"?":
                self._steps.append(NOT_SLASH)
                at += 1
            else:
                at += byte == b"\\"
                if at == len(pattern):
                    raise NeverMatchesError
                self._steps.append(frozenset({pattern[at]}))
                at += 1

    def _read_stars(self, pattern: bytes, at: int, *, is_first: bool) -> int:
        end = at
        while pattern[end : end + 1] == b"*":
            end += 1
        rest = pattern[end : end + 2]
        if end - at == 1 or not is_first or not (rest[:1] in {b"", b"/"} or rest == b"\\/"):
            self._stays_in_name |= 1 << len(self._steps)
            return end
        if rest[:1] != b"/":
            self._stays |= 1 << len(self._steps)
            return end
        place = len(self._steps)
        # a second `**/` behind the first says nothing new
        if place < 2 or not self._skips >> (place - 2) & 1:
            # go to what is behind it at once, or to the next place, and stay there until a slash leads on
            self._skips |= 1 << place
            self._stays |= 2 << place
            self._steps += [frozenset(), frozenset({SLASH})]
        return end + 1


def _join(steps: list[frozenset[int]]) -> bytes:
    return bytes(byte for step in steps for byte in step)


def read_bracket(pattern: bytes, at: int) -> tuple[frozenset[int], int]:
    """What ``[…]`` stands for, and where it ends; ``at`` is behind its first character.

    Raises:
        NeverMatchesError: if it has no end, or names a class that there is none of.
    """
    is_negated = pattern[at : at + 1] in {b"!", b"^"}
    at += is_negated
    found: set[int] = set()
    before: int | None = None
    is_begun = False
    while not is_begun or pattern[at : at + 1] != b"]":
        is_begun = True
        is_range = pattern[at : at + 1] == b"-" and before is not None and pattern[at + 1 : at + 2] not in {b"", b"]"}
        if is_range:
            last, at = _read_one(pattern, at + 1)
            found.update(range(before or 0, last + 1))
            before = None
        elif (named := _read_class(pattern, at)) is not None:
            found |= named[0]
            before, at = None, named[1]
        else:
            before, at = _read_one(pattern, at)
            found.add(before)
    return frozenset(range(256)) - found if is_negated else frozenset(found), at + 1


def _read_one(pattern: bytes, at: int) -> tuple[int, int]:
    at += pattern[at : at + 1] == b"\\"
    if at >= len(pattern):
        raise NeverMatchesError
    return pattern[at], at + 1


def _read_class(pattern: bytes, at: int) -> tuple[set[int], int] | None:
    """``[:alpha:]`` and the like; None if there is only something that begins in the same way."""
    if pattern[at : at + 2] != b"[:":
        return None
    end = pattern.find(b"]", at + 2)
    if end < 0:
        raise NeverMatchesError
    if end < at + 3 or pattern[end - 1 : end] != b":":
        return None
    holds = CLASSES.get(pattern[at + 2 : end - 1])
    if holds is None:
        raise NeverMatchesError
    return {byte for byte in range(128) if holds(byte)}, end + 1
