"""Tests of app/pipeline."""
