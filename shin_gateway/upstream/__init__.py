"""Providers, as far as a call's bytes go: one pooled client, and what becomes of an attempt."""

from shin_gateway.upstream.client import Upstream
from shin_gateway.upstream.exchange import SILENCE, Attempt
from shin_gateway.upstream.failures import as_refusals
from shin_gateway.upstream.options import UpstreamOptions
from shin_gateway.upstream.sending import HOP_BY_HOP

__all__ = ["HOP_BY_HOP", "SILENCE", "Attempt", "Upstream", "UpstreamOptions", "as_refusals"]
