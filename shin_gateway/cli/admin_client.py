"""Asks the admin API of the gateway that runs with this home, on behalf of who can read that folder."""

from __future__ import annotations

import http.client
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from shin_gateway import running
from shin_gateway.cli.options import Failed

TIMEOUT = 15.0
"""Seconds; the admin server itself gives its stores less."""
LARGEST = 64 * 1024 * 1024
"""Bytes of an answer."""


class AdminClient:
    """`get("/api/v1/keys", team="red")` gives the answer's JSON. Every method raises Failed."""

    def __init__(self, home: Path, timeout: float = TIMEOUT) -> None:
        found = running.find(home)
        if found is None or not found.admin:
            raise Failed(f"nothing to ask: is `shin run` running, with --home {home}?")
        self._home = home
        self._timeout = timeout
        self._host, _, port = found.admin.rpartition(":")
        self._port = int(port)

    def get(self, path: str, **query: str | int | None) -> Any:
        """What is None is left out of the query."""
        asked = urlencode({name: value for name, value in query.items() if value is not None})
        return self.ask("GET", f"{path}?{asked}" if asked else path)

    def post(self, path: str, body: object = None) -> Any:
        return self.ask("POST", path, body)

    def patch(self, path: str, body: object) -> Any:
        return self.ask("PATCH", path, body)

    def put(self, path: str, body: object) -> Any:
        return self.ask("PUT", path, body)

    def delete(self, path: str) -> Any:
        return self.ask("DELETE", path)

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """The answer's JSON, None where it has no body. Raises Failed with what the server said against it."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"accept": "application/json", **({"content-type": "application/json"} if data else {})}
        # A plain connection: no proxy that the environment may name stands between us.
        connection = http.client.HTTPConnection(self._host.strip("[]"), self._port, timeout=self._timeout)
        try:
            connection.request(method, path, data, headers | self._token())
            reply = connection.getresponse()
            text = reply.read(LARGEST)
        except (OSError, http.client.HTTPException) as error:
            raise Failed(f"the admin server at {self._host}:{self._port} does not answer ({error})") from None
        finally:
            connection.close()
        return self._read(reply.status, text)

    def _token(self) -> dict[str, str]:
        try:
            token = (self._home / running.ADMIN_TOKEN).read_text().strip()
        except OSError:
            return {}  # it may not be needed
        return {"authorization": f"Bearer {token}"} if token else {}

    def _read(self, status: int, text: bytes) -> Any:
        try:
            answer = json.loads(text) if text else None
        except ValueError:
            answer = None
        if status < 400:
            return answer
        if status == 401:
            raise Failed(f"the admin server does not take the token in {self._home / running.ADMIN_TOKEN}")
        raise Failed(_said(answer) or f"the admin server answered {status}")


def part(name: str) -> str:
    """A name as one part of a path, whatever is in it."""
    return quote(name, safe="")


def _said(answer: object) -> str:
    """What problem details (RFC 9457) say, as a sentence goes after `shin:`."""
    if not isinstance(answer, dict):
        return ""
    said = str(answer.get("detail") or answer.get("title") or "").removeprefix("body.")
    return "".join(character if character.isprintable() else "?" for character in said)[:2000]
