"""An issuer's key server in a thread: right, slow, huge, down, as a test says; it counts who asks."""

from __future__ import annotations

import contextlib
import http.server
import threading
from collections.abc import Generator

import attrs


@attrs.define(eq=False)
class Issuer:
    """What it answers, and how often it was asked."""

    url: str = ""
    answer: bytes = b'{"keys": []}'
    status: int = 200
    endless: bool = False
    asked: int = 0
    server: http.server.ThreadingHTTPServer | None = None

    def close(self) -> None:
        """Listen no longer."""
        if self.server is not None:
            self.server.server_close()


@contextlib.contextmanager
def serving_keys() -> Generator[Issuer]:
    """On loopback, for the block."""
    issuer = Issuer()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            issuer.asked += 1
            self.send_response(issuer.status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Location", "/jwks")
            if not issuer.endless:
                self.send_header("Content-Length", str(len(issuer.answer)))
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(issuer.answer)
                while issuer.endless:
                    self.wfile.write(b" " * 65536)

        def log_message(self, format: str, *values: object) -> None:  # noqa: A002 - its name
            """Nothing is printed."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        issuer.server = server
        issuer.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield issuer
        finally:
            server.shutdown()
            thread.join()
