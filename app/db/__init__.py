"""Postgres: the record of everything."""
