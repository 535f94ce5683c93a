"""The measuring code of the benchmarks, on tiny amounts: what is run by hand only would rot."""
