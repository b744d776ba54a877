"""What people and other programs do to the Secret and the configurations, and rights that are missing."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest

from podpass import names
from podpass.admission.certificates import Plan, secret_codec, x509
from podpass.admission.certificates.x509 import RsaMaker
from tests.admission.certificates import reference
from tests.admission.certificates.lab import (
    CONFIGURATIONS,
    HOST,
    MAIN,
    QUICK,
    RULES,
    SECOND,
    SECRET,
    SECRETS,
    Lab,
    Replica,
    configuration,
    handshake,
    until,
)

DAY = 24 * 3600
YEAR = 365 * DAY
Data = dict[str, bytes]


@pytest.fixture(autouse=True)
def _told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "podpass.admission.certificates")


def events(caplog: pytest.LogCaptureFixture, name: str) -> list[dict[str, Any]]:
    return [vars(record) for record in caplog.records if record.message == name]


async def ready(lab: Lab, **how: Any) -> Replica:
    replica = await lab.replica(**how)
    await until(lambda: not replica.rotation.trouble())
    return replica


async def bundle_of(lab: Lab, name: str = MAIN) -> str:
    first, *rest = await lab.bundles(name)
    assert all(each == first for each in rest)
    return first


# --------------------------------------------------------------------------------------- configurations


@pytest.mark.parametrize("left", [b"", b"no PEM at all"])
async def test_a_bundle_that_is_edited_away_is_repaired(
    lab: Lab, caplog: pytest.LogCaptureFixture, left: bytes
) -> None:
    # With no look in between: what wakes the replica is the change itself.
    plan = Plan(lag_seconds=0.4, check_seconds=3600)
    await ready(lab, plan=plan)
    before = await bundle_of(lab)
    await lab.overwrite(left)
    await until(lambda: _is(lab, before), 10)
    (repaired,) = events(caplog, "bundle_repaired")
    assert repaired["configuration"] == MAIN
    assert repaired["changed_by"] == "podpass"  # the user agent of the test's own client


async def test_every_entry_of_every_configuration_is_kept_in_step(lab: Lab) -> None:
    await lab.admin.create(CONFIGURATIONS, configuration(SECOND, hooks=3))
    await ready(lab, configurations=(MAIN, SECOND))
    found = await lab.admin.get(f"{CONFIGURATIONS}/{SECOND}")
    del found["webhooks"][1]["clientConfig"]["caBundle"]
    await lab.admin.replace(f"{CONFIGURATIONS}/{SECOND}", found)
    await until(lambda: _whole(lab, SECOND, 3), 10)
    assert await bundle_of(lab, SECOND) == await bundle_of(lab)


async def test_a_configuration_that_is_made_anew_is_filled_again(lab: Lab) -> None:
    replica = await ready(lab)
    before = await bundle_of(lab)
    await lab.admin.delete(f"{CONFIGURATIONS}/{MAIN}")
    await until(lambda: "is missing" in replica.rotation.trouble(), 10)
    await lab.admin.create(CONFIGURATIONS, configuration(MAIN))
    await until(lambda: not replica.rotation.trouble(), 10)
    assert await bundle_of(lab) == before


async def test_a_strangers_authority_stays_and_one_of_ours_that_is_gone_leaves(lab: Lab) -> None:
    """Who moves from or to another keeper of certificates needs both for a while."""
    replica = await ready(lab)
    ours = await bundle_of(lab)
    maker = RsaMaker(host=HOST, now=lab.clock(), plan=Plan())
    gone = maker.authority().certificate
    stranger = _stranger()
    await lab.overwrite(stranger + gone)
    want = {each.id for each in secret_codec.authorities(ours.encode() + stranger)}
    await until(lambda: _holds(lab, want), 10)
    await until(lambda: not replica.rotation.trouble(), 10)


async def test_a_quarrel_over_a_bundle_is_not_fought_at_full_speed(
    lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    replica = await ready(lab)
    ours = await bundle_of(lab)
    stranger = _stranger().decode()
    for _ in range(40):
        if await bundle_of(lab) != stranger:
            await lab.overwrite(stranger.encode())
        await asyncio.sleep(0.1)
    repairs = events(caplog, "bundle_repaired")
    assert 2 <= len(repairs) <= 4
    assert "keeps overwriting it" in replica.rotation.trouble()
    await until(lambda: _holds(lab, _ids(ours + stranger)), 30)
    await until(lambda: not replica.rotation.trouble(), 10)


# -------------------------------------------------------------------------------------------- the Secret


def _garbage(data: Data, _now: float) -> Data:
    return data | {
        names.CA_CERTIFICATE: b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"
    }


def _another_key(data: Data, now: float) -> Data:
    return data | {names.CA_KEY: reference.secret(now)[names.CA_KEY]}


def _another_leaf(data: Data, now: float) -> Data:
    other = reference.secret(now)
    return data | {name: other[name] for name in (names.TLS_CERTIFICATE, names.TLS_KEY)}


def _another_host(data: Data, now: float) -> Data:
    held = secret_codec.read(data, HOST)
    assert held.current is not None
    leaf = RsaMaker(host="other.svc", now=now, plan=Plan()).leaf(held.current)
    return data | {names.TLS_CERTIFICATE: leaf.chain, names.TLS_KEY: leaf.key}


def _short_key(data: Data, now: float) -> Data:
    """Give a leaf that is right in every way but one: OpenSSL's security level refuses it."""
    held = secret_codec.read(data, HOST)
    assert held.current is not None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(x509, "_BITS", 1024)
        leaf = RsaMaker(host=HOST, now=now, plan=Plan()).leaf(held.current)
    return data | {names.TLS_CERTIFICATE: leaf.chain, names.TLS_KEY: leaf.key}


