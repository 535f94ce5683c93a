"""Judged queries in Postgres and over HTTP."""
