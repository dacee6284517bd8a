"""Calls in the target's own dialect that its server cannot read all the same."""

from __future__ import annotations

from shin_gateway.call import Call

_VERTEX = (":rawPredict", ":streamRawPredict")
"""How clients of Claude on Vertex end their paths. The body has no model, and says `anthropic_version`.

Source: docs.cloud.google.com/vertex-ai/generative-ai/docs/partner-models/claude/use-claude
"""
_ENVELOPE = "/v1internal:"
"""How the paths of Gemini CLI with a Google login begin. Its envelope is for Google's own back end; at the gateway the
call is taken out of it, and the reply put into one."""


def is_foreign(call: Call) -> bool:
    """Whether a call is in its target's dialect but in the form of another host."""
    assert call.target is not None
    path = call.path.partition("?")[0]
    if path.startswith(_ENVELOPE):
        return True
    return path.endswith(_VERTEX) and call.dialect.name == "anthropic.messages" and ":" not in call.target.path
