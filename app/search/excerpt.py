"""Cuts a hit down to the part of its text that a person looks at."""

from dataclasses import replace

from app.domain.points import Hit

CHARACTERS = 320
LEAD_IN = 40


def cut_excerpt(hit: Hit, *, characters: int = CHARACTERS) -> Hit:
    """The same hit with at most so much text, around the most marked words; ``start`` and ``end`` are of that part."""
    if len(hit.text) <= characters:
        return replace(hit, parent=None)
    begin = _find_densest(hit.highlights, characters)
    begin = min(max(0, begin - LEAD_IN), len(hit.text) - characters)
    end = begin + characters
    return replace(
        hit,
        text=hit.text[begin:end],
        start=hit.start + begin,
        end=hit.start + end,
        highlights=[(first - begin, last - begin) for first, last in hit.highlights if begin <= first and last <= end],
        parent=None,
    )


def _find_densest(spans: list[tuple[int, int]], characters: int) -> int:
    """Where the window begins that has the most marked words; spans are in order."""
    best, most, last = 0, 0, 0
    for number, (begin, _) in enumerate(spans):
        while last < len(spans) and spans[last][0] < begin + characters - LEAD_IN:
            last += 1
        if last - number > most:
            best, most = begin, last - number
    return best
