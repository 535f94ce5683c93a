"""What periodic jobs do."""
