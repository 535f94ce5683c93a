"""Answers queries: embed, retrieve, roll up to documents, show."""
