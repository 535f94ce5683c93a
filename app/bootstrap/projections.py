"""Projections over opened parts."""

from app.metrics import POOL_RESTARTS
from app.processes.pool import ProcessPool
from app.projection.folders import ProjectionFolder
from app.settings import Settings

PRELOAD = ("app.projection.warm", "app.projection.meaning", "app.projection.artifacts")


def open_projection_folder(settings: Settings) -> ProjectionFolder | None:
    """Where projections lie: below the data folder of the embedded stack, else where the operator says, or nowhere."""
    root = settings.projection_folder
    if root is None and settings.database_url is None:
        root = settings.data / "projections"
    return None if root is None else ProjectionFolder(root.expanduser().absolute())


def open_layout_process(settings: Settings) -> ProcessPool:
    """A process for what takes minutes, so that documents need not wait for it. It starts when used."""
    return ProcessPool(
        1,
        memory_bytes=settings.process_memory_bytes,
        preload=PRELOAD,
        on_end=lambda reason: POOL_RESTARTS.labels(reason).inc(),
    )
