"""Try an installed workpool where nothing but it is installed.

Run by the Python of an environment that holds the wheel alone, as ``python -I``,
so that neither this checkout nor the user's packages can help.
"""

from __future__ import annotations

import importlib.metadata
import importlib.resources
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]


def square(number: int) -> int:
    """Be a task that a worker process can find by name."""
    return number * number


def main() -> None:
    """Use what a user would use first, on each backend that needs nothing else."""
    import workpool

    where = Path(workpool.__file__).resolve()
    assert CHECKOUT / "src" not in where.parents, f"the checkout was imported: {where}"
    assert importlib.metadata.version("workpool") == workpool.__version__
    assert importlib.resources.files("workpool").joinpath("py.typed").is_file()

    light = "import sys, workpool; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-I", "-c", light], check=True, capture_output=True, text=True, timeout=60
    ).stdout.split()
    heavy = {"asyncio", "multiprocessing", "numpy"} & set(loaded)
    assert not heavy, f"import workpool loads {heavy}"

    for name in workpool.__all__:
        assert getattr(workpool, name) is not None

    from workpool import Pool

    for backend in ("inline", "thread", "process"):
        with Pool(2, backend=backend) as pool:
            assert pool.submit(square, 7).result(timeout=60) == 49
            assert list(pool.map(square, range(5))) == [0, 1, 4, 9, 16]
        print(f"{backend}: works")


if __name__ == "__main__":
    main()
