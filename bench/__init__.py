"""Benchmarks: each figure is a ratio to a peer or a physical limit of the same run (`make bench`)."""
