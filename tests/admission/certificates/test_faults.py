"""Changes of Secret and configurations by other writers, missing permissions, and wrong clocks."""

import asyncio
import logging
import ssl
from collections.abc import Callable
from typing import Any

import pytest
import trustme

from podpass import names
from podpass.admission.certificates import RotationPolicy, secret_codec, x509
from podpass.admission.certificates.x509 import RsaCertificateIssuer
from podpass.kubernetes.client import KubeError
from tests.admission.certificates import reference
from tests.admission.certificates.lab import (
    CONFIGURATIONS,
    FAST,
    HOST,
    MAIN,
    RULES,
    SECOND,
    SECRET,
    SECRETS,
    Lab,
    Replica,
    configuration,
    handshake,
)
from tests.waiting import eventually

pytestmark = pytest.mark.processes

DAY = 24 * 3600
YEAR = 365 * DAY
Data = dict[str, bytes]


@pytest.fixture(autouse=True)
def _log_level(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "podpass.admission.certificates")


def events(caplog: pytest.LogCaptureFixture, name: str) -> list[dict[str, Any]]:
    return [vars(record) for record in caplog.records if record.message == name]


async def start_ready(lab: Lab, **how: Any) -> Replica:
    replica = await lab.replica(**how)
    await eventually(lambda: not replica.rotation.not_ready_reason())
    return replica


async def read_bundle(lab: Lab, name: str = MAIN) -> str:
    first, *rest = await lab.bundles(name)
    assert all(each == first for each in rest)
    return first


# -------------------------------------------------------------------------------------- configurations


@pytest.mark.parametrize("removed", [b"", b"no PEM at all"])
async def test_overwritten_bundle_is_repaired(
    lab: Lab, caplog: pytest.LogCaptureFixture, removed: bytes
) -> None:
    # There is no periodic reconcile: only the watch event wakes the replica.
    policy = RotationPolicy(propagation_seconds=0.4, check_seconds=3600)
    await start_ready(lab, policy=policy)
    before = await read_bundle(lab)
    await lab.overwrite_bundles(removed)
    await eventually(lambda: _has_bundle(lab, before), 10)
    (repaired,) = events(caplog, "ca_bundle_repaired")
    assert repaired["configuration"] == MAIN
    assert repaired["changed_by"] == "podpass"  # the user agent of the test's client


async def test_every_entry_of_every_configuration_gets_the_bundle(lab: Lab) -> None:
    await lab.admin.create(CONFIGURATIONS, configuration(SECOND, hooks=3))
    await start_ready(lab, configurations=(MAIN, SECOND))
    found = await lab.admin.get(f"{CONFIGURATIONS}/{SECOND}")
    del found["webhooks"][1]["clientConfig"]["caBundle"]
    await lab.admin.replace(f"{CONFIGURATIONS}/{SECOND}", found)
    await eventually(lambda: _has_certificates_in_all_entries(lab, SECOND, 3), 10)
    assert await read_bundle(lab, SECOND) == await read_bundle(lab)


async def test_recreated_configuration_gets_its_bundle(lab: Lab) -> None:
    replica = await start_ready(lab)
    before = await read_bundle(lab)
    await lab.admin.delete(f"{CONFIGURATIONS}/{MAIN}")
    await eventually(lambda: "is missing" in replica.rotation.not_ready_reason(), 10)
    await lab.admin.create(CONFIGURATIONS, configuration(MAIN))
    await eventually(lambda: not replica.rotation.not_ready_reason(), 10)
    assert await read_bundle(lab) == before


async def test_foreign_ca_stays_in_bundle_and_removed_own_ca_does_not(lab: Lab) -> None:
    """A migration from or to cert-manager needs both for some time."""
    replica = await start_ready(lab)
    own = await read_bundle(lab)
    issuer = RsaCertificateIssuer(host=HOST, now=lab.clock(), policy=RotationPolicy())
    gone = issuer.create_ca().certificate
    foreign = _create_foreign_ca()
    await lab.overwrite_bundles(foreign + gone)
    want = {each.id for each in secret_codec.decode_bundle(own.encode() + foreign)}
    await eventually(lambda: _has_ids(lab, want), 10)
    await eventually(lambda: not replica.rotation.not_ready_reason(), 10)


