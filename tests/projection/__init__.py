"""Maps of a collection."""
