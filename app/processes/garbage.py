"""Keeps the garbage collector from stopping the event loop."""

import gc


def freeze_garbage() -> None:
    """Leave what is loaded by now out of later collections: it lives as long as the process.

    A full collection looks at every object. With all libraries loaded those are some hundred thousand, and the event
    loop stood still for up to a third of a second.
    """
    gc.collect()
    gc.freeze()
