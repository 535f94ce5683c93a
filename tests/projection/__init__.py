"""Tests of maps of collections."""
