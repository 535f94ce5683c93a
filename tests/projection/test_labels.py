"""Labels name what the texts of a cluster are about, and nothing else."""

import random

import pytest

from app.projection.labels import SHOWN, choose_labels, count_terms, write_label
from app.projection.words import TermReader, find_stop_words

TOPICS = {
    "bread": ["sourdough", "starter", "flour", "oven", "crust", "baking", "dough", "yeast"],
    "space": ["orbit", "rocket", "satellite", "launch", "propellant", "payload", "booster"],
    "music": ["violin", "sonata", "orchestra", "conductor", "melody", "cello", "rehearsal"],
}
FILLING = [
    "the",
    "of",
    "and",
    "results",
    "with",
    "this",
    "system",
    "from",
    "report",
    "which",
    "there",
    "new",
    "people",
    "work",
]


def write_texts(topics: list[list[str]], *, each: int, seed: int = 0) -> list[tuple[int, str]]:
    """Texts of some topics, with words that all share."""
    rng = random.Random(seed)  # noqa: S311 - made-up texts
    return [
        (number, " ".join(rng.choices(words, k=12) + rng.choices(FILLING, k=30)))
        for number, words in enumerate(topics)
        for _ in range(each)
    ]


def read_all(text: str, language: str | None = None) -> set[str]:
    """Terms of one text."""
    return TermReader(find_stop_words([text], language)).read(text)


def test_labels_name_the_words_of_a_topic() -> None:
    """Every term shown is of the topic, for each topic; what all share is on no label."""
    topics = list(TOPICS.values())

    labels = choose_labels(count_terms(write_texts(topics, each=40)), len(topics))

    for words, label in zip(topics, labels, strict=True):
        assert len(label) >= SHOWN
        assert {word for term in label[:SHOWN] for word in term.split()} <= set(words)


def test_labels_are_distinct() -> None:
    """Clusters of one topic that differ in a word are named by what they differ in, not all the same."""
    shared = ["wing", "lift", "drag", "airfoil"]
    topics = [shared + [own] * 3 for own in ("supersonic", "propeller", "flutter", "icing")]

    labels = choose_labels(count_terms(write_texts(topics, each=30)), len(topics))

    assert len({write_label(terms) for terms in labels}) == len(topics)
    assert [any(own in terms[0] for own in topics[n][-1:]) for n, terms in enumerate(labels)] == [True] * 4


def test_a_pair_stands_for_its_words() -> None:
    """*boundary layer*, however it is written, and not *layer* and *boundary* beside it."""
    kinds = ("laminar", "turbulent", "thin", "heated")
    texts = [(0, f"The {kinds[n % 4]} boundary{sign}layer is number {n}.") for n, sign in enumerate(" -" * 10)]
    texts += [(1, f"The shells buckle under load. Number {n}.") for n in range(20)]

    labels = choose_labels(count_terms(texts), 2)

    assert labels[0][0] == "boundary layer"
    assert not {"boundary", "layer", "laminar boundary"} & set(labels[0])


def test_one_cluster_is_named_by_what_is_frequent() -> None:
    """Without anything to differ from, the most frequent words name it."""
    [label] = choose_labels(count_terms(write_texts([TOPICS["bread"]], each=30)), 1)

    assert set(label[:SHOWN]) & set(TOPICS["bread"])


def test_singular_and_plural_are_one() -> None:
    """A label does not say the same twice."""
    texts = [(0, "wing wings lift"), (0, "wings wing lift"), (0, "wing wings lift"), (1, "soup"), (1, "soup")]

    [label, _] = choose_labels(count_terms(texts), 2)

    assert len({"wing", "wings"} & set(label)) <= 1


def test_clusters_without_texts_have_no_label() -> None:
    """No texts, texts without a word: no terms, no error."""
    labels = choose_labels(count_terms([(1, "123 … 4.5"), (1, ""), (3, "\x00 \ud800")]), 5)

    assert labels == [[], [], [], [], []]
    assert not write_label([])


@pytest.mark.parametrize(
    ("text", "kept", "left_out"),
    [
        ("Die Bäckerei ist nicht weit von der Brücke", {"bäckerei", "brücke"}, {"die", "nicht", "ist"}),
        ("Le pont et la rivière sont dans une vallée", {"pont", "rivière", "vallée"}, {"dans", "une", "sont"}),
        ("The war and the men who die", {"war", "men", "die"}, {"the", "and", "who"}),
        ("Что это такое? Это дом и сад", {"дом", "сад"}, {"что", "это"}),
    ],
    ids=["German", "French", "English", "Russian"],
)
def test_stop_words_are_those_of_the_language(text: str, kept: set[str], left_out: set[str]) -> None:
    """A language is recognised, and takes no words from the others."""
    terms = read_all(text)

    assert kept <= terms
    assert not left_out & terms


def test_a_language_that_is_given_is_taken() -> None:
    """*war* is a word in English and none in German."""
    assert "war" in read_all("war war war", "english")
    assert "war" not in read_all("war war war", "german")


def test_scripts_without_spaces_and_with_marks() -> None:
    """Chinese is read in pairs of characters; vowel signs of Hindi do not cut its words."""
    assert {"机器", "学习"} <= read_all("机器学习")
    assert "हिन्दी" in read_all("हिन्दी भाषा")


def test_pairs_do_not_cross_sentences() -> None:
    """What a mark or a stop word parts is no pair."""
    terms = read_all("Heat flows. Water boils, steam rises and turbine turns")

    assert {"heat flows", "water boils", "steam rises", "turbine turns"} <= terms
    assert not {"flows water", "boils steam", "rises turbine"} & terms


def test_long_and_hostile_texts_are_read_quickly() -> None:
    """Endless words and marks are no words, and take no time to speak of."""
    for text in ("a" * 10**6, "-" * 10**6, "a-" * 10**6, "a'" * 10**6, "a#+" * 10**6, "机" * 10**6, "x\u0301" * 10**6):
        assert len(read_all(text)) <= 200
