"""Ingestion: from a source to points, in stages joined by bounded streams."""
