"""Tests over real services: integration."""
