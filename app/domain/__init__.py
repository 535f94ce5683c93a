"""Nouns, errors and ports. Standard library and numpy only."""
