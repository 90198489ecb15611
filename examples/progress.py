"""Progress: a display of one's own, which knows how far a map call is.

``progress=True`` draws a bar on the terminal. A callable instead is given a snapshot
now and then, in a thread of its own: here it fills in a report, as a web page or a
status file would. Items count when they are finished, whether anybody fetches
them or not.

Prints::

    0 of 200 when nobody had consumed a result: False
    checked: 190 done, 10 failed, nothing left: True
    the numbers only ever grew: True
"""

import threading

from workpool import Pool, Progress


class Report:
    """What a page shows."""

    def __init__(self) -> None:
        self.lines: list[Progress] = []
        self.ended = threading.Event()

    def show(self, progress: Progress) -> None:
        self.lines.append(progress)
        if progress.ended:
            self.ended.set()


def check(number: int) -> int:
    if number % 20 == 7:
        raise ValueError(f"{number} is not to my taste")
    return number


def main() -> None:
    report = Report()
    with Pool(4) as pool:
        results = pool.map(check, range(200), progress=report.show, return_exceptions=True)
        report.ended.wait(timeout=30)  # nobody consumes, and still it comes to its end
        print("0 of 200 when nobody had consumed a result:", report.lines[-1].finished == 0)

        assert len(list(results)) == 200
        last = report.lines[-1]
        nothing_left = last.left == 0.0 and last.finished == last.total
        print(f"checked: {last.done} done, {last.failed} failed, nothing left: {nothing_left}")
        counts = [line.finished for line in report.lines]
        print("the numbers only ever grew:", counts == sorted(counts))


if __name__ == "__main__":
    main()
