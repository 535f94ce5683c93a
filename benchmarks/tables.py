"""Shows figures as tables that a README reader understands."""

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table

from benchmarks.systems import Figures

CONFIGURATION = "configuration"
"""The figure that says in words how a system was set up; it stands below its table."""


def show(results: Mapping[str, Figures], beside: Mapping[str, Sequence[str]]) -> None:
    """A table for each benchmark; ``beside`` names the systems of those that measure several."""
    console = Console()
    for name, figures in results.items():
        systems = beside.get(name)
        if systems is None:
            console.print(_table(name, figures))
            continue
        console.print(_table_beside(name, figures, systems))
        for system in systems:
            console.print(f"{system}: {figures[f'{system}_{CONFIGURATION}']}", highlight=False)
        for figure, value in figures.items():
            if find_system(figure, systems) is None:
                console.print(f"{figure.replace('_', ' ')}: {value}", highlight=False)


def _table(name: str, figures: Figures) -> Table:
    table = Table("figure", "value", title=name, title_justify="left")
    for figure, value in figures.items():
        table.add_row(figure.replace("_", " "), str(value))
    return table


def _table_beside(name: str, figures: Figures, systems: Sequence[str]) -> Table:
    """A column for each system, a row for each of the figures that they have in common or alone."""
    table = Table("figure", *systems, title=name, title_justify="left")
    named = [(key, system) for key in figures if (system := find_system(key, systems))]
    rows = dict.fromkeys(key.removeprefix(f"{system}_") for key, system in named)
    rows.pop(CONFIGURATION)
    for row in rows:
        table.add_row(row.replace("_", " "), *(str(figures.get(f"{system}_{row}", "")) for system in systems))
    return table


def find_system(figure: str, systems: Sequence[str]) -> str | None:
    """Whose figure it is; a system's name may be the beginning of another's."""
    named = [system for system in systems if figure.startswith(f"{system}_")]
    return max(named, key=len, default=None)
