"""The form's fields as a client of this API calls them. What is not here has the same name."""

from __future__ import annotations

from collections.abc import Mapping

FIELDS: Mapping[str, str] = {
    "user": "metadata.user_id",
    "stop": "stop_sequences",
    "reasoning": "thinking",
    "response_format": "output_config.format",
    "parallel_tool_calls": "tool_choice.disable_parallel_tool_use",
    "messages": "messages",  # but the form has the system prompt among them
    "messages.reasoning": "messages.content.thinking",
    "messages.content.server_tools": "messages.content.server_tool_use",
    "messages.content.annotations": "messages.content.citations",
    "messages.content.filename": "messages.content.title",
    "messages.tool_calls": "messages.content",
    "messages.tool_calls.function.arguments": "messages.content.input",
    "tools.parameters": "tools.input_schema",
    "tools.location": "tools.user_location",
    "tools.mcp": "mcp_servers",
}
