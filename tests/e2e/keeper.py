"""What providers say beyond chat, as rules for the fake provider: media, and files and batches that they keep."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.provider import Answer, Seen

PNG = base64.b64encode(b"\x89PNG not really").decode()
MP3 = bytes(range(256)) * 400
IMAGE_USAGE = {
    "total_tokens": 1100, "input_tokens": 100, "output_tokens": 1000,
    "input_tokens_details": {"text_tokens": 40, "image_tokens": 60},
}  # fmt: skip
AUDIO_USAGE = {
    "type": "tokens", "total_tokens": 120, "input_tokens": 100, "output_tokens": 20,
    "input_token_details": {"text_tokens": 10, "audio_tokens": 90},
}  # fmt: skip
LABELS = ("harassment", "hate", "illicit", "self-harm", "sexual", "violence")


def whole(said: Any, **more: Any) -> Answer:
    return Answer(body=json.dumps(said).encode(), **more)


def events(*said: dict[str, Any]) -> Answer:
    body = b"".join(b"event: %b\ndata: %b\n\n" % (one["type"].encode(), json.dumps(one).encode()) for one in said)
    return Answer(body=body, body_type="text/event-stream")


def media(seen: Seen) -> Answer | None:
    """Images, sound and moderation."""
    for ending, answer in _MEDIA.items():
        if seen.path.endswith(ending):
            return answer(seen)
    return None


def _asks_stream(seen: Seen) -> bool:
    return b'"stream":true' in seen.body.replace(b" ", b"") or b'name="stream"\r\n\r\ntrue' in seen.body


def _image(seen: Seen) -> Answer:
    if _asks_stream(seen):
        shown = {"b64_json": PNG, "created_at": 1, "size": "auto", "quality": "low", "background": "auto"}
        kind = "image_edit" if "edits" in seen.path else "image_generation"
        shown["output_format"] = "png"
        return events(
            {"type": f"{kind}.partial_image", "partial_image_index": 0, **shown},
            {"type": f"{kind}.completed", "usage": IMAGE_USAGE, **shown},
        )
    return whole({"created": 1, "data": [{"b64_json": PNG}], "usage": IMAGE_USAGE})


def _transcript(seen: Seen) -> Answer:
    if b"whisper" in seen.body:
        return whole({"text": "hello there", "usage": {"type": "duration", "seconds": 90}})
    if _asks_stream(seen):
        return events(
            {"type": "transcript.text.delta", "delta": "hello "},
            {"type": "transcript.text.delta", "delta": "there"},
            {"type": "transcript.text.done", "text": "hello there", "usage": AUDIO_USAGE},
        )
    return whole({"text": "hello there", "usage": AUDIO_USAGE})


def _speech(seen: Seen) -> Answer:
    if b'"sse"' in seen.body:
        usage = {"input_tokens": 5, "output_tokens": 50, "total_tokens": 55}
        return events({"type": "speech.audio.delta", "audio": "AAAA"}, {"type": "speech.audio.done", "usage": usage})
    return Answer(body=MP3, body_type="audio/mpeg", framing="chunked")


def _moderation(seen: Seen) -> Answer:
    result = {
        "flagged": False,
        "categories": dict.fromkeys(LABELS, False),
        "category_scores": dict.fromkeys(LABELS, 0.1),
        "category_applied_input_types": {label: ["text"] for label in LABELS},
    }
    model = json.loads(seen.body).get("model", "omni-moderation-2024-09-26")
    return whole({"id": "modr-1", "model": model, "results": [result]})


_MEDIA: dict[str, Callable[[Seen], Answer]] = {
    "/images/generations": _image,
    "/images/edits": _image,
    "/images/variations": _image,
    "/audio/transcriptions": _transcript,
    "/audio/translations": _transcript,
    "/audio/speech": _speech,
    "/moderations": _moderation,
    ":predict": lambda seen: whole({"predictions": [{"mimeType": "image/png", "bytesBase64Encoded": PNG}]}),
}

Ruled = tuple[str, re.Pattern[str], Callable[["Keeper", Seen, re.Match[str]], Answer]]


@dataclass
class Keeper:
    """One provider's files and batches, kept for whoever has its key. `prefix` is where its API begins."""

    url: str
    prefix: str
    api: str
    name: str = "x"
    kept: dict[str, dict[str, Any]] = field(default_factory=dict)
    page: int = 100
    _count: int = 0

    def __call__(self, seen: Seen) -> Answer | None:
        path = seen.path
        if not path.startswith(self.prefix):
            return None
        for method, pattern, answer in _RULES[self.api]:
            if method == seen.method and (match := pattern.fullmatch(path.removeprefix(self.prefix))):
                return answer(self, seen, match)
        return None

    def make(self, start: str, **said: Any) -> dict[str, Any]:
        self._count += 1
        name = f"{start}{self.name}{self._count}"
        one = {"id": name, **said}
        self.kept[name] = one
        return one


