"""One-time links and sessions of the console."""

from podpass.console.sessions import MAX_LINKS, MAX_SESSIONS, Sessions


class Time:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_sign_out_ends_only_its_own_session() -> None:
    sessions: Sessions[str] = Sessions(Time())
    first, second = (sessions.redeem(sessions.create_link("me")) for _ in range(2))
    assert first is not None
    assert second is not None
    sessions.end(first)
    assert not sessions.is_signed_in(first)
    assert sessions.is_signed_in(second)


def test_oldest_links_and_sessions_are_dropped() -> None:
    sessions: Sessions[str] = Sessions(Time())
    codes = [sessions.create_link("me") for _ in range(MAX_LINKS + 1)]
    assert sessions.redeem(codes[0]) is None
    assert sessions.redeem(codes[1])
    opened = [sessions.redeem(sessions.create_link("me")) for _ in range(MAX_SESSIONS + 1)]
    assert [sessions.is_signed_in(each or "") for each in opened[:2]] == [False, True]


def test_link_code_and_session_are_not_interchangeable() -> None:
    sessions: Sessions[str] = Sessions(Time())
    code = sessions.create_link("me")
    assert not sessions.is_signed_in(code)
    session = sessions.redeem(code)
    assert sessions.redeem(session or "") is None


def test_unknown_or_malformed_codes_are_refused() -> None:
    sessions: Sessions[str] = Sessions(Time())
    code = sessions.create_link("me")
    for value in ("", "x", code[:-1], code + "=", "x" * 100_000, "\udcff"):
        assert not sessions.is_signed_in(value)
        assert sessions.redeem(value) is None
    assert sessions.redeem(code)


def test_link_code_is_not_stored_in_plain_text() -> None:
    sessions: Sessions[str] = Sessions(Time())
    code = sessions.create_link("me")
    assert code not in repr(vars(sessions._links))


def test_session_has_the_owner_of_its_link_or_its_sign_in() -> None:
    sessions: Sessions[str] = Sessions(Time())
    session = sessions.redeem(sessions.create_link("a"))
    assert sessions.owner(session or "") == "a"
    assert sessions.owner(sessions.open("b")) == "b"
    assert sessions.owner("other") is None
