"""The keys that the gateway shows its providers: read, kept sealed, or fetched from a token server."""

from shin_gateway.provider_keys.provider_keys import ProviderKeys
from shin_gateway.provider_keys.settings import ClientCredentials, OAuth, ServiceAccount

__all__ = ["ClientCredentials", "OAuth", "ProviderKeys", "ServiceAccount"]
