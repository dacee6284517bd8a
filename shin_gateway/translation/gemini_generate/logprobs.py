"""Log probabilities: `logprobsResult`, and OpenAI's token objects, which the form has.

Source: ai.google.dev/api/generate-content#LogprobsResult
"""

from __future__ import annotations

from typing import Any

from shin_gateway.translation.form import Json


def read_logprobs(result: Any) -> list[Json] | None:
    """None where there are none."""
    chosen = result.get("chosenCandidates") if isinstance(result, dict) else None
    if not isinstance(chosen, list):
        return None
    tops = result.get("topCandidates")
    tops = tops if isinstance(tops, list) else []
    return [_token(one, tops[at] if at < len(tops) else None) for at, one in enumerate(chosen) if isinstance(one, dict)]


def _token(row: Json, top: Any) -> Json:
    others = top.get("candidates") if isinstance(top, dict) else None
    rows = [_bare(one) for one in others if isinstance(one, dict)] if isinstance(others, list) else []
    return {**_bare(row), "top_logprobs": rows}


def _bare(row: Json) -> Json:
    token, value = row.get("token"), row.get("logProbability")
    token = token if isinstance(token, str) else ""
    return {"token": token, "logprob": _number(value), "bytes": list(token.encode("utf-8", "replace"))}


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and -1e9 < value <= 0 else 0.0


def write_logprobs(rows: list[Json]) -> Json:
    """`logprobsResult` and `avgLogprobs` of a candidate."""
    chosen = [_candidate(row) for row in rows]
    result: Json = {"chosenCandidates": chosen}
    if any(row.get("top_logprobs") for row in rows):
        result["topCandidates"] = [{"candidates": [_candidate(one) for one in _top(row)]} for row in rows]
    average = sum(one["logProbability"] for one in chosen) / len(chosen) if chosen else 0.0
    return {"logprobsResult": result, "avgLogprobs": average}


def _top(row: Json) -> list[Json]:
    found = row.get("top_logprobs")
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _candidate(row: Json) -> Json:
    token = row.get("token")
    return {"token": token if isinstance(token, str) else "", "logProbability": _number(row.get("logprob"))}
