"""Places documents come from, behind the port ``DocumentSource``."""
