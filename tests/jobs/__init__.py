"""Tests of how jobs run and stop."""
