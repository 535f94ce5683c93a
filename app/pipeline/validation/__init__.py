"""Validates a new generation of a collection beside the one that serves."""
