"""What is fast, measured beside a peer: ``python -m benchmarks --help``, docs/BENCHMARKS.md."""
