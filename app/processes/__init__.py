"""Killable child processes for everything that would block the event loop."""
