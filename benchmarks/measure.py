"""One measurement: one library, one workload, in this process, which is fresh for it.

``python -m benchmarks.measure MODULE WORKLOAD-MODULE LIBRARY SCALE`` prints the figures
as one line of JSON. The command starts it; workers that are spawned import it again.
"""

import os
import sys


def main(
    workload_module: str, library_module: str, library_class: str, workers: str, size: str
) -> None:
    """Measure and print."""
    import json
    from importlib import import_module

    from benchmarks.workload import Scale

    workload = import_module(workload_module).WORKLOAD
    library = getattr(import_module(library_module), library_class)()
    library.load()
    figures = workload.run(library, Scale(int(workers), size == "quick"))
    print(json.dumps(figures), flush=True)
    if workload.leaves:
        os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
