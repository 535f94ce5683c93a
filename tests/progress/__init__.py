"""Tests of progress streams and channels, on a real Valkey."""
