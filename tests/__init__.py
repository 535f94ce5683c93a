"""Tests of Vecloom."""
