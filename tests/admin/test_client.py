"""The commands' way to the API."""

from __future__ import annotations

import http.server
import threading

import pytest

from app.cli.client import ApiError, Client, Key


class Stranger(http.server.BaseHTTPRequestHandler):
    """Another program that has the port."""

    def do_GET(self) -> None:
        """A page for whatever is asked; and for one path it is well."""
        self.send_response(200 if self.path.endswith("/well/") else 404)
        self.end_headers()
        self.wfile.write(b"<html><body><h1>It works!</h1></body></html>")

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.mark.parametrize("path", ["service/", "well/"])
def test_a_page_of_another_program_is_not_shown(path: str) -> None:
    with http.server.HTTPServer(("127.0.0.1", 0), Stranger) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(ApiError, match=r"does another program have this port\?"):
            Client(f"http://127.0.0.1:{server.server_port}", Key("admin", "k")).get(path)
        server.shutdown()
