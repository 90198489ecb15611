"""How much of a cluster an actor asks for, so that a pool's actors find room there."""

from __future__ import annotations

from typing import Any

import attrs

__all__ = ["Share", "room_for", "wanted"]

_FINEST = 0.001  # of a CPU; Ray counts in ten-thousandths


@attrs.frozen
class Share:
    """What each actor of a pool asks for."""

    cpus: float

    def options(self, resources: dict[str, float]) -> dict[str, Any]:
        """Give Ray's options for an actor that has such resources, beside its share of the CPUs."""
        others = dict(resources)
        options: dict[str, Any] = {"num_cpus": others.pop("CPU", self.cpus)}
        for name, option in (("GPU", "num_gpus"), ("memory", "memory")):
            if name in others:
                options[option] = others.pop(name)
        if others:
            options["resources"] = others
        return options


def room_for(ray: Any, workers: int | None, *, own: bool) -> tuple[int, Share]:
    """Give the number of CPUs there are, and the share with which so many workers fit.

    A whole CPU each where there are enough. On a Ray of the program's own nobody else
    has to be left room, so nothing is asked for.
    """
    nodes = [node["Resources"].get("CPU", 0.0) for node in ray.nodes() if node["Alive"]]
    there = max(1, int(sum(nodes)))
    if own:
        return there, Share(0)
    if workers is None or workers <= sum(map(int, nodes)):
        return there, Share(1)
    # Each node may have a rest that is too small for one more.
    share = sum(nodes) / (workers + len(nodes))
    return there, Share(round(share // _FINEST * _FINEST, 4))


def wanted(ray: Any, resources: dict[str, float]) -> list[str]:
    """List the resources of which no node has as much."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return [
        name
        for name, amount in resources.items()
        if not any(node.get(name, 0.0) >= amount for node in nodes)
    ]
