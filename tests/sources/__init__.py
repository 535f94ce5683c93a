"""Tests of app/sources."""
