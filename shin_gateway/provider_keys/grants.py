"""What is sent to a token server: the form of each grant."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Protocol

from shin_gateway.client_login import basic
from shin_gateway.provider_keys import google
from shin_gateway.provider_keys.settings import ClientCredentials, OAuth, ServiceAccount
from shin_gateway.secret import KeyRef

JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"


@dataclass(frozen=True)
class Form:
    """A POST of application/x-www-form-urlencoded. Not for printing: secrets are in it."""

    url: str
    fields: dict[str, str] = field(repr=False)
    headers: dict[str, str] = field(repr=False, default_factory=dict)


class Grant(Protocol):
    """For what a token server gives a token."""

    @property
    def secret(self) -> KeyRef:
        """The lasting secret behind it."""

    async def form(self) -> Form:
        """Raises SecretMissing."""


class ClientGrant:
    """RFC 6749 §4.4.2. Azure AD: https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow"""

    def __init__(self, settings: ClientCredentials, secret: KeyRef) -> None:
        self.secret = secret
        self._settings = settings

    async def form(self) -> Form:
        settings, secret = self._settings, self.secret.read()
        wanted = {"scope": " ".join(settings.scope), "resource": settings.resource, "audience": settings.audience}
        fields = {"grant_type": "client_credentials"} | {name: value for name, value in wanted.items() if value}
        if settings.client_auth == "header":
            return Form(settings.token_url, fields, {"authorization": basic(settings.client_id, secret)})
        return Form(settings.token_url, fields | {"client_id": settings.client_id, "client_secret": secret})


class ServiceAccountGrant:
    """RFC 7523 §2.1: https://developers.google.com/identity/protocols/oauth2/service-account#httprest"""

    def __init__(self, settings: ServiceAccount, secret: KeyRef) -> None:
        self.secret = secret
        self._scope = " ".join(settings.scope)

    async def form(self) -> Form:
        account = await asyncio.to_thread(google.read, self.secret)
        assertion = await asyncio.to_thread(account.assertion, self._scope)
        return Form(account.token_url, {"grant_type": JWT_BEARER, "assertion": assertion})


def grant_for(settings: OAuth, secret: KeyRef) -> Grant:
    """`secret` is the one that `settings` names, bound to kept credentials."""
    if isinstance(settings, ServiceAccount):
        return ServiceAccountGrant(settings, secret)
    return ClientGrant(settings, secret)


def secret_of(settings: OAuth) -> KeyRef:
    return settings.service_account if isinstance(settings, ServiceAccount) else settings.client_secret
