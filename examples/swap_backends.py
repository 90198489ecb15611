"""One program, three backends: an argument chooses, and nothing else changes.

``python swap_backends.py --backend process`` runs the same lines in processes.
The counter and the shared value come from the pool, so they fit its workers.

Prints::

    thread       6 letters
    process      7 letters
    inline       6 letters
    concurrency 11 letters
    4 words counted; the longest is concurrency
"""

import argparse

from workpool import Counter, Pool, Shared


def measure(word: str, words: Counter, longest: Shared[str]) -> int:
    """Count a word, and remember it if it is the longest so far."""
    words.add()
    with longest.lock() as box:
        box.value = max(box.value, word, key=len)
    return len(word)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--backend", choices=["thread", "process", "inline"], default="thread")
    backend = parser.parse_args().backend

    with Pool(2, backend=backend) as pool:
        words = pool.counter()
        longest = pool.shared("")
        tasks = {
            word: pool.submit(measure, word, words, longest)
            for word in ["thread", "process", "inline", "concurrency"]
        }
        for word, task in tasks.items():
            print(f"{word:<11} {task.result():>2} letters")
        print(f"{words.value} words counted; the longest is {longest.get()}")


if __name__ == "__main__":
    main()
