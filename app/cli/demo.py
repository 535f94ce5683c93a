"""``make demo``: index a folder, ask it something, say how to go on.

Everything is done by the ``vecloom`` command, so what the demo shows is what a user gets.
"""

import argparse
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from zlib import crc32

from rich.console import Console
from rich.markup import escape

VECLOOM = Path(sys.executable).with_name("vecloom")
COLLECTION = "demo"
"""Of this repository's docs; those of other folders begin with it."""

LONGEST_NAME = 40
OWN_DOCS = Path(__file__).resolve().parents[2] / "docs"
OWN_QUESTION = "what happens when a worker is killed"
DONE, DONE_WITH_DOCUMENT_ERRORS = 0, 3
FILES_LOOKED_AT = 200


def choose_question(folder: Path) -> str:
    """A question that the folder has an answer to: of its file names, the longest one in words."""
    if folder.resolve() == OWN_DOCS:
        return OWN_QUESTION
    files = sorted(path for path in islice(folder.rglob("[!.]*.*"), FILES_LOOKED_AT) if path.is_file())
    names = [path.stem.replace("-", " ").replace("_", " ") for path in files]
    return max(names, key=lambda name: len(name.split()), default=OWN_QUESTION)


def choose_collection(folder: Path) -> str:
    """A collection of the folder's own, so that hits of one never stand among those of another."""
    path = folder.resolve()
    if path == OWN_DOCS:
        return COLLECTION
    name = "-".join(re.findall("[a-z0-9]+", path.name.lower()))[:LONGEST_NAME]
    return f"{COLLECTION}-{name or 'folder'}-{crc32(os.fsencode(path)):08x}"


def run_vecloom(*arguments: str) -> int:
    """Run one command in this terminal and give its exit code; Ctrl-C is the command's to handle."""
    # A handler, unlike SIG_IGN, is not inherited: the child still stops, and stops cleanly.
    before = signal.signal(signal.SIGINT, lambda _signal, _frame: None)
    try:
        # nothing here comes from a shell, and the program is the one beside this interpreter
        return subprocess.run([VECLOOM, *arguments], check=False).returncode  # noqa: S603 — see above
    finally:
        signal.signal(signal.SIGINT, before)


def search(console: Console, collection: str, question: str) -> int:
    """Ask the collection and show its hits."""
    console.print(f"\n[bold]search[/bold] {escape(question)}")
    return run_vecloom("search", collection, question, "--limit", "5")


def ask_until_empty(console: Console, collection: str) -> None:
    """Go on asking until an empty line or the end of the input."""
    while True:
        try:
            question = console.input("\n[bold]another question[/bold] (empty line ends) > ").strip()
        except (EOFError, KeyboardInterrupt):
            return
        if not question:
            return
        search(console, collection, question)


def say_how_to_go_on(console: Console, collection: str) -> None:
    """The next three things a person wants to do."""
    command = os.path.relpath(VECLOOM)
    for line, purpose in (
        (f'{command} search {collection} "your question"', "ask again"),
        (f"{command} index FOLDER --collection NAME", "a collection of your own"),
        (f"{command} up", "keep everything running, with the HTTP API; commands get faster"),
    ):
        console.print(f"  [cyan]{escape(line)}[/cyan]  {purpose}", highlight=False, soft_wrap=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Index, search, go on; the exit code is that of the first command that did not work."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("folder", type=Path, help="what to index")
    parser.add_argument("--query", default="", help="what to ask; the default fits the folder")
    parser.add_argument("--once", action="store_true", help="do not ask for more questions")
    options = parser.parse_args(arguments)
    console = Console()
    folder = options.folder.expanduser()  # not every shell expands the ~ of `make demo DIR=~/notes`

    collection = choose_collection(folder)
    console.print(f"[bold]index[/bold] {escape(str(folder))} → collection {collection}")
    indexed = run_vecloom("index", str(folder), "--collection", collection)
    if indexed not in (DONE, DONE_WITH_DOCUMENT_ERRORS):
        return indexed
    searched = search(console, collection, options.query or choose_question(folder))
    if searched != DONE:
        return searched
    if not options.once and sys.stdin.isatty():
        ask_until_empty(console, collection)
    console.print("\n[bold]go on[/bold]")
    say_how_to_go_on(console, collection)
    return DONE


if __name__ == "__main__":
    sys.exit(main())
