"""Tests of the embedded stack with real servers."""
