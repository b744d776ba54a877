"""The service's own keys, on both databases: one signs, the next is published already, and none is lost."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
from cryptography import x509
from sqlalchemy import delete, select, update

from podpass.crypto import jose
from podpass.crypto.envelope import Sealer, SealingKeyUnfit
from podpass.database import Database, RowDamaged
from podpass.exchange.schema import signing_keys
from podpass.exchange.signing import schedule, transactions
from podpass.exchange.signing.key_set import AuthorityKeys, KeyNotRetired, KeysStale
from podpass.exchange.signing.key_store import AuthorityKeysError
from podpass.exchange.signing.schedule import Schedule
from podpass.exchange.signing.token_sealer import BrokenSeal

SEALING = bytes(range(32))
SCHEDULE = Schedule(rotation_seconds=1000, ahead_seconds=100, token_seconds=50, skew_seconds=10)


@dataclass
class Time:
    """The clock, which can be set, and the time that passes, which cannot."""

    now: float = 1_750_000_000.0
    ticks: float = 0.0
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    def passes(self, seconds: float) -> None:
        self.now += seconds
        self.ticks += seconds


@pytest.fixture
async def time() -> AsyncIterator[Time]:
    made = Time()
    async with made.stack:
        yield made


Open = Callable[..., Awaitable[AuthorityKeys]]


async def _open(
    url: str, time: Time, sealing: Path | bytes = SEALING, files: Path | None = None
) -> AuthorityKeys:
    database = await time.stack.enter_async_context(Database(url))
    return await AuthorityKeys.open(
        database,
        sealing,
        lambda: time.now,
        SCHEDULE,
        files=files,
        ticks=lambda: time.ticks,
    )


@pytest.fixture
def replica(database_url: str, time: Time) -> Open:
    """Open the keys as one more replica does."""
    return partial(_open, database_url, time)


def kids(keys: AuthorityKeys) -> list[str]:
    return [key.kid for key in keys.published]


async def test_two_keys_are_published_from_the_first_start(replica: Open) -> None:
    keys, again = await replica(), await replica()
    assert len(kids(keys)) == 2
    assert kids(again) == kids(keys)
    assert keys.active.kid == again.active.kid == kids(keys)[0]


async def test_a_key_is_named_by_its_certificate(replica: Open, time: Time) -> None:
    for key in (await replica()).published:
        certificate = x509.load_der_x509_certificate(key.certificate)
        assert key.kid == jose.b64encode(hashlib.sha1(key.certificate).digest())
        assert certificate.public_key() == key.public
        assert certificate.not_valid_before_utc.timestamp() == time.now
        certificate.verify_directly_issued_by(certificate)


async def test_at_its_time_the_next_key_signs_at_every_replica_without_a_word(
    replica: Open, time: Time
) -> None:
    one, other = await replica(), await replica()
    first, second = kids(one)
    time.passes(999.9)
    assert one.active.kid == other.active.kid == first
    time.passes(0.1)
    assert one.active.kid == other.active.kid == second
    # And back with a clock that is set back, since the first is still there.
    time.now -= 1
    assert one.active.kid == first


async def test_the_one_after_is_published_before_anyone_signs_with_it(
    replica: Open, time: Time
) -> None:
    one, other = await replica(), await replica()
    time.passes(1000)
    await one.keep()
    await other.refresh()
    assert len(kids(one)) == 3
    assert kids(other) == kids(one)
    assert one.slots[-1].activates == time.now + 1000


async def test_two_replicas_that_rotate_at_once_make_one_key(replica: Open, time: Time) -> None:
    replicas = [await replica() for _ in range(4)]
    time.passes(1000)
    await asyncio.gather(*(each.keep() for each in replicas))
    await asyncio.gather(*(each.refresh() for each in replicas))
    assert {tuple(kids(each)) for each in replicas} == {tuple(kids(replicas[0]))}
    assert len(kids(replicas[0])) == 3


async def test_two_operators_who_rotate_at_once_rotate_once(replica: Open, time: Time) -> None:
    replicas = [await replica() for _ in range(2)]
    first, second = kids(replicas[0])
    time.passes(200)
    turns = await asyncio.gather(*(each.rotate() for each in replicas))
    assert {turn.kid for turn in turns} == {second}
    await asyncio.gather(*(each.refresh() for each in replicas))
    assert {each.active.kid for each in replicas} == {second}
    assert {len(kids(each)) for each in replicas} == {3}
    assert kids(replicas[0])[0] == first


async def test_an_early_rotation_waits_until_consumers_know_the_key(
    replica: Open, time: Time
) -> None:
    keys = await replica()
    first, second = kids(keys)
    time.passes(30)
    turn = await keys.rotate()
    assert (turn.kid, turn.activates) == (second, time.now + 70)
    assert keys.active.kid == first
    time.passes(70)
    assert keys.active.kid == second


async def test_an_emergency_signs_with_the_next_key_at_once(replica: Open, time: Time) -> None:
    keys, other = await replica(), await replica()
    second = kids(keys)[1]
    turn = await keys.rotate(at_once=True)
    assert (turn.kid, turn.activates) == (second, time.now)
    await other.refresh()
    assert keys.active.kid == other.active.kid == second
    assert len(kids(other)) == 3


async def test_a_key_goes_when_no_token_of_it_can_live(replica: Open, time: Time) -> None:
    keys = await replica()
    first = keys.active.kid
    time.passes(1000)
    await keys.keep()
    time.passes(59)
    await keys.keep()
    assert first in kids(keys)
    time.passes(1)
    await keys.keep()
    assert first not in kids(keys)
    assert len(kids(keys)) == 2


async def test_a_clock_that_jumps_takes_no_key_from_under_a_live_token(
    replica: Open, time: Time
) -> None:
    keys = await replica()
    first = keys.active.kid
    for jump in (5000, 90 * 24 * 3600, -10_000, 10 * 365 * 24 * 3600):
        time.now += jump
        await keys.keep()
        assert keys.active.kid in kids(keys)
        time.now -= jump
        await keys.keep()
        assert keys.active.kid == first
    # Nor does it end rotation for good.
    time.passes(1000)
    await keys.keep()
    assert keys.active.kid != first
    after = schedule.coming(keys.slots, time.now)
    assert after is not None
    assert after.activates <= time.now + 1000


async def test_only_a_key_out_of_use_can_be_withdrawn(replica: Open) -> None:
    keys, other = await replica(), await replica()
    first = keys.active.kid
    for kid in (first, kids(keys)[1], "strange"):
        with pytest.raises(KeyNotRetired, match="out of use"):
            await keys.retire(kid)
    await keys.rotate(at_once=True)
    await keys.retire(first)
    await other.refresh()
    assert first not in kids(keys) + kids(other)
    assert keys.active.kid == other.active.kid


async def test_keys_that_leaked_are_replaced_all_at_once(replica: Open) -> None:
    keys, other = await replica(), await replica()
    before = kids(keys)
    text = keys.seal.close("p", {"v": 1})
    await keys.replace_all()
    await other.refresh()
    assert kids(other) == kids(keys)
    assert not set(before) & set(kids(keys))
    assert keys.active.kid == other.active.kid
    # Nor does the old seal make refresh tokens any more.
    for each in (keys, other):
        with pytest.raises(BrokenSeal):
            each.seal.read("p", text)
    assert other.seal.read("p", keys.seal.close("p", {"v": 2})) == {"v": 2}


async def test_keys_replaced_under_another_sealing_key_are_believed_nowhere(
    replica: Open, database_url: str
) -> None:
    """Both leaked: whoever has the old ones must not pass at a replica that knows no others."""
    keys, told = await replica(), asyncio.Event()
    async with Database(database_url) as database, keys.running(told.set):
        await AuthorityKeys(database, Sealer(bytes(32))).replace_all()
        async with asyncio.timeout(5):
            await told.wait()
        assert kids(keys) == []
        with pytest.raises(KeysStale):
            _ = keys.active
    with pytest.raises(SealingKeyUnfit):
        await replica()


async def test_nothing_secret_lies_open_in_the_database(replica: Open) -> None:
    keys = await replica()

    def rows(connection: object) -> bytes:
        found = connection.execute(select(signing_keys)).all()  # type: ignore[attr-defined]
        return b"".join(bytes(row.sealed) for row in found)

    stored = await keys.database.read(rows)
    assert b"PRIVATE KEY" not in stored
    assert b"CERTIFICATE" not in stored


async def test_another_sealing_key_is_refused_and_says_what_to_do(replica: Open) -> None:
    keys = await replica()
    with pytest.raises(SealingKeyUnfit) as caught:
        await replica(bytes(32))
    assert "every replica" in caught.value.hint
    assert kids(await replica()) == kids(keys)


async def test_a_damaged_row_is_named_and_stops_the_start(replica: Open) -> None:
    keys = await replica()
    kid = kids(keys)[1]
    await damage(keys, kid)
    with pytest.raises(AuthorityKeysError, match=kid) as caught:
        await replica()
    assert "backup" in caught.value.hint


async def test_keys_that_are_all_damaged_are_not_blamed_on_the_sealing_key(replica: Open) -> None:
    """It opens the seal of refresh tokens. Fails if somebody is sent to look for a key that is not lost."""
    keys = await replica()
    for kid in kids(keys):
        await damage(keys, kid)
    with pytest.raises(AuthorityKeysError, match="damaged") as caught:
        await replica()
    assert "backup" in caught.value.hint


@pytest.mark.parametrize("which", [0, 1])
async def test_who_runs_goes_on_with_keys_that_it_opened_before_they_were_damaged(
    replica: Open, which: int
) -> None:
    keys, other = await replica(), await replica()
    before, signs = kids(keys), keys.active.kid
    await damage(keys, before[which])
    await keys.refresh()
    assert kids(keys) == before
    assert keys.active.kid == signs
    assert keys.damaged == [before[which]]
    # A row that is gone is a key that was withdrawn.
    gone = delete(signing_keys).where(signing_keys.c.kid == before[which])
    await keys.database.write(lambda c: c.execute(gone))
    for each in (keys, other):
        await each.refresh()
        assert kids(each) == [before[1 - which]]
        assert each.damaged == []


async def test_a_damaged_key_that_never_signed_can_be_withdrawn_and_another_is_made(
    replica: Open, time: Time
) -> None:
    keys = await replica()
    first, second = kids(keys)
    await damage(keys, second)
    # With another sealing key all look damaged: none goes.
    stranger = AuthorityKeys(keys.database, Sealer(bytes(32)), lambda: time.now, SCHEDULE)
    with pytest.raises(KeyNotRetired, match="no such key"):
        await stranger.retire(second)
    await keys.retire(second)
    async with (await replica()).running() as again:
        assert kids(again)[0] == first
        assert kids(again)[1] not in (first, second)


async def test_a_damaged_key_that_signs_is_not_withdrawn(replica: Open) -> None:
    keys = await replica()
    await damage(keys, keys.active.kid)
    with pytest.raises(KeyNotRetired, match="no such key"):
        await keys.retire(keys.active.kid)


async def damage(keys: AuthorityKeys, kid: str) -> None:
    change = update(signing_keys).where(signing_keys.c.kid == kid)
    await keys.database.write(lambda c: c.execute(change.values(sealed=b"x" * 99)))


async def test_a_row_does_not_open_under_another_keys_name(replica: Open) -> None:
    keys = await replica()
    first, second = kids(keys)
    table = signing_keys.c

    def swap(connection: object) -> None:
        run = connection.execute  # type: ignore[attr-defined]
        sealed = dict(run(select(table.kid, table.sealed)).all())
        for kid, other in ((first, second), (second, first)):
            run(update(signing_keys).where(table.kid == kid).values(sealed=sealed[other]))

    await keys.database.write(swap)
    with pytest.raises(AuthorityKeysError, match=f"{first}, {second}"):
        await replica()


async def test_the_sealing_key_is_made_on_the_first_start_alone(
    replica: Open, tmp_path: Path
) -> None:
    path = tmp_path / "keys" / "sealing.key"
    keys = await replica(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert kids(await replica(path)) == kids(keys)
    path.unlink()
    with pytest.raises(SealingKeyUnfit, match=r"sealing\.key is missing") as caught:
        await replica(path)
    assert "put the file back" in caught.value.hint
    assert not path.exists()


async def test_who_has_not_read_for_too_long_does_not_sign(replica: Open, time: Time) -> None:
    keys = await replica()
    async with keys.running():
        assert keys.active
        time.now += 5.1
        with pytest.raises(KeysStale) as caught:
            keys.active  # noqa: B018
        assert caught.value.status == 503
        # It has woken the one who reads, and goes on by itself.
        await until(lambda: keys._read_at == time.now)
        assert keys.active


@pytest.mark.parametrize("moved", [90_000.0, -90_000.0])
async def test_a_clock_that_jumps_refuses_nobody_while_the_keys_can_be_read(
    replica: Open, time: Time, moved: float
) -> None:
    """A laptop wakes up after a day: whoever asks first must not be told to come again."""
    keys = await replica()
    async with keys.running():
        time.now += moved
        with pytest.raises(KeysStale):
            keys.active  # noqa: B018
        found = await asyncio.gather(*(keys.current() for _ in range(50)))
        assert {key.kid for key in found} == {keys.active.kid}


async def test_a_key_that_was_withdrawn_before_a_jump_does_not_sign_after_it(
    replica: Open, time: Time
) -> None:
    """Reading anew is what lets it sign again, not the asking."""
    keys = await replica()
    async with keys.running():
        await keys.database.write(lambda c: c.execute(delete(signing_keys)))
        time.now += 90_000
        with pytest.raises(KeysStale) as caught:
            await keys.current()
        assert caught.value.status == 503


async def test_running_replicas_hear_of_a_rotation_within_a_second(replica: Open) -> None:
    keys, other = await replica(), await replica()
    async with keys.running(), other.running():
        turn = await keys.rotate(at_once=True)
        await until(lambda: other.active.kid == turn.kid and kids(other) == kids(keys))


async def test_keys_that_vanish_are_used_no_longer(replica: Open) -> None:
    """Who deletes them all has withdrawn them all."""
    keys = await replica()
    async with keys.running():
        await keys.database.write(lambda c: c.execute(delete(signing_keys)))
        await keys.refresh()
        assert kids(keys) == []
        for _ in range(3):
            with pytest.raises(KeysStale):
                keys.active  # noqa: B018
            await keys.keep()


async def test_a_rotation_cut_off_half_way_is_made_up_for(replica: Open, time: Time) -> None:
    keys = await replica()
    first, second = kids(keys)
    await keys.database.write(
        lambda c: transactions.bring_forward(
            c, SCHEDULE, replaces=first, at_once=True, now=time.now
        )
    )
    again = await replica()
    assert again.active.kid == second
    async with again.running():
        assert kids(again)[:2] == [first, second]
        assert len(kids(again)) == 3


async def until(what: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not what():  # noqa: ASYNC110 it is somebody else who does it
            await asyncio.sleep(0.01)


async def test_a_key_whose_times_are_damaged_signs_on_where_it_was_known(replica: Open) -> None:
    """Fails when one row stops all reading: every replica would sign nothing more after some minutes."""
    one = await replica()
    first, second = kids(one)
    change = update(signing_keys).where(signing_keys.c.kid == first).values(activates=9e99)
    await one.database.write(lambda connection: connection.execute(change))
    await one.refresh()
    assert (one.active.kid, kids(one), list(one.damaged)) == (first, [first, second], [first])
    # Nobody starts on such keys, and nothing is agreed on beside them.
    with pytest.raises(AuthorityKeysError, match="is damaged"):
        await replica()
    with pytest.raises(RowDamaged, match=first):
        await one.rotate()
    await one.retire(first)
    assert (one.active.kid, list(one.damaged)) == (second, [])
    await one.keep()
    assert len(kids(one)) == 2


async def test_keys_of_damaged_times_are_no_new_database(replica: Open) -> None:
    """Fails when they are not counted: a start would fill in keys beside those it cannot read."""
    one = await replica()
    await one.database.write(
        lambda connection: connection.execute(update(signing_keys).values(activates=9e99))
    )
    with pytest.raises(AuthorityKeysError, match="is damaged"):
        await replica()
    await one.replace_all()
    assert len(kids(await replica())) == 2
