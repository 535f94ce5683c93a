"""The program that makes a copy of a shard what its collection asks for: graphs, quantised vectors, places in memory.

A process of its own, for the engine holds the interpreter's lock while it works, for minutes where vectors are many.
"""

import os
import sys
from pathlib import Path

import orjson
import qdrant_edge as edge

from app.embedded.vector_files import sync_tree
from app.embedded.vector_parameters import write_config
from app.embedded.vector_parent import die_with_parent

NICENESS = 10
"""Searches go first."""


def main() -> None:
    """Rebuild the shard in the folder of the first argument for the description on standard input."""
    folder, parent = sys.argv[1:]
    die_with_parent(int(parent))
    os.nice(NICENESS)
    shard = edge.EdgeShard.load(folder, write_config(orjson.loads(sys.stdin.buffer.read()), replaces=True))
    shard.optimize()
    shard.flush()
    shard.close()
    sync_tree(Path(folder))


if __name__ == "__main__":
    main()
