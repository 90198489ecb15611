"""How much of a cluster an actor asks for, so that a pool's actors find room there; and what it lacks, if not."""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module
from typing import Any

import attrs

__all__ = ["Share", "has_process", "lacking", "room_for", "wanted"]

_FINEST = 0.001  # of a CPU; Ray counts in ten-thousandths


@attrs.frozen
class Share:
    """What each actor of a pool asks for."""

    cpus: float

    def demand(self, resources: dict[str, float]) -> dict[str, float]:
        """Tell all that an actor with such resources asks for, its share of the CPUs included."""
        return {"CPU": self.cpus, **resources}

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


def lacking(ray: Any, demand: dict[str, float]) -> str:
    """Say what of a demand no node has free now, and how much there is; empty when it fits on one."""
    there = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    free = _free_by_node(ray)
    if any(all(node.get(name, 0.0) >= n for name, n in demand.items()) for node in free):
        return ""
    missing: list[str] = []
    for name, amount in demand.items():
        most = max((node.get(name, 0.0) for node in free), default=0.0)
        if most < amount:
            of_all = sum(node.get(name, 0.0) for node in there)
            largest = max((node.get(name, 0.0) for node in there), default=0.0)
            part = f"{amount:g} {name}, of which {most:g} is free on any node ({of_all:g} in the whole cluster)"
            if largest < amount:
                part += f", and no node has more than {largest:g}"
            missing.append(part)
    # Each of them is free somewhere, but not all on one node.
    return (
        " and ".join(missing)
        or " and ".join([f"{amount:g} {name}" for name, amount in demand.items() if amount])
        + ", which are not free on any one node"
    )


def _free_by_node(ray: Any) -> list[dict[str, float]]:
    with suppress(Exception):  # not promised by Ray
        state: Any = import_module("ray._private.state")
        return list(state.available_resources_per_node().values())
    return [ray.available_resources()]


def has_process(actor: Any) -> bool:
    """Tell whether an actor has found its place: what is not free may be its own."""
    with suppress(Exception):  # not promised by Ray either
        state: Any = import_module("ray._private.state")
        return bool(state.actors(actor._actor_id.hex()).get("Pid"))
    return False
