"""The `vecloom` command."""
