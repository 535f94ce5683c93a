"""The command ``vecloom search``."""

from typing import Annotated

import typer

from app.cli import search as searching
from app.cli.running import Data, Json, out, print_json, run_command, settings_of
from app.domain.points import Fusion, SearchMode


def search(
    name: Annotated[str, typer.Argument(help="Name of the collection.")],
    query: Annotated[str, typer.Argument(help="What to look for.")],
    mode: Annotated[SearchMode, typer.Option(help="By meaning, by words, or by both.")] = SearchMode.HYBRID,
    limit: Annotated[int, typer.Option(min=1, max=100, help="Most hits.")] = 10,
    folder: Annotated[list[str] | None, typer.Option(help="Only below this folder.")] = None,
    file_type: Annotated[list[str] | None, typer.Option("--type", help="Only files of this type, as pdf.")] = None,
    fusion: Annotated[Fusion | None, typer.Option(help="By ranks or by scores, where both are searched.")] = None,
    fusion_k: Annotated[int | None, typer.Option(help="How little the first ranks count; usually 60.")] = None,
    dense_weight: Annotated[float | None, typer.Option(help="Of the meaning, in fusion rrf.")] = None,
    bm25_weight: Annotated[float | None, typer.Option(help="Of the words, in fusion rrf.")] = None,
    candidates: Annotated[int | None, typer.Option(help="Chunks that each of both brings.")] = None,
    diversity: Annotated[float | None, typer.Option(help="0 to 1: spread hits that say the same.")] = None,
    rerank: Annotated[bool, typer.Option("--rerank", help="Have the server's reranker order the first hits.")] = False,
    rerank_depth: Annotated[int | None, typer.Option(help="How many documents that reads; usually 50.")] = None,
    score_threshold: Annotated[float | None, typer.Option(help="Leave out hits with lower scores.")] = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Search a collection; docs/search.md says what each setting does."""
    settings = {
        "mode": mode.value,
        "fusion": None if fusion is None else fusion.value,
        "fusion_k": fusion_k,
        "dense_weight": dense_weight,
        "bm25_weight": bm25_weight,
        "candidates": candidates,
        "diversity": diversity,
        "rerank": rerank or None,
        "rerank_depth": rerank_depth,
        "score_threshold": score_threshold,
    }
    options = {"settings": settings, "limit": limit, "folders": folder or [], "file_types": file_type or []}
    answer = run_command(lambda: searching.search(settings_of(data), name, query, options), as_json=as_json)
    print_json(searching.search_json(answer)) if as_json else searching.show_hits(answer, out)
