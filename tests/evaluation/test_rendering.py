"""Reports of benchmarks are whole, safe and readable, as a page and as Markdown, whatever they hold."""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.evaluation.rendering import render_html, render_markdown

Render = Callable[..., str]
MEASURES = ["ndcg@10", "recall@100", "map", "mrr", "judged@10"]
WHYS = {
    "not_indexed": "the index has no chunk of it",
    "unmapped": "No document of the collection answers",
    "ambiguous": "Several documents",
    "document_failed": "could not be read",
    "needs_ocr": "pictures of text",
    "removed": "has been removed",
    "outranked": "more than nine others",
    "below_top_k": "not among the documents that were asked for",
    "not_found": "fewer documents than were asked for",
    "no_answer": "ended with an error",
}
VOID = {"meta", "line", "circle", "rect", "polyline", "path"}
ATTACK = (
    '</title></svg></style></script><script>alert(1)</script><img src=x onerror=alert(1)> " onload="x \' & &lt; '
    "`code` | cell \\| [link](javascript:alert(1)) **bold** _it_ @everyone $x$\n# heading\r\n\n- list\x00\x1b[31m\u202e"
)
TEXTS = st.lists(
    st.sampled_from([*"\\|`*_[]()<>&#-+=.!~$@ \n\"'a1", "\r\n", "</td>", "<!--", "@me", "\u202e"]) | st.text()
).map("".join)


