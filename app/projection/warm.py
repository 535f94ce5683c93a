"""A child that is ready for layouts: what they import is imported, and what they compile is kept on disk.

``app.projection.warm`` is for the list of what a child loads before its first call. ``compile_all`` is a call of its
own: compiling takes a minute, and a child that does it while it loads is taken for one that does not start.
"""

import tempfile
from pathlib import Path

import numpy as np

from app.projection import making
from app.projection.compiled import count_compilations
from app.projection.layout import LayoutRequest, Method
from app.projection.parameters import check_parameters

POINTS = 64


def compile_all() -> int:
    """Make tiny maps of every kind; gives how many functions had to be compiled, 0 where all were kept."""
    before = count_compilations()
    random = np.random.default_rng(0)
    vectors = random.normal(size=(POINTS, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    with tempfile.TemporaryDirectory(prefix="vecloom-warm-") as folder:
        np.save(Path(folder) / "vectors.npy", vectors)
        for method in (Method.UMAP, Method.TSNE):
            for dimensions in (2, 3):
                making.make(_ask(folder, method, dimensions))
    return count_compilations() - before


def _ask(folder: str, method: Method, dimensions: int) -> LayoutRequest:
    short = {Method.UMAP: {"epochs": 10}, Method.TSNE: {"iterations": 250}}
    parameters = check_parameters(method, dimensions, short[method], POINTS)
    return LayoutRequest(
        method=method, dimensions=dimensions, parameters=parameters, seed=0, folder=folder, sample=POINTS // 2
    )
