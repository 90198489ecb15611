"""Promises of the pool, one suite for every backend."""
