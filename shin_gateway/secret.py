"""Secrets by reference: a configuration says where a secret is, never what it is."""

from __future__ import annotations

import abc
import os
import re
import time
from pathlib import Path
from typing import Any, Protocol, Self
from urllib.parse import urlsplit

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import core_schema

_ENV = re.compile(r"env:[A-Za-z_][A-Za-z0-9_]*")
_KEPT = re.compile(r"kept:[a-z0-9][a-z0-9_.-]{0,63}")
LONGEST = 64 * 1024
"""Characters of a secret at most."""
_SETTLED = 2_000_000_000
"""Nanoseconds after which a file that changes again has another time: file systems count coarsely."""


class SecretMissing(Exception):
    """The reference leads nowhere. The message names the reference and no value."""


class SecretRef:
    """`env:NAME` or `file:/path`. Printed, compared and dumped as the reference; `read()` alone looks it up."""

    def __init__(self, text: str) -> None:
        self._kind, _, self._where = self.checked(text).partition(":")
        self._path = Path(self._where).expanduser() if self._kind == "file" else None
        self._seen: tuple[tuple[int, ...], str] | None = None

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
        found = self.read_text()
        if not found.isprintable():
            raise SecretMissing(f"{self} should hold one line of printable characters")
        return found

    def read_text(self) -> str:
        """The same for a secret of any number of lines. Raises SecretMissing."""
        found = self._look_up()
        if not found:
            raise SecretMissing(f"{self} is {'not set' if self._kind == 'env' else 'empty'}")
        return found

    def lasting(self) -> str:
        """What stays the same between two reads, as far as its owner does not change it. Raises SecretMissing."""
        return self.read()

    def present(self) -> bool:
        try:
            return bool(self.read())
        except SecretMissing:
            return False

    def _look_up(self) -> str:
        return os.environ.get(self._where, "") if self._path is None else self._from_file(self._path)

    def _from_file(self, path: Path) -> str:
        """Asked for with every call, and read only when it is another one or has changed."""
        try:
            stat = path.stat()
            version = stat.st_dev, stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size
            if self._seen is not None and self._seen[0] == version:
                return self._seen[1]
            with path.open(encoding="utf-8") as file:
                found = file.read(LONGEST).strip()
        except (OSError, UnicodeDecodeError) as error:
            raise SecretMissing(f"{self} cannot be read ({type(error).__name__})") from None
        settled = time.time_ns() - max(stat.st_mtime_ns, stat.st_ctime_ns) > _SETTLED
        self._seen = (version, found) if settled else None
        return found

    def __str__(self) -> str:
        return f"{self._kind}:{self._where}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and str(other) == str(self)

    def __hash__(self) -> int:
        return hash(str(self))

    @classmethod
    def _parse(cls, value: object) -> Self:
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


class Values(Protocol):
    """Credentials that the gateway keeps itself."""

    def value(self, name: str) -> str:
        """Raises SecretMissing."""


class KeyRef(SecretRef):
    """A reference that may also be `kept:NAME`: a credential that the gateway keeps, once it is `bound` to those."""

    _values: Values | None = None

    @staticmethod
    def checked(text: object) -> str:
        if isinstance(text, str) and _KEPT.fullmatch(text):
            return text
        if isinstance(text, str) and text.startswith(("env:", "file:")):
            return SecretRef.checked(text)
        raise ValueError("write where the secret is, env:NAME, file:/path or kept:NAME, not the secret itself")

    def __eq__(self, other: object) -> bool:
        return type(other) in (KeyRef, SecretRef) and str(other) == str(self)

    def __hash__(self) -> int:
        return hash(str(self))

    @property
    def kept(self) -> str:
        """The name of a kept credential; "" where it is none."""
        return self._where if self._kind == "kept" else ""

    def bound(self, values: Values) -> KeyRef:
        one = type(self)(str(self))
        one._values = values
        return one

    def _look_up(self) -> str:
        if self._kind != "kept":
            return super()._look_up()
        if self._values is None:
            raise SecretMissing(f"{self} is known to a gateway that runs, and to nothing else")
        return self._values.value(self._where)

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        pattern = "^(env:[A-Za-z_][A-Za-z0-9_]*|file:.+|kept:[a-z0-9][a-z0-9_.-]*)$"
        return {"type": "string", "pattern": pattern, "examples": ["env:NAME", "kept:NAME"]}


class FetchedSecret(abc.ABC):
    """A secret that has to be fetched, and again before it expires. It is read like any other once it is `ready`."""

    @abc.abstractmethod
    async def ready(self) -> None:
        """Return when there is one. Raises Unavailable."""

    @abc.abstractmethod
    def refused(self) -> None:
        """Whom it was for did not accept it: the next call needs another."""

    @abc.abstractmethod
    def read(self) -> str:
        """The secret as it is now. Raises SecretMissing."""

    @abc.abstractmethod
    def present(self) -> bool:
        """Whether there is what it can be had for."""

    @abc.abstractmethod
    def lasting(self) -> str:
        """What it is had for, which stays the same. Raises SecretMissing."""


Secret = SecretRef | FetchedSecret


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
