"""What every ``DocumentSource`` promises, whatever it reads."""
