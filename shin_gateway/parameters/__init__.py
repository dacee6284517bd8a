"""Parameters of a call (temperature, most tokens, effort, …): defaults for those left out, caps for those too high.

They are named as OpenAI's Chat Completions names them; `rows` says where each API has them. Pure code over the bytes
of the client's own dialect: what is put in or changed are these members and no other byte.
"""

from __future__ import annotations

from shin_gateway.parameters.changing import applies, capped, exceeded, filled, with_defaults

__all__ = ["applies", "capped", "exceeded", "filled", "with_defaults"]
