"""A pool's numbers where monitoring looks for them: a scrape by Prometheus.

Prints::

    workpool_tasks_total{outcome="done",pool="indexer"} 6.0
    workpool_tasks_total{outcome="failed",pool="indexer"} 2.0
    workpool_tasks_total{outcome="cancelled",pool="indexer"} 0.0
    workpool_queued{pool="indexer"} 0.0
    workpool_workers_limit{pool="indexer"} 2.0
"""

from prometheus_client import CollectorRegistry, generate_latest

from workpool import Pool
from workpool.integrations.prometheus import PoolCollector

SHOWN = ("workpool_tasks_total{", "workpool_queued{", "workpool_workers_limit{")


def index(page: int) -> int:
    if page % 4 == 3:
        raise LookupError(page)
    return page


def main() -> None:
    registry = CollectorRegistry()  # a program has one already: prometheus_client.REGISTRY
    with Pool(2, name="indexer") as pool:
        registry.register(PoolCollector(pool))
        for page in range(8):
            pool.submit(index, page)
        pool.join()
        scrape = generate_latest(registry).decode()  # what start_http_server(...) would answer
    for line in scrape.splitlines():
        if line.startswith(SHOWN):
            print(line)


if __name__ == "__main__":
    main()
