"""The form's fields as a client of this API calls them. What is not here has the same name."""

from __future__ import annotations

from collections.abc import Mapping

FIELDS: Mapping[str, str] = {
    "reasoning": "reasoning_effort",
    "response_format.schema": "response_format.json_schema",
    "messages.reasoning": "messages.reasoning_content",
    "messages.content.server_tools": "messages.annotations",
    "messages.content.annotations": "messages.annotations",
    "messages.content.detail": "messages.content.image_url.detail",
    "messages.content.filename": "messages.content.file.filename",
    "messages.tool_calls.signature": "messages.tool_calls.extra_content",
    "tools.parameters": "tools.function.parameters",
    "tools.strict": "tools.function.strict",
    "tools.web_search": "web_search_options",
    "tools.location": "web_search_options.user_location",
    "tools.context_size": "web_search_options.search_context_size",
}
