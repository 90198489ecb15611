"""What ran when: a report for the browser, and a trace for Perfetto.

Prints::

    fetch: 12 done
    parse: 2000 done
    the trace has 12 tasks, each with its worker and its times
    report.html: one page, which needs nothing else
"""

import json
import tempfile
from pathlib import Path

from workpool import Pool


def fetch(n: int) -> int:
    return sum(range(n * 10_000))


def parse(n: int) -> int:
    return n * n


def main() -> None:
    with Pool(2, record=True, name="crawler") as pool:
        fetched = [pool.submit(fetch, n) for n in range(12)]
        parsed = list(pool.map(parse, range(2_000)))
        print("fetch:", sum(task.done() for task in fetched if task.result() >= 0), "done")
        print("parse:", len(parsed), "done")

    with tempfile.TemporaryDirectory() as folder:
        trace, report = Path(folder, "trace.json"), Path(folder, "report.html")
        pool.timeline(trace)  # open it in https://ui.perfetto.dev
        pool.timeline(report)  # open it in any browser
        events = json.loads(trace.read_text(encoding="utf-8"))["traceEvents"]
        tasks = [event for event in events if event.get("cat") == "task"]
        print("the trace has", len(tasks), "tasks, each with its worker and its times")
        page = report.read_text(encoding="utf-8")
        print(report.name + ":", "one page, which needs nothing else" * ("src=" not in page))


if __name__ == "__main__":
    main()