async def test_repairs_of_a_repeatedly_overwritten_bundle_back_off(
    lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    replica = await start_ready(lab)
    own = await read_bundle(lab)
    foreign = _create_foreign_ca().decode()
    for _ in range(40):
        if await read_bundle(lab) != foreign:
            await lab.overwrite_bundles(foreign.encode())
        await asyncio.sleep(0.1)
    repairs = events(caplog, "ca_bundle_repaired")
    assert 2 <= len(repairs) <= 4
    assert "keeps overwriting it" in replica.rotation.not_ready_reason()
    await eventually(lambda: _has_ids(lab, _decode_ids(own + foreign)), 30)
    await eventually(lambda: not replica.rotation.not_ready_reason(), 10)


# ------------------------------------------------------------------------------------------ the Secret


def _replace_with_garbage(data: Data, _now: float) -> Data:
    return data | {
        names.CA_CERTIFICATE: b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"
    }


def _replace_ca_key(data: Data, now: float) -> Data:
    return data | {names.CA_KEY: reference.create_secret(now)[names.CA_KEY]}


def _replace_leaf(data: Data, now: float) -> Data:
    other = reference.create_secret(now)
    return data | {name: other[name] for name in (names.TLS_CERTIFICATE, names.TLS_KEY)}


def _change_host(data: Data, now: float) -> Data:
    certificates = secret_codec.decode_secret(data, HOST)
    assert certificates.current is not None
    leaf = RsaCertificateIssuer(host="other.svc", now=now, policy=RotationPolicy()).sign_leaf(
        certificates.current
    )
    return data | {names.TLS_CERTIFICATE: leaf.chain, names.TLS_KEY: leaf.key}


def _shorten_leaf_key(data: Data, now: float) -> Data:
    """Return a valid leaf that OpenSSL's security level refuses."""
    certificates = secret_codec.decode_secret(data, HOST)
    assert certificates.current is not None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(x509, "_BITS", 1024)
        leaf = RsaCertificateIssuer(host=HOST, now=now, policy=RotationPolicy()).sign_leaf(
            certificates.current
        )
    return data | {names.TLS_CERTIFICATE: leaf.chain, names.TLS_KEY: leaf.key}


def _replace_leaf_key(data: Data, now: float) -> Data:
    return data | {names.TLS_KEY: reference.create_secret(now)[names.TLS_KEY]}


def _expire(data: Data, now: float) -> Data:
    return data | reference.create_secret(now - 11 * YEAR)


def _make_not_yet_valid(data: Data, now: float) -> Data:
    return data | reference.create_secret(now + 2 * YEAR)


def _remove_all_keys(_data: Data, _now: float) -> Data:
    return {}


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (_replace_with_garbage, "a certificate cannot be read"),
        (_replace_ca_key, "ca.key does not belong to ca.crt"),
        (_replace_leaf, "tls.crt is not signed by the first CA of ca.crt"),
        (_change_host, f"tls.crt is not for {HOST}"),
        (_shorten_leaf_key, "not a valid pair"),
        (_replace_leaf_key, "tls.key does not belong to tls.crt"),
        (_expire, "the CA has expired"),
        (_make_not_yet_valid, "the CA is not valid yet"),
        (_remove_all_keys, "the Secret is empty"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
async def test_damaged_secret_is_repaired_without_failed_calls(
    lab: Lab, caplog: pytest.LogCaptureFixture, broken: Callable[[Data, float], Data], why: str
) -> None:
    await lab.write_secret(data := reference.create_secret(lab.clock()))
    await lab.overwrite_bundles(data[names.CA_CERTIFICATE])
    replica = await start_ready(lab)
    serving = replica.rotation.rotations
    await lab.write_secret(broken(data, lab.clock()))

    async def is_repaired() -> bool:
        await handshake(replica.port, await read_bundle(lab))
        assert replica.rotation.not_ready_reason() == ""
        return replica.rotation.rotations > serving

    await eventually(is_repaired)
    logged = [*events(caplog, "ca_created"), *events(caplog, "certificate_signed")]
    assert any(why in each["why"] for each in logged)
    assert reference.find_outdated(await lab.data(), lab.clock()) == "nothing"
    fresh = await start_ready(lab)
    await handshake(fresh.port, await read_bundle(lab))


async def test_repairs_of_a_repeatedly_damaged_secret_back_off(
    lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    replica = await start_ready(lab)
    for _ in range(30):
        await lab.write_secret({})
        await asyncio.sleep(0.1)
    assert len(events(caplog, "ca_created")) <= 3
    assert replica.rotation.is_degraded
    assert not events(caplog, "certificate_rotation_recovered"), "it is logged once"
    assert any(
        "is damaged repeatedly" in each["cause"]
        for each in events(caplog, "certificate_rotation_degraded")
    )
    assert replica.rotation.not_ready_reason() == "", "the served certificate is still trusted"


async def test_secret_with_many_old_cas_is_degraded(lab: Lab) -> None:
    """A writer that empties the Secret every hour never triggers the backoff."""
    replica = await start_ready(lab)
    data = await lab.data()
    issuer = RsaCertificateIssuer(host=HOST, now=lab.clock(), policy=RotationPolicy())
    gathered = [secret_codec.encode_bundle([issuer.create_ca()]) for _ in range(5)]
    await lab.write_secret(
        data | {names.CA_CERTIFICATE: data[names.CA_CERTIFICATE] + b"".join(gathered)}
    )
    await eventually(lambda: replica.rotation.is_degraded, 10)
    assert replica.rotation.not_ready_reason() == "", "the served certificate is still trusted"
    await lab.write_secret(data)
    await eventually(lambda: not replica.rotation.is_degraded, 10)


async def test_missing_secret_without_create_permission_is_reported(rbac_only_lab: Lab) -> None:
    await rbac_only_lab.admin.create(CONFIGURATIONS, configuration(MAIN))
    await rbac_only_lab.grant("secrets", _drop_verb("secrets", "create"))
    replica = await rbac_only_lab.replica()
    message = await eventually(
        lambda: "is missing" in (t := replica.rotation.not_ready_reason()) and t
    )
    assert names.CERTIFICATE_SECRET in message
    assert 'cannot create resource "secrets"' in message
    await rbac_only_lab.admin.create(SECRETS, {"metadata": {"name": names.CERTIFICATE_SECRET}})
    await eventually(lambda: not replica.rotation.not_ready_reason())


async def test_missing_secret_is_created(rbac_only_lab: Lab) -> None:
    await rbac_only_lab.admin.create(CONFIGURATIONS, configuration(MAIN))
    await start_ready(rbac_only_lab)
    assert (await rbac_only_lab.admin.get(SECRET))["type"] == "Opaque"
    assert reference.find_outdated(await rbac_only_lab.data(), rbac_only_lab.clock()) == "nothing"


async def test_deleted_secret_and_replaced_bundle_are_repaired(lab: Lab) -> None:
    """Until the bundle is repaired, API servers refuse every labelled pod."""
    replicas = [await start_ready(lab), await start_ready(lab)]
    issuer = RsaCertificateIssuer(host=HOST, now=lab.clock(), policy=RotationPolicy())
    foreign_ca = issuer.create_ca().certificate
    await lab.admin.delete(SECRET)
    await lab.overwrite_bundles(foreign_ca)

    async def is_trusted() -> bool:
        bundle = await read_bundle(lab)
        try:
            for replica in lab.replicas:
                await handshake(replica.port, bundle)
        except ssl.SSLError:
            return False
        return True

    await eventually(is_trusted, 60)
    await eventually(lambda: _has_secret(lab), 60)
    # A replica that starts now is ready, and the others are ready all the time.
    await start_ready(lab)
    await eventually(is_trusted)
    assert [each.rotation.not_ready_reason() for each in replicas] == ["", ""]


async def _has_secret(lab: Lab) -> bool:
    try:
        return names.CA_CERTIFICATE in await lab.data()
    except KubeError as exc:
        assert exc.status == 404
        return False


async def test_other_keys_of_the_secret_are_unchanged(lab: Lab) -> None:
    await lab.write_secret({"note": b"of another program"})
    await start_ready(lab)
    assert (await lab.data())["note"] == b"of another program"


# ----------------------------------------------------------------------------------------- permissions


def _drop_verb(part: str, verb: str) -> list[dict[str, Any]]:
    rules = [
        {**rule, "verbs": [each for each in rule["verbs"] if each != verb]} for rule in RULES[part]
    ]
    return [rule for rule in rules if rule["verbs"]]


@pytest.mark.parametrize(
    ("part", "verb", "message"),
    [
        ("secrets", "get", 'cannot get resource "secrets"'),
        ("secrets", "update", 'cannot update resource "secrets"'),
        ("configurations", "get", 'cannot get resource "mutatingwebhookconfigurations"'),
        ("configurations", "update", 'cannot update resource "mutatingwebhookconfigurations"'),
    ],
)
async def test_missing_permission_is_reported_until_granted(
    lab: Lab, caplog: pytest.LogCaptureFixture, part: str, verb: str, message: str
) -> None:
    await lab.grant(part, _drop_verb(part, verb))
    replica = await lab.replica()
    await eventually(lambda: message in replica.rotation.not_ready_reason())
    await asyncio.sleep(1)
    assert message in replica.rotation.not_ready_reason()
    hindered = [
        each for each in events(caplog, "certificate_rotation_degraded") if message in each["cause"]
    ]
    assert len(hindered) == 1, "logged once, however often it fails"
    await lab.grant(part, RULES[part])
    await eventually(lambda: not replica.rotation.not_ready_reason())


@pytest.mark.parametrize("part", ["secrets", "configurations"])
async def test_replica_without_watch_permission_polls_the_secret(
    lab: Lab, caplog: pytest.LogCaptureFixture, part: str
) -> None:
    await lab.grant(part, _drop_verb(part, "watch"))
    await start_ready(lab)
    await eventually(lambda: events(caplog, "watch_forbidden"))
    before = await read_bundle(lab)
    await lab.overwrite_bundles(b"")
    await eventually(lambda: _has_bundle(lab, before), 10)


async def test_replica_without_permission_stays_ready_while_its_ca_is_trusted(lab: Lab) -> None:
    """A removed permission must not make all replicas unready at the same time."""
    replica = await start_ready(lab)
    await lab.grant("secrets", [])
    await asyncio.sleep(FAST.stale_seconds + 1)
    assert replica.rotation.not_ready_reason() == ""
    # A new CA in the bundle means a rotation that the replica cannot follow.
    added = RsaCertificateIssuer(host=HOST, now=lab.clock(), policy=RotationPolicy()).create_ca()
    await lab.overwrite_bundles((await read_bundle(lab)).encode() + added.certificate)
    message = await eventually(replica.rotation.not_ready_reason, 10)
    assert "another CA was added" in message
    assert 'cannot get resource "secrets"' in message


# --------------------------------------------------------------------------- clocks and disconnections


@pytest.mark.parametrize(("years", "way"), [(9, "ahead of"), (-3, "behind"), (30, "ahead of")])
async def test_replica_with_wrong_clock_creates_nothing_and_reports_it(
    lab: Lab, caplog: pytest.LogCaptureFixture, years: int, way: str
) -> None:
    replica = await lab.replica(clock=lambda: lab.clock() + years * YEAR)
    message = await eventually(lambda: "clock" in (t := replica.rotation.not_ready_reason()) and t)
    assert way in message
    before = lab.cluster.store.revision
    await asyncio.sleep(1)
    assert lab.cluster.store.revision == before
    assert len(events(caplog, "certificate_rotation_degraded")) == 1
    assert await lab.data() == {}


async def test_clock_jump_does_not_change_secret_or_served_certificate(lab: Lab) -> None:
    """The other replica keeps serving, and this one recovers with its clock."""
    ahead = [0.0]
    right, wrong = (
        await start_ready(lab),
        await start_ready(lab, clock=lambda: lab.clock() + ahead[0]),
    )
    before, revision = await lab.data(), lab.cluster.store.revision
    for jump in (11 * YEAR, -5 * YEAR):
        ahead[0] = jump
        message = await eventually(wrong.rotation.not_ready_reason, 10)
        assert "clock" in message
        await asyncio.sleep(0.7)
        await handshake(wrong.port, await read_bundle(lab))
        assert right.rotation.not_ready_reason() == ""
        assert await lab.data() == before
        assert lab.cluster.store.revision == revision
    ahead[0] = 0
    await eventually(lambda: not wrong.rotation.not_ready_reason(), 10)


async def test_unavailable_api_server_is_logged_once_and_replica_recovers(
    lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    replica = await start_ready(lab)
    bundle = await read_bundle(lab)
    await lab.stop_api_server()
    await eventually(lambda: events(caplog, "certificate_rotation_degraded"))
    await asyncio.sleep(1.5)
    assert len(events(caplog, "certificate_rotation_degraded")) == 1
    await handshake(replica.port, bundle)
    # The replica does not know whether it is trusted: another replica may have rotated.
    message = await eventually(replica.rotation.not_ready_reason, 10)
    assert "unknown" in message
    assert "no answer from" in message
    await lab.start_api_server()
    await eventually(lambda: not replica.rotation.not_ready_reason())
    assert replica.rotation.rotations == 1
    assert events(caplog, "certificate_rotation_recovered")


async def test_reconnected_replica_is_ready_again_although_openssl_refuses_the_stored_leaf(
    lab: Lab,
) -> None:
    """Such a leaf counts as missing, and no replica removes the current CA."""
    replica = await start_ready(lab)
    await lab.grant("secrets", _drop_verb("secrets", "update"))
    await lab.write_secret(_shorten_leaf_key(await lab.data(), lab.clock()))
    await asyncio.sleep(1)
    assert replica.rotation.not_ready_reason() == ""
    await lab.stop_api_server()
    await asyncio.sleep(FAST.stale_seconds + 0.5)
    assert replica.rotation.not_ready_reason()
    await lab.start_api_server()
    await eventually(lambda: not replica.rotation.not_ready_reason(), 10)


async def test_private_keys_are_not_logged_or_printed(
    lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    replica = await start_ready(lab)
    await lab.write_secret({})
    await eventually(lambda: replica.rotation.rotations == 2)
    data = await lab.data()
    certificates = secret_codec.decode_secret(data, HOST)
    shown = repr(certificates) + "".join(f"{vars(record)}" for record in caplog.records)
    assert "PRIVATE KEY" not in shown
    for name in (names.CA_KEY, names.TLS_KEY):
        assert data[name].decode().splitlines()[3] not in shown


# --------------------------------------------------------------------------------------------- helpers


def _create_foreign_ca() -> bytes:
    return trustme.CA().cert_pem.bytes()


def _decode_ids(pem: str) -> set[str]:
    return {each.id for each in secret_codec.decode_bundle(pem.encode())}


async def _has_ids(lab: Lab, ids: set[str]) -> bool:
    return _decode_ids(await read_bundle(lab)) == ids


async def _has_bundle(lab: Lab, bundle: str) -> bool:
    return await read_bundle(lab) == bundle


async def _has_certificates_in_all_entries(lab: Lab, name: str, count: int) -> bool:
    found = await lab.bundles(name)
    return len([each for each in found if each]) == count
