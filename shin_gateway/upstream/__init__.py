"""Providers, as far as a call's bytes go: one pooled client, and what becomes of an attempt."""

from shin_gateway.upstream.client import Upstream
from shin_gateway.upstream.exchange import SILENCE, Attempt
from shin_gateway.upstream.failures import AsRefusals, who_is_asked
from shin_gateway.upstream.options import UpstreamOptions
from shin_gateway.upstream.sending import HOP_BY_HOP

__all__ = ["HOP_BY_HOP", "SILENCE", "AsRefusals", "Attempt", "Upstream", "UpstreamOptions", "who_is_asked"]
