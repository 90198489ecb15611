"""backend="dask": tasks run in the workers of a Dask cluster."""

from workpool.backends.dask.backend import DaskBackend

__all__ = ["DaskBackend"]
