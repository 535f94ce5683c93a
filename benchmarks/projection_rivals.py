"""Libraries called directly: ``python -m benchmarks.projection_rivals NAME VECTORS FITS``, in a process of its own.

Nothing of Vecloom is imported, for it tells numba where to keep what it compiles. The last map is written beside the
vectors; seconds go to stdout as JSON.
"""

import json
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

UMAP, TSNE = "umap", "tsne"
SEED = 42


def main() -> None:
    """Lay the same vectors out so many times."""
    name, path, fits = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    warnings.simplefilter("ignore")
    vectors = np.load(path)
    started = time.perf_counter()
    make = _load(name)
    importing = time.perf_counter() - started
    seconds = []
    for _ in range(fits):
        started = time.perf_counter()
        laid_out = make().fit_transform(vectors)
        seconds.append(time.perf_counter() - started)
    np.save(path.with_suffix(f".{name}.npy"), np.asarray(laid_out, dtype=np.float32))
    sys.stdout.write(json.dumps({"import_seconds": importing, "seconds": seconds}) + "\n")


def _load(name: str) -> Any:  # noqa: ANN401 — a class of a library, with its usual settings
    # ruff: noqa: PLC0415 — what is imported is measured
    if name == UMAP:
        import umap

        return lambda: umap.UMAP(metric="cosine", random_state=SEED)
    from sklearn import manifold

    return lambda: manifold.TSNE(random_state=SEED)


if __name__ == "__main__":
    main()
