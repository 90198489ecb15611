"""A pipeline: a producer, two queues, and workers that consume until the end.

``join`` of a queue waits until every item that was put is marked done. The
``for`` loop over a queue marks each one when its body is through with it, and
ends when the queue is shut down. So the stages close in order, and nothing is lost.

Prints::

    5 lines, 9 numbers, sum 45
    left over: 0 lines, 0 numbers
"""

from workpool import Pool, Queue

LINES = ["1 2", "3", "4 5 6", "7", "8 9"]


def parse(lines: Queue[str], numbers: Queue[int]) -> int:
    """Turn lines into numbers, and return how many lines it got."""
    done = 0
    for line in lines:
        for word in line.split():
            numbers.put(int(word))
        done += 1
    return done


def add(numbers: Queue[int]) -> tuple[int, int]:
    """Add numbers, and return how many it got and their sum."""
    got = list(numbers)
    return len(got), sum(got)


def main() -> None:
    lines: Queue[str] = Queue(maxsize=2)  # a producer that is ahead waits
    numbers: Queue[int] = Queue(maxsize=2)
    with Pool(4) as pool:
        parsers = [pool.submit(parse, lines, numbers) for _ in range(2)]
        adders = [pool.submit(add, numbers) for _ in range(2)]
        for line in LINES:
            lines.put(line)
        lines.join()  # every line is parsed, so every number is in the second queue
        lines.shutdown()
        numbers.join()  # and every number is added
        numbers.shutdown()
        seen = sum(parser.result() for parser in parsers)
        counts, sums = zip(*(adder.result() for adder in adders), strict=True)
    print(f"{seen} lines, {sum(counts)} numbers, sum {sum(sums)}")
    print(f"left over: {lines.unfinished} lines, {numbers.unfinished} numbers")


if __name__ == "__main__":
    main()
