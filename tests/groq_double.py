"""A loopback server that speaks Groq's wire format and answers as it is told."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MAIN = "openai/gpt-oss-120b"
SPARE = "openai/gpt-oss-20b"
Answer = Callable[[dict[str, Any]], "tuple[int, dict[str, Any] | None]"]


def completion(content: str, finish: str = "stop") -> tuple[int, dict[str, Any]]:
    """A chat completion with this text."""
    message = {"role": "assistant", "content": content}
    choice = {"index": 0, "message": message, "finish_reason": finish, "logprobs": None}
    return 200, {"id": "c1", "object": "chat.completion", "created": 1, "model": MAIN, "choices": [choice]}


def failure(status: int, message: str = "no") -> tuple[int, dict[str, Any]]:
    """An error as Groq words it."""
    return status, {"error": {"message": message, "type": "error", "code": "x"}}


class GroqDouble:
    """Answers ``answer(request)``; None for a body hangs until the client gives up. Keeps every request."""

    def __init__(self, answer: Answer, models: tuple[str, ...] = (MAIN, SPARE)) -> None:
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self._released = threading.Event()
        double = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                double.keys.append(self.headers["Authorization"])
                listed = [{"id": name, "object": "model", "created": 1, "owned_by": "x"} for name in models]
                if self.path == "/openai/v1/models" and models:
                    self._reply(200, {"object": "list", "data": listed})
                else:
                    self._reply(*failure(401, "Invalid API Key gsk_secret"))

            def do_POST(self) -> None:
                assert self.path == "/openai/v1/chat/completions", self.path
                double.keys.append(self.headers["Authorization"])
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                double.requests.append(request)
                status, body = answer(request)
                if body is None:
                    double._released.wait(10)
                    body = {}
                self._reply(status, body)

            def _reply(self, status: int, body: dict[str, Any]) -> None:
                raw = json.dumps(body).encode()
                try:
                    self.send_response(status)
                    self.send_header("Content-Type", "application/json")
                    self.send_header("Content-Length", str(len(raw)))
                    self.end_headers()
                    self.wfile.write(raw)
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True

            def log_message(self, *args: object) -> None:
                del args

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    @property
    def url(self) -> str:
        """Base address to hand to the client."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        """Release whoever hangs and stop."""
        self._released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
