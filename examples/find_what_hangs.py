"""Two tasks that wait for each other: the pool names them, and shows the lines they stand at.

Prints::

    not done after 0.2 s: ['task 0 (move)', 'task 1 (move)']
    task 0 (move) stands in move: with second:
    task 1 (move) stands in move: with second:
"""

from threading import Barrier, Lock

from workpool import JoinTimeout, Pool

savings, wages = Lock(), Lock()
both_have_one = Barrier(2)


def move(first: Lock, second: Lock) -> None:
    """Take two locks one after the other; somebody else takes them the other way round."""
    with first:
        both_have_one.wait(timeout=30)
        with second:
            pass


def main() -> None:
    with Pool(2) as pool:
        pool.submit(move, savings, wages)
        pool.submit(move, wages, savings)
        try:
            pool.join(timeout=0.2)
        except JoinTimeout as error:
            print("not done after 0.2 s:", sorted(name for name, _ in error.running))

        for stack in sorted(pool.stacks(), key=lambda stack: stack.task):
            place, line = stack.text.splitlines()[-2:]
            print(f"{stack.task} stands in {place.rsplit(' ', 1)[-1]}: {line.strip()}")
        pool.kill()


if __name__ == "__main__":
    main()
