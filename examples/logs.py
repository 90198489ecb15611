"""What tasks log and print arrives, named, also when the worker dies a moment later.

Prints::

    INFO [- -] five pages to index
    INFO [index 0] 4 words
    INFO [index 1] 2 words
    WARNING [index 2] no words at all
    INFO [index 3] 3 words
    CRITICAL [index 4] out of ink
    index 0 printed: to be or not
    index 4: WorkerLost
"""

import logging
import os
import sys

from workpool import Pool

PAGES = ["to be or not", "to be", "", "that is the", "\0"]
log = logging.getLogger("indexer")


def index(page: str) -> int:
    print(page)
    if page == "\0":
        log.critical("out of ink")
        os._exit(1)  # as a crash would
    words = len(page.split())
    if not words:
        log.warning("no words at all")
    else:
        log.info("%d words", words)
    return words


def main() -> None:
    logging.basicConfig(
        stream=sys.stdout,
        level=logging.INFO,
        format="%(levelname)s [%(wp_task)s %(wp_task_id)s] %(message)s",
    )
    with Pool(1, backend="process", logs=True, capture=True) as pool:
        log.info("five pages to index")
        tasks = [pool.submit(index, page) for page in PAGES]
        last = tasks[-1].exception()
    print("index 0 printed:", tasks[0].stdout, end="")
    print("index 4:", type(last).__name__)


if __name__ == "__main__":
    main()
