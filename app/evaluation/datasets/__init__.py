"""Benchmark datasets in the formats that people have them in: read, written, compared with a collection. No I/O."""
