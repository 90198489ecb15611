"""A rate limit: eight workers, and a service that allows five calls in a quarter of a second.

Prints::

    20 answers, refused by the service: 0
"""

import threading
from collections import deque
from time import monotonic

from workpool import Pool, RateLimiter


class Service:
    """Refuses what comes too often."""

    def __init__(self, calls: int, per: float) -> None:
        self.refused = 0
        self._calls, self._per = calls, per
        self._seen: deque[float] = deque()
        self._lock = threading.Lock()

    def answer(self, n: int) -> int:
        with self._lock:
            now = monotonic()
            while self._seen and now - self._seen[0] >= self._per:
                self._seen.popleft()
            self._seen.append(now)
            if len(self._seen) > self._calls:
                self.refused += 1
        return n * n


def ask(service: Service, limiter: RateLimiter, n: int) -> int:
    with limiter:
        return service.answer(n)


def main() -> None:
    service = Service(calls=5, per=0.25)
    with Pool(8) as pool:
        # A little less than allowed, for what happens between our count and theirs.
        limiter = pool.rate_limit(5, per=0.5)
        answers = list(pool.starmap(ask, [(service, limiter, n) for n in range(20)]))
    print(f"{len(answers)} answers, refused by the service:", service.refused)


if __name__ == "__main__":
    main()
