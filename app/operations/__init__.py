"""The life of an operation: one method, one transaction."""
