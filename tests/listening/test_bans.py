from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from shin_gateway.listening import bans as module
from shin_gateway.listening.bans import Bans
from shin_gateway.listening.limits import BanSettings

FAR = "203.0.113.9"


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def made(**settings: object) -> tuple[Bans, Clock]:
    clock = Clock()
    given = {"after": 3, "within": 60.0, "lasts": 300.0} | settings
    return Bans(BanSettings(**given), clock), clock


def test_a_ban_begins_with_the_last_of_so_many_and_ends() -> None:
    bans, clock = made()
    for _ in range(2):
        bans.note_bad_key(FAR)
    assert not bans.is_banned(FAR)
    bans.note_bad_key(FAR)
    assert (bans.is_banned(FAR), bans.wait(FAR)) == (True, 300.0)
    assert not bans.is_banned("203.0.113.10")
    clock.now += 299
    assert bans.wait(FAR) == 1
    clock.now += 1
    assert (bans.is_banned(FAR), bans.wait(FAR)) == (False, 0)
    bans.note_bad_key(FAR)
    assert not bans.is_banned(FAR)  # it starts anew


def test_tries_far_apart_are_no_guessing() -> None:
    bans, clock = made()
    for _ in range(20):
        bans.note_bad_key(FAR)
        clock.now += 31
    assert not bans.is_banned(FAR)


def test_a_key_that_was_right_passes() -> None:
    bans, _ = made()
    bans.note_good_key(FAR, "sk-good")
    for _ in range(3):
        bans.note_bad_key(FAR)
    assert not bans.is_banned(FAR, "sk-good")
    assert bans.is_banned(FAR, "sk-other")
    assert "sk-good" not in repr(vars(bans))


def test_a_network_of_ipv6_is_one_address() -> None:
    bans, _ = made()
    for host in ("2001:db8:1:2::1", "2001:db8:1:2:ffff::", "2001:db8:1:2::abcd%eth0"):
        bans.note_bad_key(host)
    assert bans.is_banned("2001:db8:1:2:3:4:5:6")
    assert not bans.is_banned("2001:db8:1:3::1")


def test_an_ipv4_address_in_an_ipv6_socket_is_itself() -> None:
    bans, _ = made()
    for host in (FAR, f"::ffff:{FAR}", FAR):
        bans.note_bad_key(host)
    assert bans.is_banned(f"::ffff:{FAR}")
    assert not bans.is_banned("::ffff:203.0.113.10")


def test_this_machine_is_banned_only_where_somebody_says_so() -> None:
    for host in ("127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"):
        bans, _ = made()
        strict, _ = made(loopback=True)
        for _ in range(9):
            bans.note_bad_key(host)
            strict.note_bad_key(host)
        assert (bans.is_banned(host), strict.is_banned(host)) == (False, True)


def test_nobody_is_banned_after_0() -> None:
    bans, _ = made(after=0)
    for _ in range(99):
        bans.note_bad_key(FAR)
    assert not bans.is_banned(FAR)


def test_what_is_remembered_is_bounded() -> None:
    bans, _ = made(after=2)
    for number in range(module.MOST + 500):
        ip = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
        bans.note_bad_key(ip)
        bans.note_good_key(ip, f"key-{number}")
    for number in range(module.MOST + 500):
        bans.note_bad_key(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
        bans.note_bad_key(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
    assert all(len(kept) <= module.MOST for kept in (bans._tries, bans._until, bans._right))


@given(st.lists(st.tuples(st.sampled_from([FAR, "198.51.100.7"]), st.floats(0, 40)), max_size=60))
def test_a_ban_needs_so_many_within_the_time(steps: list[tuple[str, float]]) -> None:
    bans, clock = made()
    tries: dict[str, list[float]] = {}
    for ip, pause in steps:
        clock.now += pause
        before = bans.is_banned(ip)
        bans.note_bad_key(ip)
        mine = tries.setdefault(ip, [])
        mine.append(clock.now)
        if bans.is_banned(ip) and not before:
            assert len([at for at in mine if clock.now - at <= 60]) >= 3