def _missing(match: re.Match[str]) -> Answer:
    return Answer(status=404)


def _get(keeper: Keeper, seen: Seen, match: re.Match[str]) -> Answer:
    one = keeper.kept.get(match["id"])
    return whole(one) if one else _missing(match)


def _delete(keeper: Keeper, seen: Seen, match: re.Match[str]) -> Answer:
    one = keeper.kept.pop(match["id"], None)
    return (
        whole({"id": match["id"], "object": "file", "type": "file_deleted", "deleted": True})
        if one
        else Answer(status=404)
    )


def _list(start: str) -> Callable[[Keeper, Seen, re.Match[str]], Answer]:
    def answer(keeper: Keeper, seen: Seen, match: re.Match[str]) -> Answer:
        after = re.search(r"(?:after|after_id)=([^&]+)", seen.query)
        found = [one for name, one in keeper.kept.items() if name.startswith(start)]
        names = [one["id"] for one in found]
        first = names.index(after[1]) + 1 if after else 0
        shown = found[first : first + keeper.page]
        ends = (
            {"first_id": shown[0]["id"], "last_id": shown[-1]["id"]} if shown else {"first_id": None, "last_id": None}
        )
        return whole({"object": "list", "data": shown, "has_more": first + keeper.page < len(found), **ends})

    return answer


def _content(keeper: Keeper, seen: Seen, match: re.Match[str]) -> Answer:
    return Answer(body=b'{"custom_id": "1"}\n' * 1000, body_type="application/octet-stream", framing="chunked")


def _openai_file(keeper: Keeper, seen: Seen, match: re.Match[str]) -> Answer:
    said = {"object": "file", "bytes": len(seen.body), "created_at": 1, "filename": "f", "purpose": "batch"}
    return whole(keeper.make("file-", **said, status="processed"))


def _openai_batch(keeper: Keeper, seen: Seen, match: re.Match[str]) -> Answer:
    asked = json.loads(seen.body)
    if asked["input_file_id"] not in keeper.kept:
        return Answer(status=404)
    out = f"file-out{keeper.name}{len(keeper.kept)}"
    file = {"object": "file", "bytes": 1, "created_at": 1, "filename": "o", "purpose": "batch_output"}
    keeper.kept[out] = {"id": out, **file, "status": "processed"}
    said = {"object": "batch", "endpoint": asked["endpoint"], "completion_window": "24h", "created_at": 1}
    return whole(
        keeper.make("batch_", **said, input_file_id=asked["input_file_id"], status="completed", output_file_id=out)
    )


def _upload(keeper: Keeper, seen: Seen, match: re.Match[str]) -> Answer:
    asked = json.loads(seen.body)
    said = {"object": "upload", "bytes": asked["bytes"], "created_at": 1, "expires_at": 2, "filename": "f"}
    return whole(keeper.make("upload_", **said, purpose="batch", status="pending"))


def _part(keeper: Keeper, seen: Seen, match: re.Match[str]) -> Answer:
    return whole({"id": "part_1", "object": "upload.part", "created_at": 1, "upload_id": match["id"]})


def _complete(keeper: Keeper, seen: Seen, match: re.Match[str]) -> Answer:
    file = json.loads(_openai_file(keeper, seen, match).body or b"")
    return whole({**keeper.kept[match["id"]], "status": "completed", "file": file})


def _anthropic_file(keeper: Keeper, seen: Seen, match: re.Match[str]) -> Answer:
    said = {"type": "file", "created_at": "2026-01-01T00:00:00Z", "filename": "f", "mime_type": "text/plain"}
    return whole(keeper.make("file_", **said, size_bytes=len(seen.body), downloadable=True))


def _anthropic_batch(keeper: Keeper, seen: Seen, match: re.Match[str]) -> Answer:
    counts = {"canceled": 0, "errored": 0, "expired": 0, "processing": 0, "succeeded": 1}
    one = keeper.make(
        "msgbatch_", type="message_batch", created_at="2026-01-01T00:00:00Z", expires_at="2026-01-02T00:00:00Z",
        processing_status="ended", request_counts=counts,
    )  # fmt: skip
    one["results_url"] = f"{keeper.url}/v1/messages/batches/{one['id']}/results"
    return whole(one)


def _results(keeper: Keeper, seen: Seen, match: re.Match[str]) -> Answer:
    line = {"custom_id": "one", "result": {"type": "canceled"}}
    return Answer(body=json.dumps(line).encode() + b"\n", body_type="application/x-jsonl")