def _another_leaf_key(data: Data, now: float) -> Data:
    return data | {names.TLS_KEY: reference.secret(now)[names.TLS_KEY]}


def _expired(data: Data, now: float) -> Data:
    return data | reference.secret(now - 11 * YEAR)


def _not_yet_valid(data: Data, now: float) -> Data:
    return data | reference.secret(now + 2 * YEAR)


def _emptied(_data: Data, _now: float) -> Data:
    return {}


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (_garbage, "a certificate cannot be read"),
        (_another_key, "ca.key does not belong to ca.crt"),
        (_another_leaf, "tls.crt is not signed by the first of ca.crt"),
        (_another_host, f"tls.crt is not for {HOST}"),
        (_short_key, "not a pair that can be used"),
        (_another_leaf_key, "tls.key does not belong to tls.crt"),
        (_expired, "the authority has expired"),
        (_not_yet_valid, "the authority is not valid yet"),
        (_emptied, "the Secret is empty"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
async def test_a_broken_secret_is_mended_and_no_call_fails_meanwhile(
    lab: Lab, caplog: pytest.LogCaptureFixture, broken: Callable[[Data, float], Data], why: str
) -> None:
    await lab.fill(data := reference.secret(lab.clock()))
    await lab.overwrite(data[names.CA_CERTIFICATE])
    replica = await ready(lab)
    serving = replica.rotation.rotations
    await lab.fill(broken(data, lab.clock()))

    async def mended() -> bool:
        await handshake(replica.port, await bundle_of(lab))
        assert replica.rotation.trouble() == ""
        return replica.rotation.rotations > serving

    await until(mended)
    told = [*events(caplog, "ca_made_anew"), *events(caplog, "certificate_signed")]
    assert any(why in each["why"] for each in told)
    assert reference.keeps(await lab.data(), lab.clock()) == "nothing"
    fresh = await ready(lab)
    await handshake(fresh.port, await bundle_of(lab))


async def test_a_secret_that_keeps_being_broken_is_not_mended_at_full_speed(
    lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    replica = await ready(lab)
    for _ in range(30):
        await lab.fill({})
        await asyncio.sleep(0.1)
    assert len(events(caplog, "ca_made_anew")) <= 3
    assert replica.rotation.is_hindered
    assert not events(caplog, "certificates_unhindered"), "it is told of once"
    assert any(
        "keeps being broken" in each["cause"] for each in events(caplog, "certificates_hindered")
    )
    assert replica.rotation.trouble() == "", "what is served is trusted all the same"


async def test_a_secret_that_gathers_authorities_is_told_of(lab: Lab) -> None:
    """Who empties it once an hour is never quick enough to be held back."""
    replica = await ready(lab)
    data = await lab.data()
    maker = RsaMaker(host=HOST, now=lab.clock(), plan=Plan())
    gathered = [secret_codec.bundle([maker.authority()]) for _ in range(5)]
    await lab.fill(data | {names.CA_CERTIFICATE: data[names.CA_CERTIFICATE] + b"".join(gathered)})
    await until(lambda: replica.rotation.is_hindered, 10)
    assert replica.rotation.trouble() == "", "what is served is trusted all the same"
    await lab.fill(data)
    await until(lambda: not replica.rotation.is_hindered, 10)


async def test_a_secret_that_is_missing_and_may_not_be_made_is_waited_for(bare: Lab) -> None:
    await bare.admin.create(CONFIGURATIONS, configuration(MAIN))
    replica = await bare.replica()
    said = await until(lambda: "is missing" in (t := replica.rotation.trouble()) and t)
    assert names.CERTIFICATE_SECRET in said
    assert 'cannot create resource "secrets"' in said
    await bare.admin.create(SECRETS, {"metadata": {"name": names.CERTIFICATE_SECRET}})
    await until(lambda: not replica.rotation.trouble())


async def test_a_secret_that_is_missing_is_made_where_that_is_permitted(bare: Lab) -> None:
    await bare.admin.create(CONFIGURATIONS, configuration(MAIN))
    create = {"apiGroups": [""], "resources": ["secrets"], "verbs": ["create"]}
    await bare.grant("secrets", [*RULES["secrets"], create])
    await ready(bare)
    assert (await bare.admin.get(SECRET))["type"] == "Opaque"
    assert reference.keeps(await bare.data(), bare.clock()) == "nothing"


async def test_other_keys_of_the_secret_stay(lab: Lab) -> None:
    await lab.fill({"note": b"of somebody"})
    await ready(lab)
    assert (await lab.data())["note"] == b"of somebody"


# ------------------------------------------------------------------------------------------------ rights


def _without(part: str, verb: str) -> list[dict[str, Any]]:
    (rule,) = RULES[part]
    return [{**rule, "verbs": [each for each in rule["verbs"] if each != verb]}]


@pytest.mark.parametrize(
    ("part", "verb", "said"),
    [
        ("secrets", "get", 'cannot get resource "secrets"'),
        ("secrets", "update", 'cannot update resource "secrets"'),
        ("configurations", "get", 'cannot get resource "mutatingwebhookconfigurations"'),
        ("configurations", "update", 'cannot update resource "mutatingwebhookconfigurations"'),
    ],
)
async def test_a_right_that_is_missing_is_named_and_waited_for(
    lab: Lab, caplog: pytest.LogCaptureFixture, part: str, verb: str, said: str
) -> None:
    await lab.grant(part, _without(part, verb))
    replica = await lab.replica()
    await until(lambda: said in replica.rotation.trouble())
    await asyncio.sleep(1)
    assert said in replica.rotation.trouble()
    hindered = [each for each in events(caplog, "certificates_hindered") if said in each["cause"]]
    assert len(hindered) == 1, "said once, however often it is tried"
    await lab.grant(part, RULES[part])
    await until(lambda: not replica.rotation.trouble())


@pytest.mark.parametrize("part", ["secrets", "configurations"])
async def test_without_the_right_to_watch_looks_go_on(
    lab: Lab, caplog: pytest.LogCaptureFixture, part: str
) -> None:
    await lab.grant(part, _without(part, "watch"))
    await ready(lab)
    await until(lambda: events(caplog, "watch_forbidden"))
    before = await bundle_of(lab)
    await lab.overwrite(b"")
    await until(lambda: _is(lab, before), 10)


async def test_rights_that_are_withdrawn_make_no_trouble_while_what_is_served_is_trusted(
    lab: Lab,
) -> None:
    """A slip in the rights must not take every replica out of service at once."""
    replica = await ready(lab)
    await lab.grant("secrets", [])
    await asyncio.sleep(QUICK.stale_seconds + 1)
    assert replica.rotation.trouble() == ""
    # Another authority in the bundle means a rotation that cannot be followed.
    joining = RsaMaker(host=HOST, now=lab.clock(), plan=Plan()).authority()
    await lab.overwrite((await bundle_of(lab)).encode() + joining.certificate)
    said = await until(replica.rotation.trouble, 10)
    assert "another authority has joined" in said
    assert 'cannot get resource "secrets"' in said


# ------------------------------------------------------------------------------------ clocks, and silence


@pytest.mark.parametrize(("years", "way"), [(9, "ahead of"), (-3, "behind"), (30, "ahead of")])
async def test_a_clock_far_off_makes_nothing_and_says_so(
    lab: Lab, caplog: pytest.LogCaptureFixture, years: int, way: str
) -> None:
    replica = await lab.replica(clock=lambda: lab.clock() + years * YEAR)
    said = await until(lambda: "clock" in (t := replica.rotation.trouble()) and t)
    assert way in said
    before = lab.cluster.store.revision
    await asyncio.sleep(1)
    assert lab.cluster.store.revision == before
    assert len(events(caplog, "certificates_hindered")) == 1
    assert await lab.data() == {}


async def test_a_clock_that_jumps_neither_changes_nor_stops_what_is_served(lab: Lab) -> None:
    """The others go on, and the one comes back when its clock does."""
    ahead = [0.0]
    right, wrong = await ready(lab), await ready(lab, clock=lambda: lab.clock() + ahead[0])
    before, revision = await lab.data(), lab.cluster.store.revision
    for jump in (11 * YEAR, -5 * YEAR):
        ahead[0] = jump
        said = await until(wrong.rotation.trouble, 10)
        assert "clock" in said
        await asyncio.sleep(0.7)
        await handshake(wrong.port, await bundle_of(lab))
        assert right.rotation.trouble() == ""
        assert await lab.data() == before
        assert lab.cluster.store.revision == revision
    ahead[0] = 0
    await until(lambda: not wrong.rotation.trouble(), 10)


async def test_an_api_server_that_is_away_is_said_once_and_come_back_to(
    lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    replica = await ready(lab)
    bundle = await bundle_of(lab)
    await lab.go_away()
    await until(lambda: events(caplog, "certificates_hindered"))
    await asyncio.sleep(1.5)
    assert len(events(caplog, "certificates_hindered")) == 1
    await handshake(replica.port, bundle)
    # Nobody can tell any more whether it is trusted: another replica may have gone on with the rotation.
    said = await until(replica.rotation.trouble, 10)
    assert "unknown" in said
    assert "no answer from" in said
    await lab.come_back()
    await until(lambda: not replica.rotation.trouble())
    assert replica.rotation.rotations == 1
    assert events(caplog, "certificates_unhindered")


async def test_a_leaf_that_openssl_refuses_lengthens_no_silence(lab: Lab) -> None:
    """It is as good as none, and nobody gives up the authority that signs."""
    replica = await ready(lab)
    await lab.grant("secrets", _without("secrets", "update"))
    await lab.fill(_short_key(await lab.data(), lab.clock()))
    await asyncio.sleep(1)
    assert replica.rotation.trouble() == ""
    await lab.go_away()
    await asyncio.sleep(QUICK.stale_seconds + 0.5)
    assert replica.rotation.trouble()
    await lab.come_back()
    await until(lambda: not replica.rotation.trouble(), 10)


async def test_no_key_is_logged_or_shown(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    replica = await ready(lab)
    await lab.fill({})
    await until(lambda: replica.rotation.rotations == 2)
    data = await lab.data()
    held = secret_codec.read(data, HOST)
    shown = repr(held) + "".join(f"{vars(record)}" for record in caplog.records)
    assert "PRIVATE KEY" not in shown
    for name in (names.CA_KEY, names.TLS_KEY):
        assert data[name].decode().splitlines()[3] not in shown


# ----------------------------------------------------------------------------------------------- helpers


def _stranger() -> bytes:
    import trustme

    return trustme.CA().cert_pem.bytes()


def _ids(pem: str) -> set[str]:
    return {each.id for each in secret_codec.authorities(pem.encode())}


async def _holds(lab: Lab, ids: set[str]) -> bool:
    return _ids(await bundle_of(lab)) == ids


async def _is(lab: Lab, bundle: str) -> bool:
    return await bundle_of(lab) == bundle


async def _whole(lab: Lab, name: str, count: int) -> bool:
    found = await lab.bundles(name)
    return len([each for each in found if each]) == count
