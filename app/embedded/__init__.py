"""Postgres, Valkey and a vector server as child processes, for a machine that has none of them."""
