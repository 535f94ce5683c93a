"""Steps of a projection as a child is asked for them: who asks need not import what they are done with."""

from collections.abc import Mapping, Sequence
from typing import Any

from app.projection.compiled_folder import compiling, is_compiled, mark_compiled

# ruff: noqa: PLC0415 — seconds of imports that a parent process has no use for


def explain_map(folder: str, texts: str) -> None:
    """Find clusters, labels and findings; see ``find_meaning``."""
    from app.projection.meaning import MeaningRequest, find_meaning

    find_meaning(MeaningRequest(folder=folder, texts=texts))


def colour_clusters(folder: str) -> str:
    """Write the colours of clusters; gives the file of their names."""
    from app.projection.categories import write_cluster_categories

    return write_cluster_categories(folder)


def write_files(request: Mapping[str, Any], scratch: Sequence[str]) -> None:
    """Write what others read of it, from the fields of an ``ArtifactRequest``, with copies for transport.

    Files named in ``scratch`` are removed afterwards, so they get none.
    """
    from app.projection.artifacts import ArtifactRequest, write_artifacts
    from app.projection.compressed import compress_files

    write_artifacts(ArtifactRequest(**request))
    compress_files(request["folder"], leave=scratch)


def compile_layouts() -> int | None:
    """Compile what layouts need; gives how many functions, or None if all are kept or another process is at it.

    A library compiles some of its own while it is imported, so that has to wait for the turn too.
    """
    with compiling() as is_first:
        if not is_first or is_compiled():
            return None
        from app.projection.warm import compile_all

        compiled = compile_all()
        mark_compiled()
        return compiled
