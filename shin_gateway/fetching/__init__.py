"""Files that calls name by URL, fetched for models that take no URLs."""

from shin_gateway.fetching.fetcher import Fetcher
from shin_gateway.fetching.limits import FetchLimits
from shin_gateway.fetching.memory import Fetched, Memory

__all__ = ["FetchLimits", "Fetched", "Fetcher", "Memory"]
