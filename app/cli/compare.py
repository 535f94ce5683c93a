"""``vecloom compare``: the same queries on two generations."""

from typing import Any

from rich.console import Console

from app.cli.client import collection_path
from app.cli.generations import describe
from app.cli.progress import printable
from app.cli.rankings import Row, make_table
from app.cli.search import snippet
from app.cli.session import open_client
from app.domain.comparison import Change
from app.settings import Settings


async def compare_generations(settings: Settings, name: str, queries: list[str], options: dict[str, Any]) -> Any:  # noqa: ANN401 — JSON
    """What the server says of both generations."""
    given = {key: value for key, value in options.items() if value is not None}
    async with open_client(settings, worker=False) as client:
        return await client.call("POST", collection_path(name, "compare"), json={"queries": queries, **given})


def exit_code_of(answer: dict[str, Any]) -> int:
    """3 if one of the sides could not be asked."""
    return 3 if answer["old"]["error"] or answer["new"]["error"] else 0


def show_comparison(answer: dict[str, Any], console: Console) -> None:
    """Both generations, then a table for each query."""
    for side in ("old", "new"):
        generation = answer[side]
        console.print(f"{side}: {describe(generation)}", highlight=False, soft_wrap=True)
        if error := generation["error"]:
            console.print(
                f"  [red]{error['code']}[/red]: {printable(error['detail'])}", highlight=False, soft_wrap=True
            )
    for query in answer["queries"]:
        console.print(f"\n[bold]{printable(query['query'])}[/bold]{_scores(query)}", highlight=False, soft_wrap=True)
        if query["hits"]:
            console.print(make_table([_row_of(hit) for hit in query["hits"]], with_text=True))
        else:
            console.print("nothing found")
    if len(answer["queries"]) > 1 and answer["overlap"] is not None:
        console.print(f"\nall {len(answer['queries'])} queries{_scores(answer)}", highlight=False)


def _row_of(hit: dict[str, Any]) -> Row:
    old, new = hit["old"], hit["new"]
    return Row(
        old=old and old["rank"],
        new=new and new["rank"],
        change=hit["change"] and Change(hit["change"]),
        document=printable(hit["path"]),
        text=snippet(new or old),
    )


def _scores(compared: dict[str, Any]) -> str:
    if compared["overlap"] is None:
        return ""
    overlap, biased = compared["overlap"], compared["rank_biased_overlap"]
    return f"  [dim]overlap {overlap:.2f}, rank-biased {biased:.2f}[/dim]"
