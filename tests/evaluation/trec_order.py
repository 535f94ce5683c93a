"""The order in which trec_eval takes a run, to compare scores of ties with it."""

from collections.abc import Sequence

import numpy as np

from app.evaluation.metrics import NOBODY, Ranks, Scores


def trec_order(ranks: Ranks, scores: Scores, names: Sequence[str]) -> Ranks:
    """Rankings as trec_eval orders them, whatever order they came in.

    Higher scores first, as float32; of equal ones the later name in the order of its characters. (``RR@k`` and
    ``Judged@k`` of ir-measures take the earlier one.)

    Args:
        ranks: document numbers, shape ``(queries, depth)``.
        scores: of the same shape.
        names: of documents, by number.
    """
    places = np.empty(len(names) + 1, dtype=np.int64)
    places[sorted(range(len(names)), key=names.__getitem__)] = np.arange(len(names))
    # where nobody is, -1 takes the last one
    places[-1] = NOBODY
    # the last key decides first
    order = np.lexsort((-places[ranks], -scores.astype(np.float32), ranks == NOBODY), axis=1)
    return np.take_along_axis(ranks, order, axis=1)
