"""Vecloom: collections of documents, searchable by meaning."""
