"""Secrets by reference: a configuration says where a secret is, never what it is."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import core_schema

_ENV = re.compile(r"env:[A-Za-z_][A-Za-z0-9_]*")
_LONGEST = 64 * 1024


class SecretMissing(Exception):
    """The reference leads nowhere. The message names the reference and no value."""


class SecretRef:
    """`env:NAME` or `file:/path`. Printed, compared and dumped as the reference; `read()` alone looks it up."""

    def __init__(self, text: str) -> None:
        self._kind, _, self._where = self.checked(text).partition(":")
        self._seen: tuple[tuple[int, int], str] | None = None

    @staticmethod
    def checked(text: object) -> str:
        """The reference, if it is one. The error never repeats a text that may itself be the secret."""
        if isinstance(text, str) and _ENV.fullmatch(text):
            return text
        if isinstance(text, str) and text.startswith("file:"):
            if Path(text[5:]).expanduser().is_absolute():
                return text
            raise ValueError("write the whole path of the secret's file, like file:/etc/shin/key")
        raise ValueError("write where the secret is, env:NAME or file:/path, not the secret itself")

    def read(self) -> str:
        """The secret as it is now; a file is read again when it has changed. Raises SecretMissing."""
        found = os.environ.get(self._where, "") if self._kind == "env" else self._from_file()
        if not found:
            raise SecretMissing(f"{self} is {'not set' if self._kind == 'env' else 'empty'}")
        if not found.isprintable():
            raise SecretMissing(f"{self} should hold one line of printable characters")
        return found

    def present(self) -> bool:
        try:
            return bool(self.read())
        except SecretMissing:
            return False

    def _from_file(self) -> str:
        path = Path(self._where).expanduser()
        try:
            stat = path.stat()
            version = stat.st_mtime_ns, stat.st_size
            if self._seen is None or self._seen[0] != version:
                with path.open(encoding="utf-8") as file:
                    self._seen = version, file.read(_LONGEST).strip()
        except (OSError, UnicodeDecodeError) as error:
            raise SecretMissing(f"{self} cannot be read ({type(error).__name__})") from None
        return self._seen[1]

    def __str__(self) -> str:
        return f"{self._kind}:{self._where}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and str(other) == str(self)

    def __hash__(self) -> int:
        return hash(str(self))

    @classmethod
    def _parse(cls, value: object) -> SecretRef:
        return value if isinstance(value, cls) else cls(cls.checked(value))

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls._parse, serialization=core_schema.to_string_ser_schema()
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"type": "string", "pattern": "^(env:[A-Za-z_][A-Za-z0-9_]*|file:.+)$", "examples": ["env:NAME"]}


class UrlRef(SecretRef):
    """A URL: written out when it holds no password, else by reference as a whole."""

    def __init__(self, text: str) -> None:
        self._url = "" if text.startswith(("env:", "file:")) else self.checked(text)
        if not self._url:
            super().__init__(text)

    @staticmethod
    def checked(text: object) -> str:
        if not isinstance(text, str) or text.startswith(("env:", "file:")):
            return SecretRef.checked(text)
        try:
            parts = urlsplit(text)
            password = parts.password or "password=" in parts.query
            whole = parts.scheme and (parts.netloc or parts.path)
        except ValueError:
            raise ValueError("is not a URL") from None
        if password:
            raise ValueError("a URL with a password in it is written by reference, env:NAME or file:/path")
        if not whole:
            raise ValueError("is not a URL")
        return text

    def read(self) -> str:
        """The URL. Raises SecretMissing."""
        return self._url or super().read()

    def __str__(self) -> str:
        return self._url or super().__str__()

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"type": "string"}