def _gemini_upload(keeper: Keeper, seen: Seen, match: re.Match[str]) -> Answer:
    if "start" in seen.header("x-goog-upload-command"):
        url = f"{keeper.url}{seen.path}?upload_id=u1&upload_protocol=resumable"
        return whole({}, headers=(("x-goog-upload-url", url), ("x-goog-upload-status", "active")))
    one = keeper.make(
        "", mimeType="text/plain", sizeBytes=str(len(seen.body)), state="ACTIVE", uri="https://g.example/f"
    )
    one["name"] = f"files/{one.pop('id')}"
    return whole({"file": one}, headers=(("x-goog-upload-status", "final"),))


def _gemini_get(keeper: Keeper, seen: Seen, match: re.Match[str]) -> Answer:
    one = keeper.kept.get(match["id"])
    return whole(one) if one else Answer(status=404)


def _gemini_delete(keeper: Keeper, seen: Seen, match: re.Match[str]) -> Answer:
    return whole({}) if keeper.kept.pop(match["id"], None) else Answer(status=404)


def _gemini_list(key: str) -> Callable[[Keeper, Seen, re.Match[str]], Answer]:
    def answer(keeper: Keeper, seen: Seen, match: re.Match[str]) -> Answer:
        start = "batches/" if key == "operations" else "files/"
        found = [one for one in keeper.kept.values() if one["name"].startswith(start)]
        first = int(token[1]) if (token := re.search(r"pageToken=(\d+)", seen.query)) else 0
        end = first + keeper.page
        more = {"nextPageToken": str(end)} if end < len(found) else {}
        return whole({key: found[first:end], **more})

    return answer


def _gemini_batch(keeper: Keeper, seen: Seen, match: re.Match[str]) -> Answer:
    one = keeper.make("")
    state = {"state": "BATCH_STATE_SUCCEEDED", "model": "models/m", "displayName": "b"}
    one["metadata"] = {**state, "output": {"responsesFile": f"files/out{one['id']}"}}
    one["name"] = f"batches/{one.pop('id')}"
    return whole(one)


def _rule(method: str, pattern: str, answer: Callable[[Keeper, Seen, re.Match[str]], Answer]) -> Ruled:
    return method, re.compile(pattern.replace("ID", "(?P<id>[^/:]+)")), answer


_RULES: dict[str, list[Ruled]] = {
    "openai": [
        _rule("POST", "/files", _openai_file),
        _rule("GET", "/files", _list("file-")),
        _rule("GET", "/files/ID", _get),
        _rule("GET", "/files/ID/content", _content),
        _rule("DELETE", "/files/ID", _delete),
        _rule("POST", "/batches", _openai_batch),
        _rule("GET", "/batches", _list("batch_")),
        _rule("GET", "/batches/ID", _get),
        _rule("POST", "/batches/ID/cancel", _get),
        _rule("POST", "/uploads", _upload),
        _rule("POST", "/uploads/ID/parts", _part),
        _rule("POST", "/uploads/ID/complete", _complete),
    ],
    "anthropic": [
        _rule("POST", "/v1/files", _anthropic_file),
        _rule("GET", "/v1/files", _list("file_")),
        _rule("GET", "/v1/files/ID", _get),
        _rule("GET", "/v1/files/ID/content", _content),
        _rule("DELETE", "/v1/files/ID", _delete),
        _rule("POST", "/v1/messages/batches", _anthropic_batch),
        _rule("GET", "/v1/messages/batches", _list("msgbatch_")),
        _rule("GET", "/v1/messages/batches/ID", _get),
        _rule("POST", "/v1/messages/batches/ID/cancel", _get),
        _rule("DELETE", "/v1/messages/batches/ID", _delete),
        _rule("GET", "/v1/messages/batches/ID/results", _results),
    ],
    "gemini": [
        _rule("POST", "/upload/v1(?:beta)?/files", _gemini_upload),
        _rule("GET", "/v1(?:beta)?/files", _gemini_list("files")),
        _rule("GET", "/v1(?:beta)?/files/ID", _gemini_get),
        _rule("GET", "/v1(?:beta)?/files/ID:download", _content),
        _rule("DELETE", "/v1(?:beta)?/files/ID", _gemini_delete),
        _rule("POST", "/v1(?:beta)?/models/[^/]+:batchGenerateContent", _gemini_batch),
        _rule("GET", "/v1(?:beta)?/batches", _gemini_list("operations")),
        _rule("GET", "/v1(?:beta)?/batches/ID", _gemini_get),
        _rule("POST", "/v1(?:beta)?/batches/ID:cancel", _gemini_get),
        _rule("DELETE", "/v1(?:beta)?/batches/ID", _gemini_delete),
    ],
}  # fmt: skip
