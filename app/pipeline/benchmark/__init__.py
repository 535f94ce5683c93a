"""Stages of a benchmark: ask, keep, score."""
