"""Measurements of workpool beside its peers; ``python -m benchmarks`` runs them (see README.md)."""
