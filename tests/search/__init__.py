"""Tests of app/search."""
