"""Threads for I/O: eight requests wait at the same time, in eight threads.

The server answers no request before eight of them have arrived. One after the
other would wait for ever; eight threads are done in one round trip.

Prints::

    200 page 1
    200 page 2
    200 page 3
    200 page 4
    200 page 5
    200 page 6
    200 page 7
    200 page 8
"""

import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from workpool import Pool

PAGES = 8
everyone_is_here = threading.Barrier(PAGES, timeout=30)


class Pages(BaseHTTPRequestHandler):
    """Answers "page N" to a request for /N, once eight requests are waiting."""

    def do_GET(self) -> None:
        everyone_is_here.wait()
        body = f"page {self.path[1:]}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        """Say nothing."""


def fetch(url: str) -> str:
    with urllib.request.urlopen(url, timeout=30) as answer:
        return f"{answer.status} {answer.read().decode()}"


def main() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Pages) as server, Pool(PAGES) as pool:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        urls = [f"http://127.0.0.1:{server.server_port}/{n}" for n in range(1, PAGES + 1)]
        for answer in pool.map(fetch, urls, chunksize=1):
            print(answer)
        server.shutdown()


if __name__ == "__main__":
    main()
