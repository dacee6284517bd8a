"""`auth:` of shin.yaml: whose tokens are believed, whom to ask about them, and the tokens that we give out ourselves.

It stands outside of `identity`, which reads it, so that to read shin.yaml takes none of what serves calls.
"""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from shin_gateway.addresses import ServerGuard, is_loopback, literal
from shin_gateway.secret import SecretRef
from shin_gateway.units import Duration

Algorithm = Literal[
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"
]  # fmt: skip
"""Signatures of RFC 7518 §3.1, RFC 8037 and RFC 9864 that are checked with a public key. `none` and HS* are none."""

_GUARD = ServerGuard()
_LONGEST_LEEWAY = 600.0


def check_url(url: str, *, loopback: bool = True) -> str:
    """A URL that we may ask: https, or http on this machine; no credentials in it. `loopback`: whether this machine is
    one of those that may be meant. Raises ValueError."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        raise ValueError("is not a URL") from None
    if not host or not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError("is not a URL")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise ValueError("the URL should hold no user name, password or fragment")
    here, address = is_loopback(host), literal(host)
    if parts.scheme != "https" and not (parts.scheme == "http" and here):
        raise ValueError("the URL should begin with https://; http:// is for this machine alone")
    if (here and not loopback) or (address is not None and not _GUARD.permits(address)):
        raise ValueError("this address is never asked")
    return url


def _check_issuer(url: str) -> str:
    if "?" in url:
        raise ValueError("an issuer has no query (RFC 8414 §2)")
    return check_url(url)


def _listed(value: object) -> object:
    return [value] if isinstance(value, str | int | bool) else value


def _at_most(longest: float) -> AfterValidator:
    def check(seconds: float) -> float:
        if seconds > longest:
            raise ValueError(f"should be {longest:.0f}s at most")
        return seconds

    return AfterValidator(check)


def _positive(seconds: float) -> float:
    if seconds <= 0:
        raise ValueError("should be more than 0s")
    return seconds


Text = Annotated[str, Field(strict=True, max_length=300)]
Wanted = Annotated[tuple[str | int | bool, ...], BeforeValidator(_listed), Field(min_length=1)]
Audience = Annotated[tuple[Annotated[Text, Field(min_length=1)], ...], BeforeValidator(_listed)]
ServerUrl = Annotated[Text, AfterValidator(check_url)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, validate_default=True)


class ClaimNames(_Part):
    """Which claim says what of the caller. A dot leads into a claim: `realm_access.roles`."""

    user: Annotated[Text, Field(min_length=1)] = "sub"
    """Who calls. A token without it is refused."""
    team: Text = ""
    """Empty: no claim says it. Of a list the first counts."""
    project: Text = ""
    """As `team`."""
    roles: Text = ""
    """A list, or one role; words of `scope` and `scp` are one each."""


class _Believed(_Part):
    claims: ClaimNames = ClaimNames()
    """Which claim says what of the caller."""
    role_names: dict[Text, Text] = {}
    """Roles of ours by what the token calls them; others are left out. Empty: roles are taken as the token has them."""
    required_claims: dict[Text, Wanted] = {}
    """Claims that a token must have, each with the value, or one of the values, that it must hold."""


class Issuer(_Believed):
    """An identity provider whose tokens (JWT, RFC 7519 and RFC 9068) are believed."""

    issuer: Annotated[Text, AfterValidator(_check_issuer)]
    """The claim `iss`, to the letter."""
    audience: Annotated[Audience, Field(min_length=1)]
    """Who its tokens must be meant for: one, or several of which one suffices."""
    algorithms: Annotated[tuple[Algorithm, ...], Field(min_length=1)] = ("RS256", "PS256", "ES256", "ES384", "EdDSA")
    """Signatures that are accepted; only such as are checked with a public key."""
    leeway: Annotated[Duration, _at_most(_LONGEST_LEEWAY)] = 30.0
    """How far its clock may be off."""
    jwks_uri: ServerUrl | None = None
    """Where its keys are. Absent: its `/.well-known/openid-configuration` says."""
    prefix: Text | None = None
    """Put before its users' names. With several issuers each has to say it, be it `""`: a name may be two people's."""


class IntrospectionSettings(_Believed):
    """A server that is asked about tokens that say nothing themselves (RFC 7662)."""

    url: ServerUrl
    client_id: Annotated[Text, Field(min_length=1)]
    client_secret: SecretRef
    audience: Audience = ()
    """As an issuer's. Empty: any."""
    prefix: Text = ""
    """Put before its users' names."""
    cache: Annotated[Duration, _at_most(600.0)] = 30.0
    """How long an answer holds, which is how long a token that was revoked still works."""
    skip: tuple[Text, ...] = (
        "sk-*", "AIza*", "AQ.*", "ya29.*", "gsk_*", "xai-*", "hf_*", "gh[a-z]_*", "github_pat_*", "r8_*", "nvapi-*",
    )  # fmt: skip
    """Patterns of what is not asked about: keys of providers, which are no business of this server's."""


class TokenSettings(_Part):
    """Tokens that `POST /oauth/token` gives for a virtual key."""

    ttl: Annotated[Duration, AfterValidator(_positive), _at_most(86400.0)] = 900.0
    """How long a token holds."""
    refresh_ttl: Annotated[Duration, _at_most(90 * 86400.0)] = 43200.0
    """How long it can be refreshed without the key; `0s`: not at all."""


class AuthSettings(_Part):
    """How callers show who they are, beside the gateway's own keys."""

    issuers: Annotated[tuple[Issuer, ...], Field(max_length=32)] = ()
    """Identity providers whose tokens are believed."""
    introspection: IntrospectionSettings | None = None
    """Whom to ask about tokens that say nothing themselves."""
    tokens: TokenSettings = TokenSettings()
    """Short-lived tokens for virtual keys."""

    @model_validator(mode="after")
    def _distinct(self) -> AuthSettings:
        names = [one.issuer for one in self.issuers]
        if len(set(names)) < len(names):
            raise ValueError("an issuer stands here twice")
        if len(names) > 1 and any(one.prefix is None for one in self.issuers):
            raise ValueError('with several issuers each needs a "prefix" for the names of its users')
        return self
