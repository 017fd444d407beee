"""Speed of rasteret_sql and of its peers, measured the same way. Start with ``python -m benchmarks.run --help``; docs/benchmarks.md explains."""
