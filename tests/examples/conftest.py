"""The same stand as for our own addons."""

from __future__ import annotations

from tests.addons.conftest import provider, stand, store

__all__ = ["provider", "stand", "store"]
