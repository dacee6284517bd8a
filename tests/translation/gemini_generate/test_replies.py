"""Replies of Gemini's into the common form, and answers of others as replies that Google's client accepts."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from google.genai import types
from hypothesis import given, settings
from hypothesis import strategies as st

from shin_gateway.errors import UpstreamFailed
from shin_gateway.outcome import Usage
from shin_gateway.translation.dialects import CHATS
from shin_gateway.translation.form import (
    Answer,
    Builtin,
    Chat,
    Choice,
    Citation,
    Media,
    Reasoning,
    Refused,
    Text,
    Tool,
    ToolUse,
)
from shin_gateway.translation.gemini_generate import GeminiGenerate
from shin_gateway.translation.losses import Losses
from shin_gateway.translation.names import for_others
from shin_gateway.translation.replay import events as replayed
from shin_gateway.translation.translator import Origin
from tests.translation import kit

Json = dict[str, Any]
GEMINI = GeminiGenerate()
ORIGIN = Origin("call-1", "my-model", Chat())


def reply(*parts: Json, reason: str | None = "STOP", **more: Any) -> Json:
    candidate = {"content": {"parts": list(parts), "role": "model"}, "index": 0, **more}
    if reason:
        candidate["finishReason"] = reason
    return {"candidates": [candidate], "modelVersion": "gemini-2.5-flash", "responseId": "r1"}


def choice_of(*parts: Json, **more: Any) -> Choice:
    return GEMINI.read_reply(reply(*parts, **more)).choices[0]


def write(*parts: Any, origin: Origin = ORIGIN, **fields: Any) -> Json:
    answer = Answer(
        id="a1", model="other", choices=[Choice(parts=list(parts), **fields)], usage=Usage(input=3, output=2)
    )
    return check(GEMINI.write_reply(answer, origin, Losses()))


def check(body: Json) -> Json:
    body = json.loads(msgspec.json.encode(body))
    types.GenerateContentResponse.model_validate_json(json.dumps(body.get("response", body)))
    types.GenerateContentResponse._from_response(response=body.get("response", body), kwargs={})
    return body


def candidate_of(*parts: Any, **fields: Any) -> Json:
    found: Json = write(*parts, **fields)["candidates"][0]
    return found


# ── read ────────────────────────────────────────────────────────────────────────────────────────


def test_a_reply() -> None:
    body = reply({"text": "hm", "thought": True}, {"text": "hello", "thoughtSignature": "c2ln"})
    body["createTime"] = "2026-01-02T03:04:05.123456Z"
    body["usageMetadata"] = {"promptTokenCount": 10, "cachedContentTokenCount": 4, "candidatesTokenCount": 5,
                             "thoughtsTokenCount": 6, "toolUsePromptTokenCount": 1, "totalTokenCount": 22}  # fmt: skip
    answer = GEMINI.read_reply(body)
    assert (answer.id, answer.model, answer.created) == ("r1", "gemini-2.5-flash", 1767323045)
    assert answer.usage == Usage(input=11, output=11, cached=4, reasoning=6)
    assert answer.choices[0].parts == [
        Reasoning(text="hm", summary=True, origin="gemini.generate"),
        Text(text="hello"),
        Reasoning(seal="c2ln", origin="gemini.generate"),
    ]
    assert GEMINI.read_reply({"response": body}) == answer


@pytest.mark.parametrize(
    ("counts", "output"),
    [
        ({"totalTokenCount": 30, "thoughtsTokenCount": 6}, 20),
        ({"totalTokenCount": 30, "thoughtsTokenCount": 6, "toolUsePromptTokenCount": 4}, 16),
        ({"totalTokenCount": 10}, 0),
        ({"totalTokenCount": 3}, 0),
        ({"thoughtsTokenCount": 6}, 6),
        ({"totalTokenCount": 30, "candidatesTokenCount": 0}, 0),
    ],
)
def test_usage_that_does_not_count_the_answer(counts: Json, output: int) -> None:
    """Output is the answer and the thoughts: what the total has beyond what was given."""
    answer = GEMINI.read_reply({**reply({"text": "a"}), "usageMetadata": {"promptTokenCount": 10, **counts}})
    assert answer.usage is not None and answer.usage.output == output


def test_function_calls_get_ids_that_stay_the_same() -> None:
    parts = ({"functionCall": {"name": "f", "args": {"a": 1}}}, {"functionCall": {"name": "f", "id": "own"}})
    choice = choice_of(*parts)
    first, second = choice.parts
    assert isinstance(first, ToolUse) and isinstance(second, ToolUse)
    assert first.id.startswith("call_") and len(first.id) <= 40 and second.id == "own"
    assert choice.finish == "tools"
    assert choice_of(*parts) == choice
    other = GEMINI.read_reply({**reply(*parts), "responseId": "r2"}).choices[0].parts[0]
    assert isinstance(other, ToolUse) and other.id != first.id


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("STOP", "stop"),
        ("MAX_TOKENS", "length"),
        ("SAFETY", "filtered"),
        ("RECITATION", "filtered"),
        ("SPII", "filtered"),
        ("IMAGE_SAFETY", "filtered"),
        ("MALFORMED_FUNCTION_CALL", "malformed_tool"),
        ("OTHER", "stop"),
        ("SOMETHING_NEW", "stop"),
        (None, "stop"),
    ],
)
def test_finish_reasons(reason: str | None, finish: str) -> None:
    assert choice_of({"text": "x"}, reason=reason).finish == finish


def test_an_error_that_came_as_a_success() -> None:
    error = {"error": {"code": 503, "message": "Busy", "status": "UNAVAILABLE"}}
    with pytest.raises(UpstreamFailed, match="Busy") as found:
        GEMINI.read_reply(error)
    assert found.value.status == 503


def test_names_in_snake_case() -> None:
    body = {
        "candidates": [{"content": {"parts": [{"function_call": {"name": "f"}, "thought_signature": "c2ln"}]},
                        "finish_reason": "STOP"}],
        "usage_metadata": {"prompt_token_count": 3, "candidates_token_count": 2, "service_tier": "priority"},
        "model_version": "g",
        "response_id": "r",
    }  # fmt: skip
    answer = GEMINI.read_reply(body)
    assert (answer.id, answer.model, answer.usage) == ("r", "g", Usage(input=3, output=2))
    assert (answer.choices[0].finish, answer.service_tier) == ("tools", "priority")
    use = answer.choices[0].parts[0]
    assert isinstance(use, ToolUse) and (use.name, use.seal) == ("f", "c2ln")


@pytest.mark.parametrize("content", [{}, None, {"role": "model"}, {"parts": []}, {"parts": [{"text": ""}]}])
def test_a_candidate_with_nothing_in_it(content: Any) -> None:
    answer = GEMINI.read_reply({"candidates": [{"content": content, "finishReason": "NO_IMAGE", "index": 0}]})
    assert answer.choices == [Choice(finish="stop")]


def test_the_signature_of_a_step_at_google_stays_in_it() -> None:
    step = {"executableCode": {"code": "1", "language": "PYTHON"}, "thoughtSignature": "c2ln"}
    assert choice_of(step).parts == [Builtin(kind="code_execution", raw=[step], text="1", origin="gemini.generate")]


@pytest.mark.parametrize(
    ("part", "kind", "text"),
    [
        ({"toolCall": {"toolType": "GOOGLE_SEARCH_WEB", "id": "a", "args": {"queries": ["x", "y"]}}}, "web_search",
         "x\ny"),
        ({"toolCall": {"toolType": "FILE_SEARCH", "id": "a"}, "thoughtSignature": "c2ln"}, "file_search", ""),
        ({"toolCall": {"toolType": 5, "args": {"queries": [5]}}}, "toolCall", ""),
        ({"toolCall": []}, "toolCall", ""),
        ({"toolResponse": {"toolType": "FILE_SEARCH", "id": "a", "response": {}}}, "toolResponse", ""),
        ({"codeExecutionResult": {"outcome": "OUTCOME_FAILED", "output": "no"}}, "code_execution", "no"),
    ],
)  # fmt: skip
def test_steps_at_google(part: Json, kind: str, text: str) -> None:
    assert choice_of(part).parts == [Builtin(kind=kind, raw=[part], text=text, origin="gemini.generate")]


def test_a_blocked_prompt() -> None:
    answer = GEMINI.read_reply({"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 1}})
    assert (answer.blocked, answer.choices) == ("SAFETY", [])
    assert check(GEMINI.write_reply(answer, ORIGIN, Losses()))["promptFeedback"] == {"blockReason": "SAFETY"}
    answer.blocked = "content_policy_violation"
    assert check(GEMINI.write_reply(answer, ORIGIN, Losses()))["promptFeedback"] == {"blockReason": "OTHER"}


def test_no_candidates_and_no_reason_is_a_withheld_answer() -> None:
    """Google: there are no candidates only where something was wrong with the prompt."""
    body = {"usageMetadata": {"promptTokenCount": 9, "totalTokenCount": 9}, "modelVersion": "m", "responseId": "r"}
    for client in CHATS[:3]:
        assert kit.whole(client, GEMINI.read_reply(body)).choices[0].finish in ("filtered", "refused")
        stream = kit.written(client, replayed(GEMINI.read_reply(body)))
        assert kit.accumulated(client, stream).choices[0].finish in ("filtered", "refused")


def test_grounding_counts_bytes() -> None:
    metadata = {
        "groundingChunks": [{"web": {"uri": "https://a.example", "title": "A"}}],
        "groundingSupports": [
            {"segment": {"startIndex": 3, "endIndex": 6, "text": "bcd"}, "groundingChunkIndices": [0, 7]}
        ],
    }
    text = choice_of({"text": "éabcd"}, groundingMetadata=metadata).parts[0]
    assert isinstance(text, Text)
    (citation,) = text.citations
    assert (citation.url, citation.title, citation.start, citation.end) == ("https://a.example", "A", 2, 5)


def test_images_and_log_probabilities() -> None:
    result = {
        "chosenCandidates": [{"token": "a", "logProbability": -0.1}],
        "topCandidates": [{"candidates": [{"token": "b", "logProbability": -2}]}],
    }
    choice = choice_of({"inlineData": {"mimeType": "image/png", "data": "AAAA"}}, logprobsResult=result)
    assert choice.parts == [Media(kind="image", mime="image/png", data="AAAA")]
    assert choice.logprobs == [
        {"token": "a", "logprob": -0.1, "bytes": [97], "top_logprobs": [{"token": "b", "logprob": -2.0, "bytes": [98]}]}
    ]


@pytest.mark.parametrize("body", [None, [], "html", {}, {"error": {"code": 500}}, 5])
def test_what_is_no_reply(body: Any) -> None:
    with pytest.raises(UpstreamFailed):
        GEMINI.read_reply(body)


@pytest.mark.parametrize(
    ("body", "status", "kind", "message"),
    [
        (
            {"error": {"code": 429, "message": "slow", "status": "RESOURCE_EXHAUSTED"}},
            429,
            "RESOURCE_EXHAUSTED",
            "slow",
        ),
        ([{"error": {"code": 400, "message": "no", "status": "INVALID_ARGUMENT"}}], 400, "INVALID_ARGUMENT", "no"),
        (None, 502, "UNAVAILABLE", "The provider answered with status 502."),
        ({"error": "text"}, 403, "PERMISSION_DENIED", "text"),
        ([], 418, "UNKNOWN", "The provider answered with status 418."),
    ],
)
def test_errors(body: Any, status: int, kind: str, message: str) -> None:
    failure = GEMINI.read_error(body, status)
    assert (failure.status, failure.type, failure.message) == (status, kind, message)


# ── write ───────────────────────────────────────────────────────────────────────────────────────


def test_an_answer() -> None:
    assert write(Text(text="hi"), finish="stop") == {
        "candidates": [{"content": {"parts": [{"text": "hi"}], "role": "model"}, "finishReason": "STOP", "index": 0}],
        "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 2, "totalTokenCount": 5},
        "modelVersion": "my-model",
        "responseId": "a1",
    }


def test_code_assist_gets_its_envelope() -> None:
    origin = Origin("call-1", "m", Chat(), {"model": "m", "request": {"contents": []}})
    assert list(write(Text(text="hi"), origin=origin)) == ["response"]


@pytest.mark.parametrize(
    ("finish", "reason"),
    [
        ("tools", "STOP"), ("stop_sequence", "STOP"), ("paused", "STOP"), ("length", "MAX_TOKENS"),
        ("context", "MAX_TOKENS"), ("filtered", "SAFETY"), ("refused", "SAFETY"),
        ("malformed_tool", "MALFORMED_FUNCTION_CALL"), (None, "STOP"),
    ],
)  # fmt: skip
def test_reasons(finish: Any, reason: str) -> None:
    found = candidate_of(finish=finish)
    assert found["finishReason"] == reason
    assert found["content"] == {"parts": [{"text": ""}], "role": "model"}  # clients want a part


def test_what_was_searched_for_and_not_what_was_found() -> None:
    asked = Builtin(kind="web_search", raw=[{"type": "server_tool_use"}], text="rain?", origin="anthropic.messages")
    found = Builtin(kind="web_search", raw=[{"type": "web_search_tool_result"}], text="A", origin="anthropic.messages")
    assert candidate_of(asked, found, Text(text="x"))["groundingMetadata"] == {"webSearchQueries": ["rain?"]}


def test_sealed_thoughts_travel_with_thought_and_call() -> None:
    thought = Reasoning(text="hm", seal="S", origin="anthropic.messages")
    content = candidate_of(thought, ToolUse(id="i", name="f", arguments='{"a":1}'))["content"]
    assert content["parts"][1]["functionCall"] == {"id": "i", "name": "f", "args": {"a": 1}}
    for parts in (content["parts"], content["parts"][1:]):  # also where the client strips thoughts
        body = {"contents": [{"role": "model", "parts": parts}]}
        back = GEMINI.read_call(body, "/v1beta/models/m:generateContent", Losses()).messages[0].parts
        assert back == [thought, ToolUse(id="i", name="f", arguments='{"a":1}')]


def test_names_of_tools_are_the_client_s() -> None:
    origin = Origin("c", "m", Chat(tools=[Tool(name="ns.tool:x")]))
    use = ToolUse(id="i", name=for_others("ns.tool:x"), arguments="{}")
    assert candidate_of(use, origin=origin)["content"]["parts"][0]["functionCall"]["name"] == "ns.tool:x"


def test_arguments_that_cannot_be_read() -> None:
    use = ToolUse(id="i", name="f", arguments='{"a":')
    assert candidate_of(use, finish="tools")["finishReason"] == "MALFORMED_FUNCTION_CALL"
    assert candidate_of(use, finish="length")["finishReason"] == "MAX_TOKENS"


def test_citations_refusals_and_searches() -> None:
    cited = Text(text="é a.", citations=[Citation(url="https://a.example", title="A", start=2, end=3)])
    found = candidate_of(Builtin(kind="web_search", raw=[], text="query"), Refused(text="no"), cited)
    assert [part["text"] for part in found["content"]["parts"]] == ["no", "é a."]
    assert found["groundingMetadata"] == {
        "webSearchQueries": ["query"],
        "groundingChunks": [{"web": {"uri": "https://a.example", "title": "A"}}],
        "groundingSupports": [
            {
                "segment": {"startIndex": 3, "endIndex": 4, "text": "a", "partIndex": 1},
                "groundingChunkIndices": [0],
            }
        ],
    }


def test_usage() -> None:
    usage = Usage(input=10, output=8, cached=3, reasoning=5, input_audio=4)
    answer = Answer(choices=[], usage=usage)
    found = check(GEMINI.write_reply(answer, ORIGIN, Losses()))
    assert found["responseId"] == "call-1"
    assert found["usageMetadata"]["candidatesTokenCount"] == 3
    assert GEMINI.read_reply(found).usage == usage


def test_several_candidates_with_log_probabilities() -> None:
    rows = [{"token": "a", "logprob": -0.5, "bytes": None, "top_logprobs": []}]
    answer = Answer(choices=[Choice(parts=[Text(text="a")], logprobs=rows), Choice(parts=[Text(text="b")])])
    first, second = check(GEMINI.write_reply(answer, ORIGIN, Losses()))["candidates"]
    assert (first["index"], second["index"], first["avgLogprobs"]) == (0, 1, -0.5)


_FIELDS = ["candidates", "content", "parts", "text", "thought", "functionCall", "name", "args", "finishReason",
           "usageMetadata", "promptTokenCount", "groundingMetadata", "groundingChunks", "groundingSupports", "segment",
           "web", "uri", "groundingChunkIndices", "logprobsResult", "chosenCandidates", "inlineData", "data", "index",
           "promptFeedback", "blockReason", "responseId", "createTime", "citationMetadata", "citations"]  # fmt: skip
_anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["STOP", "x", "AAAA", "9999-99-99"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_FIELDS), inner, max_size=4),
    max_leaves=15,
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from(_FIELDS), _anything, max_size=5))
def test_nonsense_is_never_a_crash(body: Json) -> None:
    for found in (body, {"candidates": [body]}, {"candidates": [{"content": {"parts": [body]}, **body}]}):
        try:
            answer = GEMINI.read_reply(found)
        except UpstreamFailed:
            continue
        GEMINI.write_reply(answer, ORIGIN, Losses())
