"""Scores, the bootstrap, the checks of a rebuild and their policy."""
