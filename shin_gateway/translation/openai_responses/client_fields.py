"""The form's fields as a client of this API calls them. What is not here has the same name."""

from __future__ import annotations

from collections.abc import Mapping

FIELDS: Mapping[str, str] = {
    "max_tokens": "max_output_tokens",
    "logprobs": "top_logprobs",
    "verbosity": "text.verbosity",
    "reasoning": "reasoning.effort",
    "response_format": "text.format",
    "messages": "input",
    "messages.content.server_tools": "input.server_tools",
    "messages.tool_calls": "input",
    "messages.tool_calls.function": "input",
    "tools.context_size": "tools.search_context_size",
    "tools.location": "tools.user_location",
    "tools.allowed_domains": "tools.filters.allowed_domains",
    "tools.max_uses": "max_tool_calls",
}
