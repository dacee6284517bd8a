"""What is tried again, how often and when; and what never is."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from multidict import CIMultiDict

from addons.retry import Budget, retry_after
from tests.addons.stand import CHAT, GEMINI, MESSAGES, RESPONSES, Stand, asking, chat
from tests.provider import OVERLOADED, RATE_LIMITED, UNAVAILABLE, Answer, FakeProvider, Stop

QUICK = "retry: {first_wait: 1ms, attempts: 3}"
NAMED = "/openai/v1/chat/completions"
GOOD = b"Hello from the fake provider."


def at_once(status: int = 500, kind: str = "server_error") -> Answer:
    """A stream that begins with an error."""
    body = b'data: {"error": {"type": "%s", "code": %d, "message": "Sorry."}}\n\n' % (kind.encode(), status)
    return Answer(body=body, body_type="text/event-stream")


@pytest.mark.parametrize(
    "trouble",
    [
        RATE_LIMITED,
        UNAVAILABLE,
        OVERLOADED,
        *(Answer(status=status) for status in (408, 409, 500, 502, 504)),
        Answer(stop=Stop("rst", after="call")),
        Answer(stop=Stop("fin", after="head")),
        Answer(body=b"", body_type="text/event-stream"),
        at_once(),
        at_once(529, "overloaded_error"),
    ],
    ids=lambda trouble: f"{trouble.status}-{trouble.stop and trouble.stop.how}",
)
async def test_what_failed_by_accident_is_tried_again(stand: Stand, provider: FakeProvider, trouble: Answer) -> None:
    provider.script(trouble, trouble, Answer(pieces=(GOOD.decode(),)))
    await stand.start(QUICK)
    asked = await stand.ask(chat(stream=True), NAMED)
    assert asked.status == 200
    assert GOOD in asked.body
    assert len({seen.body for seen in provider.seen}) == 1
    assert asked.outcome.attempts == len(provider.seen) == 3
    assert list(asked.facts) == ["attempt.1", "attempt.2", "attempt.3"]
    assert asked.facts["attempt.3"].startswith("200 ")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("path", [CHAT, RESPONSES, MESSAGES, GEMINI])
async def test_in_every_dialect(stand: Stand, provider: FakeProvider, path: str, stream: bool) -> None:
    provider.script(OVERLOADED)
    await stand.start(QUICK)
    path, body = asking(path, "hello", stream)
    asked = await stand.ask(body, path)
    assert (asked.status, len(provider.seen)) == (200, 2)


async def test_the_last_failure_is_given_as_it_came(stand: Stand, provider: FakeProvider) -> None:
    provider.default = RATE_LIMITED
    await stand.start(QUICK)
    asked = await stand.ask(chat())
    assert (asked.status, len(provider.seen)) == (429, 3)
    assert asked.reply.headers["retry-after"] == "1"
    assert asked.json()["error"]["code"] == "rate_limit_exceeded"


async def test_the_last_refusal_is_raised(stand: Stand, provider: FakeProvider) -> None:
    await stand.start(QUICK)
    with provider.refusing():
        asked = await stand.ask(chat())
    assert asked.status == 502
    assert asked.outcome.attempts == 3
    assert asked.outcome.cause == "upstream_unreachable"
    assert asked.facts["attempt.1"].startswith("502 upstream_unreachable ")


async def test_a_first_part_that_never_comes(stand: Stand, provider: FakeProvider) -> None:
    provider.script(Answer(stop=Stop("hang", after="call")), Answer(stop=Stop("hang", after="head")))
    await stand.start(QUICK, "timeouts: {first_part: 200ms}")
    asked = await stand.ask(chat(stream=True), NAMED)
    assert (asked.status, len(provider.seen)) == (200, 3)
    assert asked.facts["attempt.1"].startswith("504 first_part_timeout ")
    for seen in provider.seen[:2]:
        await asyncio.wait_for(seen.left, 10)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422, 501])
async def test_verdicts_are_never_tried_again(stand: Stand, provider: FakeProvider, status: int) -> None:
    provider.default = Answer(status=status)
    await stand.start(QUICK)
    asked = await stand.ask(chat())
    assert (asked.status, len(provider.seen)) == (status, 1)


@pytest.mark.parametrize(
    "answer",
    [
        Answer(status=429, body=b'{"error": {"code": "insufficient_quota", "message": "Pay."}}'),
        Answer(status=503, headers=(("x-should-retry", "false"),)),
        at_once(429, "insufficient_quota"),
        at_once(400, "invalid_request_error"),
    ],
)
async def test_what_will_not_pass_is_not_tried_again(stand: Stand, provider: FakeProvider, answer: Answer) -> None:
    provider.default = answer
    await stand.start(QUICK)
    await stand.ask(chat(stream=True), NAMED)
    assert len(provider.seen) == 1


async def test_nothing_after_the_first_part(stand: Stand, provider: FakeProvider) -> None:
    provider.default = Answer(stop=Stop("rst", after="parts", count=3))
    await stand.start(QUICK)
    asked = await stand.ask(chat(stream=True), NAMED)
    assert len(provider.seen) == 1
    assert asked.outcome.end == "broken"
    assert asked.facts == {}


@pytest.mark.parametrize(("refused", "attempts"), [(True, 3), (False, 1)])
async def test_files_only_when_nobody_was_reached(
    stand: Stand, provider: FakeProvider, refused: bool, attempts: int
) -> None:
    await stand.start(QUICK)
    provider.script(UNAVAILABLE)
    if refused:
        with provider.refusing():
            asked = await stand.ask(b"a file", "/openai/v1/files")
    else:
        asked = await stand.ask(b"a file", "/openai/v1/files")
    assert asked.outcome.attempts == attempts


@pytest.mark.parametrize(
    ("headers", "attempts"),
    [
        ((("retry-after", "31"),), 1),
        ((("retry-after-ms", "31000"),), 1),
        ((("retry-after", "Fri, 20 Nov 2099 00:00:00 GMT"),), 1),
        ((("retry-after", "0"),), 3),
        ((("retry-after", "100"), ("retry-after-ms", "1")), 3),
        ((("retry-after", "Fri, 20 Nov 2020 00:00:00 GMT"),), 3),
        ((("retry-after", "soon"),), 3),
    ],
)
async def test_retry_after(stand: Stand, provider: FakeProvider, headers: Any, attempts: int) -> None:
    provider.default = Answer(status=503, headers=headers)
    await stand.start(QUICK)
    asked = await stand.ask(chat())
    assert (asked.status, len(provider.seen)) == (503, attempts)
    assert asked.facts.get("retry") == ("retry_after_too_long" if attempts == 1 else None)


async def test_a_retry_that_would_come_too_late(stand: Stand, provider: FakeProvider) -> None:
    provider.default = Answer(status=503, headers=(("retry-after", "20"),))
    await stand.start(QUICK, "timeouts: {total: 10s}")
    asked = await stand.ask(chat())
    assert len(provider.seen) == 1
    assert asked.facts["retry"] == "out_of_time"


async def test_a_spent_budget(stand: Stand, provider: FakeProvider) -> None:
    provider.default = OVERLOADED
    await stand.start("retry: {first_wait: 0ms, attempts: 2, budget: 0.0}")
    asked = [await stand.ask(chat()) for _ in range(30)]
    assert {one.status for one in asked} == {529}
    spent = [one for one in asked if one.facts.get("retry") == "budget_spent"]
    assert 10 <= len(spent) <= 20  # ten retries, and one more for each second that passed
    assert len(provider.seen) == 60 - len(spent)


def test_a_budget_follows_the_calls() -> None:
    budget = Budget(0.25)
    while budget.spend():
        pass
    for _ in range(40):
        budget.earn()
    assert [budget.spend() for _ in range(11)] == [True] * 10 + [False]


def test_a_quiet_time_saves_up_no_flood() -> None:
    budget = Budget(1.0)
    for _ in range(100_000):
        budget.earn()
    assert sum(budget.spend() for _ in range(1000)) <= Budget.MOST + Budget.GRANT + 1


async def test_who_leaves_while_waiting_ends_it(stand: Stand, provider: FakeProvider) -> None:
    provider.default = Answer(status=503, headers=(("retry-after", "25"),))
    await stand.start(QUICK)
    delivery = stand.call(chat())
    answering = asyncio.ensure_future(delivery.answer())
    await provider.wait_seen(1)
    while "attempt.1" not in delivery.call.facts:
        await asyncio.sleep(0.01)
    delivery.client_left()
    assert await answering is None
    assert delivery.call.outcome.end == "cancelled"
    assert len(provider.seen) == 1


async def test_attempts_are_facts_of_the_row(stand: Stand, provider: FakeProvider) -> None:
    provider.script(RATE_LIMITED)
    await stand.start(f"{QUICK}\nlog: on\nmeter: on")
    await stand.ask(chat())
    row = await stand.row()
    assert (row.status, row.attempts) == (200, 2)
    assert [fact.split()[0] for fact in row.facts.values()] == ["429", "200"]


@pytest.mark.parametrize(
    "value", ["nan", "inf", "-5", "", "1e99", "Fri, 99 Foo 2020", "Fri, 20 Nov 9999999 00:00:00 GMT"]
)
def test_nonsense_for_retry_after(value: str) -> None:
    now = datetime(2026, 11, 21, tzinfo=UTC)
    assert retry_after(CIMultiDict({"retry-after": value}), now) is None
    assert retry_after(CIMultiDict({"retry-after-ms": value}), now) is None


def test_a_date_to_retry_after() -> None:
    now = datetime(2026, 11, 21, 12, tzinfo=UTC)
    assert retry_after(CIMultiDict({"Retry-After": "Sat, 21 Nov 2026 12:00:07 GMT"}), now) == 7
    assert retry_after(CIMultiDict({"Retry-After": "1.5"}), now) == 1.5
