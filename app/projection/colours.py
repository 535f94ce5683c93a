"""Colours of categories: told apart on white and on dark, the first of them also by most who see few colours."""

from colorsys import hls_to_rgb
from typing import TypeAlias

Colour: TypeAlias = tuple[int, int, int]

OTHER: Colour = (148, 158, 172)
FIRST: tuple[Colour, ...] = (
    (66, 117, 214), (230, 126, 34), (46, 158, 91), (205, 66, 92), (133, 92, 214), (23, 162, 184), (214, 160, 16),
    (201, 84, 178), (122, 94, 66), (107, 142, 35), (240, 114, 105), (53, 99, 133), (168, 122, 201), (0, 134, 119),
    (176, 98, 40), (90, 160, 230),
)  # fmt: skip
GOLDEN = 0.61803398875


def choose_colour(index: int) -> Colour:
    """The colour of the n-th category; beyond the chosen ones, hues that are as far apart as can be."""
    if index < len(FIRST):
        return FIRST[index]
    lightness = (0.42, 0.55, 0.64)[index % 3]
    red, green, blue = hls_to_rgb(index * GOLDEN % 1, lightness, 0.55)
    return round(red * 255), round(green * 255), round(blue * 255)


def write_colour(colour: Colour) -> str:
    """As CSS has it."""
    return "#{:02x}{:02x}{:02x}".format(*colour)
