"""``vecloom verify``: whether Postgres and the vector store agree."""

from typing import Any

from rich.console import Console

from app.cli.client import collection_path
from app.cli.commands import follow
from app.cli.progress import ProgressView, printable
from app.cli.session import open_client
from app.settings import Settings

SHOWN = 10
LISTS = {"missing": "not in the vector store", "extra": "in the vector store only", "wrong": "wrong"}


async def verify(settings: Settings, name: str, config: dict[str, bool], console: Console) -> Any:  # noqa: ANN401 — JSON
    """Compare a collection and wait."""
    async with open_client(settings) as client:
        body = {"kind": "VERIFY", "config": config}
        operation: dict[str, Any] = await client.call("POST", collection_path(name, "operations"), json=body)
        with ProgressView(console) as view:
            return await follow(client, operation, view, [])


def verify_json(ended: dict[str, Any]) -> dict[str, Any]:
    """The contract's object of a verification; the lists hold the first of each kind, the counts all."""
    empty: dict[str, Any] = {"ok": False, "compared": 0, "missing": [], "extra": [], "wrong": []}
    shown = {**empty, **(ended["result"] or {}), "operation_id": ended["operation_id"], "state": ended["state"]}
    if ended.get("error_code"):
        shown["error"] = {"code": ended["error_code"], "detail": ended["error_message"]}
    return shown


def show_verification(ended: dict[str, Any], name: str, console: Console) -> None:
    """What was compared and found, for a person."""
    result = ended["result"]
    if ended["state"] != "completed" or result is None:
        code = ended.get("error_code") or ""
        console.print(f"[red]{ended['state']}[/red] {code} {printable(ended.get('error_message') or '')}".rstrip())
        return
    rate = result["compared"] / max(result["seconds"], 1e-3)
    console.print(
        f"compared {result['compared']} points ({result['compared_bytes'] / 2**20:.1f} MiB) of {result['documents']}"
        f" documents in {result['seconds']:.1f} s, {rate:.0f} a second; {_embedded_again(result)}",
        soft_wrap=True,
    )
    for key, words in LISTS.items():
        _show_points(result[key], f"{result[f'{key}_count']} {words}", console)
    for document in result["wrong_documents"][:SHOWN]:
        console.print(f"  {printable(document['uri'])}: {document['chunks']} chunks, not {document['chunk_count']}")
    if result["in_flux"]:
        console.print(f"{result['in_flux']} points are being written and were left out; APPEND finishes them")
    console.print(_verdict(result, name), soft_wrap=True)


def _embedded_again(result: dict[str, Any]) -> str:
    if result["sample_error"]:
        return f"no text was embedded again ({result['sample_error']})"
    return f"{result['reembedded']} texts embedded again"


def _show_points(points: list[str], title: str, console: Console) -> None:
    if not points:
        return
    console.print(f"[red]{title}[/red]:")
    for point in points[:SHOWN]:
        console.print(f"  {point}")
    if len(points) > SHOWN:
        console.print("  … --json names up to 1000")


def _verdict(result: dict[str, Any], name: str) -> str:
    if not result["ok"]:
        left = (
            "some are still wrong" if result["repaired"] else f"mend it with: vecloom verify {printable(name)} --repair"
        )
        return f"[red]Postgres and the vector store disagree[/red]; {left}"
    lines = "[green]ok[/green]: Postgres and the vector store agree"
    if result["repaired"]:
        lines += f"; {result['repaired']} repaired"
    if result["documents_to_read"]:
        lines += f"; {result['documents_to_read']} documents will be read again by the next `vecloom index`"
    return lines


def exit_code_of(ended: dict[str, Any]) -> int:
    """0 if both sides agree, or do now; 1 otherwise."""
    return 0 if ended["state"] == "completed" and (ended["result"] or {}).get("ok") else 1
