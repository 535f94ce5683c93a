"""Signing, addresses, and single attempts."""
