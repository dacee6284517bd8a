"""What a reply can hold, in each dialect's words, and what becomes of it for clients of the others: see features.py."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from shin_gateway.translation.dialects import CHATS, translator
from shin_gateway.translation.form import Answer, Builtin, Chat, Media, Reasoning, ReasoningWish, Refused, Text, ToolUse
from shin_gateway.translation.losses import Losses
from shin_gateway.translation.translator import Origin

Json = dict[str, Any]
CHAT, RESPONSES, MESSAGES, GEMINI = CHATS
ASKED = Chat(model="m", reasoning=ReasoningWish(effort="high", show=True, sealed=True), logprobs=0)
"""Some things are told to those only who asked for them."""
SITE = "https://example.com/ferries"
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
SEAL = "c2VhbGVkIHRob3VnaHRz"


@dataclass(frozen=True)
class ReplyFeature:
    name: str
    seen: Callable[[Answer], object]
    """What of an answer it is about."""
    said: Mapping[str, Json]
    """The reply of each dialect that has it: what differs from a plain one."""


def _parts(answer: Answer, kind: type) -> list[Any]:
    return [part for choice in answer.choices for part in choice.parts if isinstance(part, kind)]


def _text(answer: Answer) -> object:
    return "".join(part.text for part in _parts(answer, Text))


def _uses(answer: Answer) -> object:
    return [(part.name, json.loads(part.arguments or "{}")) for part in _parts(answer, ToolUse)]


def _thoughts(answer: Answer) -> object:
    return "".join(part.text for part in _parts(answer, Reasoning))


def _seals(answer: Answer) -> object:
    return [(part.seal, part.origin) for part in _parts(answer, Reasoning) if part.seal]


def _cited(answer: Answer) -> object:
    return [(one.url, one.title) for part in _parts(answer, Text) for one in part.citations]


def _finish(answer: Answer) -> object:
    return [choice.finish for choice in answer.choices]


def _sound(answer: Answer) -> object:
    """What is heard, else what is read of it."""
    return [part.data for part in _parts(answer, Media) if part.kind == "audio"] or _text(answer)


def _usage(*names: str) -> Callable[[Answer], object]:
    return lambda answer: [getattr(answer.usage, name, None) for name in names]


def _chat(finish: str = "stop", usage: Json | None = None, logprobs: Json | None = None, **message: Any) -> Json:
    said = {"role": "assistant", "content": "Yes.", **message}
    choice = {"index": 0, "message": said, "finish_reason": finish, "logprobs": logprobs}
    spent = {"prompt_tokens": 20, "completion_tokens": 9, "total_tokens": 29, **(usage or {})}
    return {"id": "c1", "object": "chat.completion", "created": 7, "model": "m", "choices": [choice], "usage": spent}


def _message(*content: Json, **more: Any) -> Json:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": list(content),
        **more,
    }


def _said(text: str = "Yes.", **more: Any) -> Json:
    return {"type": "output_text", "text": text, "annotations": [], **more}


def _responses(*output: Json, **more: Any) -> Json:
    spent = {"input_tokens": 20, "output_tokens": 9, "total_tokens": 29, "input_tokens_details": {"cached_tokens": 0},
             "output_tokens_details": {"reasoning_tokens": 0}, **more.pop("usage", {})}  # fmt: skip
    return {"id": "resp_1", "object": "response", "created_at": 7, "model": "m", "status": "completed",
            "output": list(output) or [_message(_said())], "usage": spent, **more}  # fmt: skip


def _messages(*content: Json, **more: Any) -> Json:
    spent = {"input_tokens": 20, "output_tokens": 9, **more.pop("usage", {})}
    return {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn",
            "stop_sequence": None, "content": list(content) or [{"type": "text", "text": "Yes."}],
            "usage": spent, **more}  # fmt: skip


def _gemini(*parts: Json, usage: Json | None = None, **candidate: Any) -> Json:
    content = {"role": "model", "parts": list(parts) or [{"text": "Yes."}]}
    spent = {"promptTokenCount": 20, "candidatesTokenCount": 9, "totalTokenCount": 29, **(usage or {})}
    return {"candidates": [{"content": content, "finishReason": "STOP", "index": 0, **candidate}],
            "usageMetadata": spent, "modelVersion": "m", "responseId": "r1"}  # fmt: skip


def _all(chat: Json, responses: Json, messages: Json, gemini: Json) -> dict[str, Json]:
    return {CHAT: chat, RESPONSES: responses, MESSAGES: messages, GEMINI: gemini}


TOKEN = {"token": "Yes.", "logprob": -0.1, "bytes": [89], "top_logprobs": []}

REPLY_FEATURES: tuple[ReplyFeature, ...] = (
    ReplyFeature("text", _text, _all(_chat(), _responses(), _messages(), _gemini())),
    ReplyFeature("several tool calls", _uses, _all(
        _chat("tool_calls", content=None, tool_calls=[
            {"id": f"call_{at}", "type": "function", "function": {"name": "f", "arguments": f'{{"at":{at}}}'}}
            for at in (1, 2)]),
        _responses(*[{"type": "function_call", "id": f"fc_{at}", "call_id": f"call_{at}", "name": "f",
                      "arguments": f'{{"at":{at}}}', "status": "completed"} for at in (1, 2)]),
        _messages(*[{"type": "tool_use", "id": f"toolu_{at}", "name": "f", "input": {"at": at}} for at in (1, 2)],
                  stop_reason="tool_use"),
        _gemini(*[{"functionCall": {"name": "f", "args": {"at": at}}} for at in (1, 2)]))),
    ReplyFeature("reasoning", _thoughts, _all(
        _chat(reasoning_content="Hm."),
        _responses({"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm."}]},
                   _message(_said())),
        _messages({"type": "thinking", "thinking": "Hm.", "signature": SEAL}, {"type": "text", "text": "Yes."}),
        _gemini({"text": "Hm.", "thought": True}, {"text": "Yes."}))),
    ReplyFeature("sealed reasoning, for the next turn", _seals, {
        RESPONSES: _responses({"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": SEAL},
                              _message(_said())),
        MESSAGES: _messages(
            {"type": "thinking", "thinking": "Hm.", "signature": SEAL}, {"type": "text", "text": "Yes."}),
        GEMINI: _gemini({"text": "Hm.", "thought": True, "thoughtSignature": SEAL}, {"text": "Yes."})}),
    ReplyFeature("sources of the text", _cited, _all(
        _chat(annotations=[{"type": "url_citation", "url_citation": {
            "url": SITE, "title": "Ferries", "start_index": 0, "end_index": 4}}]),
        _responses(_message(_said(annotations=[
            {"type": "url_citation", "url": SITE, "title": "Ferries", "start_index": 0, "end_index": 4}]))),
        _messages({"type": "text", "text": "Yes.", "citations": [
            {"type": "web_search_result_location", "url": SITE, "title": "Ferries", "cited_text": "they sail",
             "encrypted_index": "eA=="}]}),
        _gemini(groundingMetadata={
            "groundingChunks": [{"web": {"uri": SITE, "title": "Ferries"}}],
            "groundingSupports": [{"segment": {"startIndex": 0, "endIndex": 4}, "groundingChunkIndices": [0]}]}))),
    ReplyFeature("web search's steps", lambda answer: [part.kind for part in _parts(answer, Builtin)], {
        RESPONSES: _responses({"type": "web_search_call", "id": "ws_1", "status": "completed",
                               "action": {"type": "search", "query": "ferries"}}, _message(_said())),
        MESSAGES: _messages(
            {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "ferries"}},
            {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []},
            {"type": "text", "text": "Yes."})}),
    ReplyFeature("refusal", lambda answer: ["".join(part.text for part in _parts(answer, Refused)), _finish(answer)], {
        CHAT: _chat(content=None, refusal="No."),
        RESPONSES: _responses(_message({"type": "refusal", "refusal": "No."})),
        MESSAGES: _messages({"type": "text", "text": "No."}, stop_reason="refusal")}),
    ReplyFeature("cut at the output limit", _finish, _all(
        _chat("length"),
        _responses(status="incomplete", incomplete_details={"reason": "max_output_tokens"}),
        _messages(stop_reason="max_tokens"), _gemini(finishReason="MAX_TOKENS"))),
    ReplyFeature("withheld by a filter", _finish, {
        CHAT: _chat("content_filter"),
        RESPONSES: _responses(status="incomplete", incomplete_details={"reason": "content_filter"}),
        GEMINI: _gemini(finishReason="SAFETY")}),
    ReplyFeature("tokens: input and output", _usage("input", "output"), _all(
        _chat(), _responses(), _messages(), _gemini())),
    ReplyFeature("tokens: cached", _usage("input", "cached"), _all(
        _chat(usage={"prompt_tokens_details": {"cached_tokens": 8}}),
        _responses(usage={"input_tokens_details": {"cached_tokens": 8}}),
        _messages(usage={"input_tokens": 12, "cache_read_input_tokens": 8}),
        _gemini(usage={"cachedContentTokenCount": 8}))),
    ReplyFeature("tokens: reasoning", _usage("output", "reasoning"), {
        CHAT: _chat(usage={"completion_tokens_details": {"reasoning_tokens": 5}}),
        RESPONSES: _responses(usage={"output_tokens_details": {"reasoning_tokens": 5}}),
        GEMINI: _gemini(usage={"candidatesTokenCount": 4, "thoughtsTokenCount": 5})}),
    ReplyFeature("log probabilities", lambda answer: [len(choice.logprobs or ()) for choice in answer.choices], {
        CHAT: _chat(logprobs={"content": [TOKEN], "refusal": None}),
        RESPONSES: _responses(_message(_said(logprobs=[TOKEN]))),
        GEMINI: _gemini(logprobsResult={"chosenCandidates": [{"token": "Yes.", "logProbability": -0.1}],
                                        "topCandidates": [{"candidates": []}]})}),
    ReplyFeature("images", lambda answer: [(part.kind, part.data) for part in _parts(answer, Media)], {
        RESPONSES: _responses({"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": PNG,
                               "output_format": "png"}),
        GEMINI: _gemini({"inlineData": {"mimeType": "image/png", "data": PNG}})}),
    ReplyFeature("sound", _sound, {
        CHAT: _chat(content=None, audio={"id": "audio_1", "data": "UklGRg==", "transcript": "Yes.", "expires_at": 9}),
        GEMINI: _gemini({"inlineData": {"mimeType": "audio/wav", "data": "UklGRg=="}})}),
    ReplyFeature("service tier", lambda answer: answer.service_tier, {
        CHAT: {**_chat(), "service_tier": "flex"}, RESPONSES: _responses(service_tier="flex")}),
)  # fmt: skip


def reply_fate(feature: ReplyFeature, client: str, target: str) -> str:
    """carried: the client reads the same; mapped: something near; dropped: nothing of it."""
    losses = Losses()
    answer = translator(target).read_reply(feature.said[target])
    origin = Origin("01", "m", ASKED, {"model": "m", "input": "x"}, 7)
    heard = translator(client).read_reply(translator(client).write_reply(answer, origin, losses))
    if feature.seen(heard) == feature.seen(answer):
        return "carried"
    return "dropped" if feature.seen(heard) in _NOTHING else "mapped"


_NOTHING: tuple[object, ...] = ("", None, [], [0], [None], [20, 0], [9, 0])
"""What `seen` finds where there is nothing: tokens of no kind but input and output."""
