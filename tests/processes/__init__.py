"""Tests of app/processes."""
