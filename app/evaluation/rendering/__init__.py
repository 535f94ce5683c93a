"""Reports of benchmarks for people: as Markdown, and as one HTML file that needs nothing else."""

from app.evaluation.rendering.markdown import render_markdown
from app.evaluation.rendering.page import render_html

__all__ = ["render_html", "render_markdown"]
