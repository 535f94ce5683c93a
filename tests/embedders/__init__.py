"""Tests of app/embedders."""
