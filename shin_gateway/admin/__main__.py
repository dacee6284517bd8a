"""What the supervisor starts: `python -O -m shin_gateway.admin OPTIONS READY`.

OPTIONS is JSON, see `Options`; READY is the descriptor of a pipe that hears when the port is open.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from pathlib import Path

import msgspec

from shin_gateway.admin import server
from shin_gateway.assembly import Places
from shin_gateway.lifetime import die_with_parent, say_ready
from shin_gateway.policy.positions import PolicyErrors
from shin_gateway.registry import RegistryError
from shin_gateway.secret import SecretMissing
from shin_gateway.stores.errors import StoreError


class Options(msgspec.Struct, kw_only=True, frozen=True):
    """What the supervisor tells the admin process."""

    home: str
    config: str | None = None
    policies: list[str] = []
    addons: list[str] = []
    host: str | None = None
    port: int | None = None

    @property
    def places(self) -> Places:
        config = Path(self.config) if self.config else None
        return Places(Path(self.home), config, [Path(one) for one in self.policies], [Path(one) for one in self.addons])


def main(arguments: list[str]) -> int:
    die_with_parent()
    os.nice(10)  # on a busy core, calls come before the rows of calls
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.WARNING)
    logging.getLogger("shin_gateway").setLevel(logging.INFO)
    logging.getLogger("shin_gateway.policy.watch").setLevel(logging.CRITICAL)  # the workers say it already
    options = msgspec.json.decode(arguments[0], type=Options)
    ready = int(arguments[1])
    try:
        config = options.places.read()
        asyncio.run(server.run(options.places, config, options.host, options.port, lambda _: say_ready(ready)))
    except (PolicyErrors, RegistryError, StoreError, SecretMissing) as error:
        return _failed(str(error))
    except OSError as error:
        return _failed(f"{error.strerror or error}: {error.filename or ''}".rstrip(": "))
    return 0


def _failed(why: str) -> int:
    print(f"shin admin: {why}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
