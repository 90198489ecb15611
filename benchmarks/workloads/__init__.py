"""Workloads, one idea a file: each takes a library that is loaded and not yet open, and gives figures."""