class Page(HTMLParser):
    """What a browser would make of a page: its elements, their attributes, and its text; fails on unbalanced tags."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """An element begins."""
        self.elements.append((tag, dict(attrs)))
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """An element of a picture that holds nothing."""
        assert tag in VOID
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        """An element ends: the one that was begun last."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """A text."""
        if "style" not in self.open:
            self.texts.append(data)

    @property
    def tags(self) -> Counter[str]:
        """How often there is an element of each kind."""
        return Counter(tag for tag, _ in self.elements)

    @property
    def text(self) -> str:
        """All that can be read."""
        return " ".join(self.texts)


def make_run(name: str, *, value: float, queries: int = 225) -> dict[str, Any]:
    """A run whose measures and latencies follow from one number."""
    metrics = {measure: value + 0.01 * place for place, measure in enumerate(MEASURES)}
    return {
        "name": name,
        "mode": name.split(maxsplit=1)[0],
        "settings": {"fusion_k": 20, "weights": {"dense": 0.5}, "rerank": False},
        "generation": f"vecloom_{name.replace(' ', '_')}",
        "metrics": metrics,
        "ci95": {measure: [mean - 0.0312, mean + 0.0423] for measure, mean in metrics.items()},
        "latency_ms": {
            "p50": 15.5 + value,
            "p95": 40.25 + value,
            "p99": 61.5 + value,
            "mean": 19.75 + value,
            "curve": [5.0 + 3 * step for step in range(21)],
        },
        "queries": queries,
        "queries_failed": 3,
        "queries_missing": 2,
    }


def make_comparison(run: str, other: str, *, significant: bool, text: str, queries: int = 225) -> dict[str, Any]:
    """A comparison; a third of its queries are won, a third are lost."""
    won = {"query_id": "41", "query": text, "value": 0.8123, "other": 0.1012, "difference": 0.7111}
    lost = {"query_id": "42", "query": text, "value": 0.0321, "other": 0.9543, "difference": -0.9222}
    return {
        "run": run,
        "other": other,
        "difference": 0.0487,
        "ci95": [0.0301, 0.0702],
        "p": 0.00001,
        "p_corrected": 0.0213,
        "significant": significant,
        "wins": 120,
        "losses": 61,
        "ties": 44,
        "smallest_difference": 0.0207,
        "won": [won] * 12,
        "lost": [lost],
        "differences": [place / queries - 0.5 for place in range(queries)],
    }


def make_report(*, runs: int = 3, queries: int = 225, text: str = "what moves a boundary layer") -> dict[str, Any]:
    """A report of the shape that benchmarks write; ``text`` stands wherever anyone may write what they like."""
    names = ["hybrid", "bm25", "dense", *(f"hybrid fusion_k={k}" for k in range(runs))][:runs]
    document = {"id": "018f", "uri": f"file:///{text}", "title": text}
    worst = {
        "query_id": "7",
        "query": text,
        "value": 0.0123,
        "expected": [
            *(
                {"document": document, "grade": 2, "rank": 14 if why == "outranked" else None, "why": why}
                for why in WHYS
            ),
            {"document": document, "grade": 1, "rank": 3, "why": None},
        ],
        "relevant": 57,
        "found": [{"rank": 1, "document": document, "grade": None}, {"rank": 2, "document": document, "grade": 0}],
    }
    return {
        "primary": "ndcg@10",
        "measures": MEASURES,
        "queries": queries,
        "left_out": ["q17"],
        "is_synthetic": False,
        "queries_failed": 9,
        "notes": [text],
        "coverage": {
            "judged": 1837,
            "mapped": 1835,
            "mapped_by": {"name": 1834, "uri": 1},
            "missed_by": {"unmapped": 2, "removed": 31, "ambiguous": 5},
            "merged": 6,
            "share": 0.9989,
            "relevant": 1612,
            "relevant_mapped": 1599,
            "relevant_share": 0.9919,
            "ambiguous": [{"doc": "d995", "candidates": ["file:///a/995", text]}],
            "unmapped": [{"doc": "d471", "reason": "unmapped"}],
            "queries": queries,
            "queries_without_relevant": 8,
        },
        "asking": {
            "queries": queries * runs,
            "seconds": 9.1,
            "queries_per_second": 74.2,
            "search_seconds": 6.61,
            "embed_seconds": 2.22,
            "concurrency": 4,
            "outside_share": 0.0512,
        },
        "runs": [make_run(name, value=0.35 - 0.01 * k, queries=queries) for k, name in enumerate(names)],
        "best": {"name": "hybrid", "words": "hybrid it is.", "better_than": ["dense"], "not_told_from": ["bm25"]},
        "comparisons": [
            make_comparison("hybrid", name, significant=name == "dense", text=text, queries=queries)
            for name in names[1:]
        ],
        "against_baseline": {
            "benchmark_id": "base-018f",
            "comparisons": [make_comparison("hybrid", "dense", significant=True, text=text, queries=queries)],
        },
        "worst": [worst] * 3,
        "verdicts": [
            {"condition": "ndcg@10 >= 0.3", "run": "hybrid", "outcome": "passed", "words": text, "value": 0.3511},
            {"condition": "map >= 0.9", "run": "bm25", "outcome": "failed", "words": text, "threshold": 0.9012},
            {
                "condition": "ndcg@10 < baseline - 0.01",
                "outcome": "cannot_tell",
                "words": text,
                "interval": [-0.0212, 0.0113],
                "queries_needed": 812,
            },
        ],
    }


def read_rows(markdown: str) -> Iterator[tuple[list[str], list[list[str]]]]:
    """The head and the rows of each table, cut at the bars that are not escaped."""
    for table in re.findall(r"(?:^\|.*\n)+", markdown, flags=re.MULTILINE):
        lines = [re.split(r"(?<!\\)(?:\\\\)*\|", line) for line in table.splitlines()]
        yield lines[0], lines[2:]


def read_markdown(markdown: str) -> str:
    """Its text without escapes."""
    text = re.sub(r"\\([^a-z0-9\s])", r"\1", markdown)
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def test_each_figure_is_in_both() -> None:
    """Measures, intervals, p values, latencies, counts and shares: none is lost."""
    report = make_report()
    page = Page(render_html(report, title="Cranfield")).text
    markdown = read_markdown(render_markdown(report, title="Cranfield"))

    figures = [
        *(f"{value:.4f}" for run in report["runs"] for value in run["metrics"].values()),
        *(f"{end:.4f}" for run in report["runs"] for ends in run["ci95"].values() for end in ends),
        *(f"{ms:.1f}" for run in report["runs"] for ms in run["latency_ms"]["curve"]),
        *(f"{run['latency_ms'][name]:.1f}" for run in report["runs"] for name in ("p50", "p95", "p99", "mean")),
        *("+0.0487", "0.0301 to 0.0702", "< 0.0001", "0.0213", "120", "61", "44", "0.0207"),
        *("0.8123", "0.1012", "+0.7111", "0.0321", "0.9543", "-0.9222", "-0.5000", "+0.4956"),
        *("1837", "1835", "1834", "1612", "1599", "99.9 %", "99.2 %", "6", "8", "d995", "d471", "q17"),
        *("675", "9.1", "74.2", "6.61", "2.22", "5.1 %", "0.0123", "14"),
        *("0.3511", "0.9012", "-0.0212 to 0.0113", "812"),
    ]
    for figure in figures:
        assert re.search(rf"(?<![\d.]){re.escape(figure)}(?!\d)", page), figure
        assert re.search(rf"(?<![\d.]){re.escape(figure)}(?!\d)", markdown), figure


@pytest.mark.parametrize("render", [render_html, render_markdown])
def test_each_word_is_in_both(render: Render) -> None:
    """The answer, verdicts in words, who is told from whom, why documents are missing, and how it was measured."""
    made = render(make_report(), title="Cranfield")
    text = Page(made).text if render is render_html else read_markdown(made)

    words = ["Cranfield", "hybrid it is.", "✓ passed", "✗ failed", "? cannot tell", "★ best", "▼ worse", "▲ better"]
    words += ["≈ not told apart", "base-018f", "of the baseline", "not judged", "document", "file name", "URI"]
    words += [
        "fusion_k=20, weights.dense=0.5, rerank=no",
        "vecloom_hybrid",
        "what moves a boundary layer",
        *WHYS.values(),
    ]
    words += ["found where people look", "and 46 more."]
    assert [word for word in words if word not in text] == []


def test_the_answer_comes_first() -> None:
    """Then verdicts, runs, what stands behind them, and at last how it was measured."""
    page = Page(render_html(make_report(), title="Cranfield"))

    sections = [attributes["id"] for tag, attributes in page.elements if tag == "section"]
    assert sections == ["verdicts", "runs", "comparisons", "latency", "queries", "worst", "coverage", "method"]
    assert page.text.index("hybrid it is.") < page.text.index("✓ passed")


def test_the_page_needs_nothing_else() -> None:
    """No scripts, no addresses but its own headings, ids once; each table has a caption and each picture a title."""
    page = Page(render_html(make_report(), title="Cranfield"))

    assert page.tags["script"] == page.tags["link"] == page.tags["img"] == page.tags["iframe"] == 0
    links = [attributes["href"] for tag, attributes in page.elements if tag == "a"]
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert [f"#{one}" for one in ids] == links
    assert len(set(ids)) == len(ids)
    assert not [value for _, attributes in page.elements for value in attributes.values() if value and "//" in value]
    assert not [
        name for _, attributes in page.elements for name in attributes if name.startswith("on") or name == "src"
    ]
    assert page.tags["caption"] == page.tags["table"] > 0
    assert all(attributes.get("scope") in {"row", "col"} for tag, attributes in page.elements if tag == "th")
    assert page.tags["figure"] == 6


@pytest.mark.parametrize("text", [ATTACK, ATTACK * 20, "\ud800 \udfff", "\x00", "", " \n\t "])
def test_texts_open_nothing_in_the_page(text: str) -> None:
    """Whatever anyone has written, the page has the same elements and attributes as one of harmless words."""
    harmless = Page(render_html(make_report(), title="t"))
    page = Page(render_html(fill(make_report(text=text), text), title=text))

    check_page(page, harmless)


@given(text=TEXTS)
@settings(max_examples=30, deadline=None)
def test_no_text_opens_anything(text: str) -> None:
    """The same for texts that nobody has thought of."""
    report = fill(make_report(text=text), text)

    check_page(Page(render_html(report, title=text)), Page(render_html(make_report(), title="t")))
    check_markdown(render_markdown(report, title=text))


def check_page(page: Page, harmless: Page) -> None:
    """It has no other elements and attributes than one of harmless words."""
    assert set(page.tags) <= set(harmless.tags) | {"small"}
    names = {name for _, attributes in harmless.elements for name in attributes}
    assert {name for _, attributes in page.elements for name in attributes} <= names
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\ud800-\udfff]", page.text)


@pytest.mark.parametrize("text", [ATTACK, ATTACK * 20, "\ud800 \udfff", "\x00", "", "\\", "a\\|b", "\\\\|", "|" * 300])
def test_texts_open_nothing_in_markdown(text: str) -> None:
    """Rows keep their cells, lines their beginnings, and the only HTML is ours."""
    check_markdown(render_markdown(fill(make_report(text=text), text), title=text))


def check_markdown(markdown: str) -> None:
    """Tables are whole, and nothing in it is markup but ours."""
    for head, rows in read_rows(markdown):
        assert {len(row) for row in rows} == {len(head)}
    assert set(re.findall(r"<[^>]*>?", markdown)) == {"<details>", "</details>", "<summary>", "</summary>"}
    outside = re.sub(r"<summary>.*</summary>", "", markdown)
    assert not re.search(r"(?<!\\)(?:\\\\)*[`\[*$](?!\*)", outside.replace("**", ""))
    assert "@everyone" not in markdown
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\ud800-\udfff]", markdown)
    assert markdown.encode()


def fill(report: dict[str, Any], text: str) -> dict[str, Any]:
    """A text in the places where names and sentences stand, too."""
    for run in report["runs"]:
        run |= {"name": text, "mode": text, "generation": text, "settings": {text: text}}
    for comparison in (*report["comparisons"], *report["against_baseline"]["comparisons"]):
        comparison |= {"run": text, "other": text}
    report["best"] |= {"name": text, "words": text}
    report["verdicts"][0] |= {"condition": text, "run": text, "outcome": text}
    report["against_baseline"]["benchmark_id"] = text
    report["coverage"] |= {"mapped_by": {text: 1}, "missed_by": {text: 1}, text: 1}
    report["coverage"]["unmapped"] = [{"doc": text, "reason": text}]
    report["worst"][0]["expected"][0]["why"] = text
    report["asking"][text] = 1
    report |= {"left_out": [text], "measures": [*MEASURES, text], "notes": [text]}
    return report


@pytest.mark.parametrize("render", [render_html, render_markdown])
def test_all_missing_documents_are_counted(render: Render) -> None:
    """A report lists the first of them; how many there are follows from why they are missing."""
    made = render(make_report(), title="Cranfield")

    assert "Documents that cannot be found: 33" in made
    assert "… and 32 more." in made
    assert "Documents that could be several: 5" in made
    assert "… and 4 more." in made


@pytest.mark.parametrize("render", [render_html, render_markdown])
@pytest.mark.parametrize("runs", [0, 1, 2])
def test_few_runs(render: Render, runs: int) -> None:
    """None, one without anything to compare it with, or two."""
    report = make_report(runs=runs) | {"against_baseline": None, "verdicts": [], "worst": [], "left_out": None}
    if runs == 0:
        report |= {"best": None}
    made = render(report, title="few")

    assert ("There are no runs" in made) == (runs == 0)
    assert ("Nothing was measured" in made) == (runs == 0)
    assert ("it is | difference" in made or "<h2>Comparisons" in made) == (runs == 2)


@pytest.mark.parametrize("render", [render_html, render_markdown])
def test_an_empty_report(render: Render) -> None:
    """Whatever is missing is left out."""
    made = render({}, title="nothing")

    assert "Nothing was measured" in made
    assert "None" not in made


@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), float("-inf"), 10**400, "0.3", True, [], {}])
def test_what_is_no_number_is_absent(value: object) -> None:
    """It is shown as a dash, stands last, and is in no picture."""
    report = make_report()
    first = report["runs"][0]
    first["metrics"] = dict.fromkeys(MEASURES, value)
    first["ci95"] = {"ndcg@10": [value, value], "map": value}
    first["latency_ms"] = {"p50": value, "p95": value, "p99": value, "mean": value, "curve": [value] * 21}
    report["comparisons"][0] |= {"difference": value, "p": value, "ci95": [0.0, value], "differences": [value]}
    report["verdicts"][0] |= {"value": value, "threshold": value, "interval": value, "queries_needed": value}
    report["queries_failed"] = value
    page = Page(render_html(report, title="gaps"))
    markdown = render_markdown(report, title="gaps")

    assert "| 3 · hybrid | ★ best | — | — | — | — | — | 225 | 3 | 2 |" in markdown
    assert "| 3 · hybrid | — | — | — | — |" in markdown
    assert not re.search(r"\b(nan|inf|None)\b", page.text + markdown)
    assert page.tags["circle"] == 2 * 4
    assert not [one for _, attributes in page.elements for one in attributes.values() if one and "nan" in one]


@pytest.mark.parametrize("differences", [[0.0], [0.0] * 7, [-0.3], [1e-300, 2e-300], [1e11, -1e11]])
@pytest.mark.parametrize("latency", [-5.0, 0.0, 1e-9, 12.0, 1e9])
def test_pictures_of_strange_numbers(differences: list[float], latency: float) -> None:
    """Nothing at all, all the same, very small, very far apart: places stay within the picture."""
    report = make_report(runs=2)
    report["comparisons"][0]["differences"] = differences
    report["runs"][0]["latency_ms"]["curve"] = [latency] * 21
    report["runs"][0] |= {"metrics": {"ndcg@10": 0.0}, "ci95": {}}
    page = Page(render_html(report, title="strange"))

    places = [
        float(attributes[name].removesuffix("%"))  # type: ignore[union-attr]
        for _, attributes in page.elements
        for name in ("cx", "x1", "x2")
        if (attributes.get(name) or "").endswith("%")
    ]
    assert places
    assert all(0 <= place <= 100 for place in places)
    heights = [float(y) for y in re.findall(r"[\d.]+,([\d.-]+)", " ".join(points_of(page)))]
    assert all(0 <= height <= 100 for height in heights)


def points_of(page: Page) -> list[str]:
    """Of all curves."""
    return [attributes["points"] or "" for tag, attributes in page.elements if tag == "polyline"]


def test_synthetic_queries_are_told() -> None:
    """A banner says it before anything else, and is not there otherwise."""
    report = make_report() | {"is_synthetic": True}

    page = Page(render_html(report, title="made")).text
    assert page.index("Synthetic queries") < page.index("✓ passed")
    assert "> Synthetic queries" in render_markdown(report, title="made")
    assert "Synthetic" not in render_html(make_report(), title="asked")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("x" * 4000, "x" * 119 + "…"),
        ("👩‍👩‍👧" * 800, "👩‍👩‍👧" * 23 + "…"),
        ("e\u0301" * 2000, "e\u0301" * 59 + "…"),
        ("שלום עולם", "שלום עולם"),
        ("one\r\n two\tthree\u2028four", "one two three four"),
    ],
)
def test_long_texts_are_cut_between_characters(text: str, shown: str) -> None:
    """Emoji, accents and other scripts stay whole, and lines become one."""
    markdown = render_markdown(make_report(text=text), title="long")

    assert f"| {shown} (id 41) |" in markdown


@pytest.mark.parametrize("text", ["what moves a boundary layer", 'x👍&"<' * 800])
def test_a_large_report_stays_small(text: str) -> None:
    """64 runs of 1 000 queries, with all that can be listed: what is not shown is counted."""
    report = make_report(runs=64, queries=1000, text=text)
    report["worst"] *= 20
    report["coverage"]["unmapped"] *= 5000
    report["coverage"]["ambiguous"] *= 5000
    report["left_out"] *= 1000
    report["notes"] *= 1000
    report["comparisons"] *= 32
    html, markdown = render_html(report, title="large"), render_markdown(report, title="large")

    assert len(html.encode()) < 2_000_000
    assert len(markdown.encode()) < 1_000_000
    page = Page(html)
    for more in ("35", "4950", "900", "1760", "2007"):
        assert f"… and {more} more" in page.text
        assert f"… and {more} more" in markdown
    assert page.tags["circle"] == 64 * 4
