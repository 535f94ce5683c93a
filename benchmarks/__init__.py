"""Measurements of Vecloom; `make bench` runs them."""
