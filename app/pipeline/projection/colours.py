"""What the colour of each point says, by its document."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

import numpy as np
import orjson
from numpy.typing import NDArray

from app.db.database import Database
from app.db.projected import ColourRow, ProjectedRepository
from app.domain.collections import Generation
from app.domain.documents import NEVER_SEEN_NS
from app.domain.projections import ColourBy
from app.pipeline.projection.pages import stream_pages
from app.projection.points_file import DOCUMENTS, RowIndex, read_ids, to_ids

CATEGORIES, CATEGORY_OF = "categories.json", "categories.npy"
DOCUMENTS_PER_PAGE = 1000
YEAR_NS = 365 * 86_400 * 10**9
MOST_MONTHS_NS = 4 * YEAR_NS
MOST_DAYS_NS = YEAR_NS // 4


class Colours:
    """Which name each point has, as documents come in."""

    def __init__(self, documents: NDArray[np.bytes_]) -> None:
        ids, inverse = np.unique(documents, return_inverse=True)
        self._index = RowIndex(ids)
        self._of_point = inverse.reshape(-1)
        self._names: dict[str, int] = {}
        self._of_document = np.full(len(ids), -1, dtype=np.int32)

    def add(self, rows: Sequence[ColourRow], name_of: Callable[[ColourRow], str]) -> None:
        """Some documents; those without points are left out."""
        places = self._index.find(to_ids([row.id for row in rows]))
        for place, row in zip(places.tolist(), rows, strict=True):
            if place >= 0:
                self._of_document[place] = self._names.setdefault(name_of(row), len(self._names))

    def finish(self) -> tuple[list[str], NDArray[np.int32]]:
        """Names, and the place of each point's; -1 for points of documents that are gone."""
        return list(self._names), self._of_document[self._of_point]


async def write_categories(database: Database, generation: Generation, folder: Path, colour_by: ColourBy) -> Path:
    """Write the names of colours, and which of them each point has, as artifacts take them; gives the file of names."""
    colours = await asyncio.to_thread(lambda: Colours(np.asarray(read_ids(folder / DOCUMENTS))))
    name_of = await _choose_name(database, generation, colour_by)
    pages = stream_pages(
        database,
        generation,
        lambda manifest, after: manifest.list_colours(after=after, limit=DOCUMENTS_PER_PAGE),
        limit=DOCUMENTS_PER_PAGE,
    )
    async for page in pages:
        await asyncio.to_thread(colours.add, page, name_of)
    return await asyncio.to_thread(_write, colours, folder)


def _write(colours: Colours, folder: Path) -> Path:
    names, of_point = colours.finish()
    np.save(folder / CATEGORY_OF, of_point)
    path = folder / CATEGORIES
    path.write_bytes(orjson.dumps({"names": names, "of": str(folder / CATEGORY_OF)}))
    return path


async def _choose_name(database: Database, generation: Generation, colour_by: ColourBy) -> Callable[[ColourRow], str]:
    if colour_by is not ColourBy.AGE:
        return NAMES[colour_by]
    async with database.begin() as connection:
        oldest, newest = await ProjectedRepository(connection, generation.collection_id).find_ages()
    form = "%Y" if newest - oldest > MOST_MONTHS_NS else "%Y-%m" if newest - oldest > MOST_DAYS_NS else "%Y-%m-%d"

    def tell_age(row: ColourRow) -> str:
        # a file that changed while it was read has no time that means anything
        if row.modified_ns == NEVER_SEEN_NS:
            return "unknown"
        return datetime.fromtimestamp(row.modified_ns // 10**9, UTC).strftime(form)

    return tell_age


def _folder_of(row: ColourRow) -> str:
    return str(PurePosixPath(row.path.partition("#")[0]).parent)


def _file_type_of(row: ColourRow) -> str:
    return PurePosixPath(row.path.partition("#")[0]).suffix.lower().lstrip(".") or "none"


NAMES: dict[ColourBy, Callable[[ColourRow], str]] = {
    ColourBy.DOCUMENT: lambda row: row.title or row.path,
    ColourBy.SOURCE: lambda row: row.source,
    ColourBy.FOLDER: _folder_of,
    ColourBy.FILE_TYPE: _file_type_of,
}
