"""How far and how fast a site is read."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.domain.errors import InvalidSourceError

LIMITS: dict[str, tuple[float, float]] = {"depth": (0, 20), "max_pages": (1, 100_000), "per_second": (0.01, 1000)}


@dataclass(frozen=True, slots=True, kw_only=True)
class WebOptions:
    """What a caller may say of a site.

    Attributes:
        depth: how many links lead from the first page to the last one; 0 is the first page alone.
        max_pages: most pages that are asked for in a scan.
        per_second: most requests begun in a second; fewer if the site's ``robots.txt`` wants that.
        stay_below: whether only pages below the folder of the first one belong to the source.
    """

    depth: int = 3
    max_pages: int = 1000
    per_second: float = 5.0
    stay_below: bool = False

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> "WebOptions":
        """Options as they are stored.

        Raises:
            InvalidSourceError: if one is unknown, or has a value that it cannot have.
        """
        known = ("depth", "max_pages", "per_second", "stay_below")
        for name, value in said.items():
            if name not in known:
                raise InvalidSourceError(f"a site has no option {name!r}; it has {', '.join(known)}")
            if name == "stay_below":
                if not isinstance(value, bool):
                    raise InvalidSourceError("stay_below is true or false")
                continue
            low, high = LIMITS[name]
            is_number = isinstance(value, int if name != "per_second" else (int, float)) and not isinstance(value, bool)
            if not is_number or not low <= value <= high:
                raise InvalidSourceError(f"{name} is a number from {low:g} to {high:g}")
        return cls(**said)
