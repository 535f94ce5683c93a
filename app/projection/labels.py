"""Labels of clusters: the terms that set the texts of each apart from those of all others (class-based TF-IDF)."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from heapq import nlargest
from math import log

from app.projection.words import RECOGNISED, TermReader, find_stem, find_stop_words

TERMS = 8
"""Best terms of a cluster that are kept."""
SHOWN = 3
CANDIDATES = 200
KEPT_TERMS = 20_000
"""Different terms of a cluster that are counted; the rarest go first when there are many more."""
PAIR_WEIGHT = 1.5
"""A pair of words is rarer than either of them and says more."""
INSIDE_PAIR = 0.6
"""Of the texts with a word: if a pair has so many of them, the pair stands for the word."""
REPEATED = 0.5
"""What is left of a term's weight for each larger cluster that it labels already."""


class TermCounts:
    """In how many texts of each cluster every term occurs."""

    def __init__(self) -> None:
        self.texts: Counter[int] = Counter()
        self._counts: defaultdict[int, Counter[str]] = defaultdict(Counter)

    def add(self, cluster: int, terms: Iterable[str]) -> None:
        """Count the terms of one text."""
        counts = self._counts[cluster]
        self.texts[cluster] += 1
        counts.update(terms)
        if len(counts) > 2 * KEPT_TERMS:
            self._counts[cluster] = Counter(dict(counts.most_common(KEPT_TERMS)))

    def get(self, cluster: int) -> Counter[str]:
        """Texts by term."""
        return self._counts[cluster]

    def merge(self, groups: Sequence[int]) -> "TermCounts":
        """The counts of groups of clusters; ``groups[cluster]`` is the group of a cluster."""
        merged = TermCounts()
        for cluster, counts in self._counts.items():
            merged.texts[groups[cluster]] += self.texts[cluster]
            merged._counts[groups[cluster]].update(counts)
        return merged


def count_terms(texts: Iterable[tuple[int, str]], language: str | None = None) -> TermCounts:
    """Count the terms of texts that come with their clusters."""
    read = list(texts)
    looked_at = read[:: max(1, len(read) // RECOGNISED)]
    reader = TermReader(find_stop_words((text for _, text in looked_at), language))
    counts = TermCounts()
    for cluster, text in read:
        counts.add(cluster, reader.read(text))
    return counts


def choose_labels(counts: TermCounts, clusters: int) -> list[list[str]]:
    """The best terms of clusters 0, 1, …, best first; none where a cluster has no texts.

    Larger clusters choose first. A term that labels one already weighs less for the next, so labels differ; no two
    terms of a label share a word.
    """
    everywhere: Counter[str] = Counter()
    for cluster in range(clusters):
        everywhere.update(counts.get(cluster))
    used: Counter[str] = Counter()
    labels = []
    for cluster in range(clusters):
        scores = _score(counts, cluster, everywhere)
        best = nlargest(CANDIDATES, scores, key=scores.__getitem__)
        terms = _choose({term: scores[term] * REPEATED ** used[_find_key(term)] for term in best})
        used.update(_find_key(term) for term in terms[:SHOWN])
        labels.append(terms)
    return labels


def write_label(terms: Sequence[str]) -> str:
    """As it stands on the map."""
    return ", ".join(terms[:SHOWN])


def _score(counts: TermCounts, cluster: int, everywhere: Counter[str]) -> dict[str, float]:
    """How well each term stands for a cluster: its share of the texts there, by how much it is above that of all."""
    texts, all_texts = counts.texts[cluster], counts.texts.total()
    here = counts.get(cluster)
    least = 2 if texts >= 5 else 1
    inside = _find_pairs_of_words(here)
    scores = {}
    for term, count in here.items():
        if count < least or any(inside.get(word, term) != term for word in term.split()):
            continue
        share = count / texts
        # a smoothed share of all: what is in one text alone is no discovery
        everywhere_share = (everywhere[term] + 1) / (all_texts + 2)
        weight = PAIR_WEIGHT if " " in term else 1.0
        scores[term] = weight * share * max(log(share / everywhere_share), 0.01)
    return scores


def _find_pairs_of_words(here: Counter[str]) -> dict[str, str]:
    """Words that mostly come in one pair, with it: *layer* in *boundary layer*."""
    pairs: dict[str, str] = {}
    for term, count in here.items():
        if " " not in term:
            continue
        for word in term.split():
            if count >= INSIDE_PAIR * here[word] and count > here.get(pairs.get(word, ""), 0):
                pairs[word] = term
    return pairs


def _choose(scores: dict[str, float]) -> list[str]:
    chosen: list[str] = []
    taken: set[str] = set()
    for term in sorted(scores, key=lambda term: (-scores[term], term)):
        stems = {find_stem(word) for word in term.split()}
        if stems.isdisjoint(taken):
            chosen.append(term)
            taken |= stems
    return chosen[:TERMS]


def _find_key(term: str) -> str:
    return " ".join(find_stem(word) for word in term.split())
