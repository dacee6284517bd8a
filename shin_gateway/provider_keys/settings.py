"""`oauth:` of a provider: for what an access token can be had, and where."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag

from shin_gateway.secret import KeyRef

CLOUD_PLATFORM = "https://www.googleapis.com/auth/cloud-platform"
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")
"""RFC 6749 §3.3."""


def token_url(text: str) -> str:
    """Where a token server is. Raises ValueError, with nothing of the text in it."""
    try:
        parts = urlsplit(text)
        host = parts.hostname
        at_home = parts.scheme == "http" and host in _LOOPBACK
    except ValueError:
        raise ValueError("is not a URL") from None
    if not host or not (parts.scheme == "https" or at_home) or parts.fragment or not text.isprintable():
        raise ValueError("should be an https URL, like https://login.example.com/oauth2/token")
    if parts.username or parts.password:
        raise ValueError("a URL of a token server carries no credentials; write client_id and client_secret")
    return text


def _scope(text: str) -> str:
    if not _SCOPE.fullmatch(text):
        raise ValueError("a scope is one word; write several as a list")
    return text


def _words(value: Any) -> Any:
    return value.split() if isinstance(value, str) else value


Scope = Annotated[tuple[Annotated[str, AfterValidator(_scope)], ...], BeforeValidator(_words)]
Word = Annotated[str, Field(min_length=1, max_length=1000, strict=True)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class ClientCredentials(_Part):
    """The grant for programs that speak for themselves (RFC 6749 §4.4); Azure AD's too."""

    token_url: Annotated[str, AfterValidator(token_url)]
    """Where tokens are given out: https://login.microsoftonline.com/TENANT/oauth2/v2.0/token."""
    client_id: Word
    client_secret: KeyRef
    scope: Scope = ()
    """What the token is to be good for, words or a list: https://cognitiveservices.azure.com/.default."""
    resource: Word | None = None
    """The same where a server wants it so (RFC 8707)."""
    audience: Word | None = None
    """The same where a server wants it so."""
    client_auth: Literal["body", "header"] = "body"
    """How the client says who it is: in the form, or by HTTP Basic."""


class ServiceAccount(_Part):
    """A service account of Google: its own key signs for it (RFC 7523)."""

    service_account: KeyRef
    """The JSON file that Google gave out."""
    scope: Scope = (CLOUD_PLATFORM,)


def _form(value: object) -> str | None:
    if isinstance(value, ServiceAccount) or (isinstance(value, dict) and "service_account" in value):
        return "service account"
    return "client" if isinstance(value, dict | ClientCredentials) else None


OAuth = Annotated[
    Annotated[ClientCredentials, Tag("client")] | Annotated[ServiceAccount, Tag("service account")],
    Discriminator(
        _form,
        custom_error_type="oauth",
        custom_error_message="Input should be a mapping: {token_url, client_id, client_secret}, or {service_account}",
    ),
]
