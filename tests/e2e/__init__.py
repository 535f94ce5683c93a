"""Tests over real services: e2e."""
