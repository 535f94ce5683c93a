"""Schema migrations; run by `vecloom migrate` and at start-up of the embedded stack."""
