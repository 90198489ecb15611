"""backend="ray": tasks run in actors of a Ray cluster."""

from workpool.backends.ray.backend import RayBackend

__all__ = ["RayBackend"]
