"""What is sent and what comes back: the same for every subject."""

from __future__ import annotations

import json

PATH = "/v1/chat/completions"
_SENTENCE = "Our ferry leaves the island every other hour, except on Sundays. "
_MESSAGES = [
    {"role": "system", "content": "You answer in one short sentence."},
    {"role": "user", "content": _SENTENCE * 12 + "When can I leave on a Sunday?"},
]


def call(stream: bool = False) -> bytes:
    """A chat call of about 1 kB."""
    body = {"model": "gpt-4o", "temperature": 0.2, "max_tokens": 200, "messages": _MESSAGES}
    return json.dumps(body | ({"stream": True} if stream else {})).encode()


REPLY = json.dumps(
    {
        "id": "chatcmpl-bench",
        "object": "chat.completion",
        "created": 1780000000,
        "model": "gpt-4o-2024-08-06",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "I do not know when it leaves on a Sunday.",
                    "refusal": None,
                },
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 190,
            "completion_tokens": 11,
            "total_tokens": 201,
            "prompt_tokens_details": {"cached_tokens": 128, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
        },
        "service_tier": "default",
        "system_fingerprint": "fp_bench",
    }
).encode()


def message(host: str, key: str, stream: bool = False) -> bytes:
    """The call as HTTP/1.1 bytes, keep-alive."""
    body = call(stream)
    head = f"POST {PATH} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nAccept: */*\r\n"
    return f"{head}Authorization: Bearer {key}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
