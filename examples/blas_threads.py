"""As many processes as cores, and one thread of BLAS in each, so that they do not fight for the cores.

Prints::

    by default, each of as many workers as cores may use 1 thread
    for one worker alone: all cores
    by request: 2 threads
"""

import os

from workpool import Pool


def allowed() -> int:
    """Tell what numpy's BLAS, and whatever else follows OpenMP, will go by in this worker."""
    return int(os.environ["OMP_NUM_THREADS"])


def main() -> None:
    with Pool(backend="process") as pool:
        cores, each = pool.max_workers, pool.submit(allowed).result()
        print(f"by default, each of as many workers as cores may use {each} thread")
    with Pool(1, backend="process") as pool:
        alone = pool.submit(allowed).result()
        print("for one worker alone:", "all cores" if alone == cores else f"{alone} of {cores}")
    with Pool(2, backend="process", blas_threads=2) as pool:
        print(f"by request: {pool.submit(allowed).result()} threads")


if __name__ == "__main__":
    main()
