"""Migration from the reference and back: the certificates stay in use, and no call fails."""

import asyncio
import ssl

import pytest

from podpass import names
from podpass.admission.certificates import RotationPolicy, secret_codec
from podpass.admission.certificates.model import StoredCertificates
from podpass.admission.certificates.x509 import RsaCertificateIssuer
from tests.admission.certificates import reference
from tests.admission.certificates.lab import FAST, HOST, Lab, handshake
from tests.waiting import eventually

pytestmark = pytest.mark.processes

DAY = 24 * 3600
NOW = 1_800_000_000.0


def test_ca_of_the_reference_with_serial_number_zero_is_decoded() -> None:
    """Fails if decoding shows the library's warning, or treats it as damage."""
    data = reference.create_secret(NOW)
    certificates = secret_codec.decode_secret(data, HOST)
    assert certificates.faults == ()
    assert certificates.current is not None
    assert certificates.leaf is not None
    assert certificates.current.is_own
    assert certificates.current.not_after == NOW + 3650 * DAY
    assert certificates.leaf.not_after == NOW + 365 * DAY


@pytest.mark.parametrize("added", [False, True])
@pytest.mark.parametrize("old", [0, 2])
def test_reference_accepts_the_secret_at_every_step(added: bool, old: int) -> None:
    issuer = RsaCertificateIssuer(host=HOST, now=NOW, policy=RotationPolicy())
    first = issuer.create_ca()
    certificates = StoredCertificates(
        current=first,
        leaf=issuer.sign_leaf(first),
        added=issuer.create_ca() if added else None,
        old=tuple(issuer.create_ca() for _ in range(old)),
    )
    data = secret_codec.encode_secret(certificates)
    assert reference.find_outdated(data, NOW) == "nothing"
    assert reference.find_outdated(data, NOW + 274 * DAY) == "nothing", (
        "podpass renews before the reference does"
    )
    assert reference.find_outdated(data, NOW + 276 * DAY) == "leaf"
    again = secret_codec.decode_secret(data, HOST)
    assert [each.id for each in again.cas] == [each.id for each in certificates.cas]
    assert (again.added is None) != added
    assert again.leaf == certificates.leaf


async def test_ca_and_leaf_of_the_reference_are_used_without_a_write(lab: Lab) -> None:
    data = reference.create_secret(lab.clock())
    await lab.write_secret(data)
    await lab.overwrite_bundles(data["ca.crt"])
    before = lab.cluster.store.revision
    replica = await lab.replica()
    await eventually(lambda: not replica.rotation.not_ready_reason())
    (bundle,) = await lab.bundles()
    served = await handshake(replica.port, bundle)
    assert served == ssl.PEM_cert_to_DER_cert(data["tls.crt"].decode())
    await asyncio.sleep(1)
    assert lab.cluster.store.revision == before
    assert await lab.data() == data


async def test_leaf_of_the_reference_is_renewed_by_its_own_ca(lab: Lab) -> None:
    data = reference.create_secret(lab.clock(), leaf_days=90.5)
    await lab.write_secret(data)
    await lab.overwrite_bundles(data["ca.crt"])
    replica = await lab.replica()
    await eventually(lambda: replica.rotation.rotations == 2)
    assert replica.rotation.not_ready_reason() == ""
    after = await lab.data()
    assert secret_codec.decode_bundle(after["ca.crt"]) == secret_codec.decode_bundle(data["ca.crt"])
    assert after["ca.key"] == data["ca.key"]
    assert reference.find_outdated(after, lab.clock()) == "nothing"
    await handshake(replica.port, data["ca.crt"].decode())


async def test_ca_of_the_reference_is_replaced_with_an_overlap(lab: Lab) -> None:
    data = reference.create_secret(lab.clock(), ca_days=90.5, leaf_days=90.5)
    await lab.write_secret(data)
    await lab.overwrite_bundles(data["ca.crt"])
    replica = await lab.replica()
    await eventually(lambda: replica.rotation.rotations == 2)
    (bundle,) = await lab.bundles()
    assert bundle.count("BEGIN CERTIFICATE") == 2
    (before,) = secret_codec.decode_bundle(data["ca.crt"])
    assert before in secret_codec.decode_bundle(bundle.encode()), "the old CA is still trusted"
    after = await lab.data()
    assert reference.find_outdated(after, lab.clock()) == "nothing"
    assert secret_codec.decode_bundle(after["ca.crt"])[1] == before
    await eventually(lambda: _is_only_ca(lab, secret_codec.decode_bundle(after["ca.crt"])[0].id))


async def test_reference_that_copies_ca_crt_causes_no_write_conflict(lab: Lab) -> None:
    """It replaces every bundle by `ca.crt`, which is the desired content."""
    replica = await lab.replica()
    await eventually(lambda: not replica.rotation.not_ready_reason())
    for _ in range(5):
        await lab.overwrite_bundles((await lab.data())["ca.crt"])
        await asyncio.sleep(0.1)
        before = lab.cluster.store.revision
        await asyncio.sleep(0.5)
        assert lab.cluster.store.revision == before
    assert replica.rotation.not_ready_reason() == ""


async def test_ca_replaced_by_azwi_is_not_served_before_it_is_trusted(lab: Lab) -> None:
    """Its rotation has no overlap: podpass restores the old CA until it serves the new leaf."""
    replica = await lab.replica()
    await eventually(lambda: not replica.rotation.not_ready_reason())
    (before,) = await lab.bundles()
    data = reference.create_secret(lab.clock())
    await lab.write_secret(data)
    new = secret_codec.decode_bundle(data["ca.crt"])[0].id

    async def is_added() -> bool:
        (bundle,) = await lab.bundles()
        return new in {each.id for each in secret_codec.decode_bundle(bundle.encode())}

    while not await is_added():
        await handshake(replica.port, before)
    (both,) = await lab.bundles()
    assert both.count("BEGIN CERTIFICATE") == 2
    await eventually(lambda: replica.rotation.rotations == 2)
    await handshake(replica.port, data["ca.crt"].decode())
    assert replica.rotation.not_ready_reason() == ""
    after = await lab.data()
    assert after["ca.key"] == data["ca.key"]
    assert reference.find_outdated(after, lab.clock()) == "nothing"


async def test_secret_has_the_four_keys_of_the_reference(lab: Lab) -> None:
    replica = await lab.replica(policy=FAST)
    await eventually(lambda: not replica.rotation.not_ready_reason())
    data = await lab.data()
    assert {names.CA_CERTIFICATE, names.CA_KEY, names.TLS_CERTIFICATE, names.TLS_KEY} == set(data)
    assert reference.find_outdated(data, lab.clock()) == "nothing"
    assert data[names.TLS_KEY].startswith(b"-----BEGIN RSA PRIVATE KEY-----")


async def _is_only_ca(lab: Lab, ca_id: str) -> bool:
    (bundle,) = await lab.bundles()
    return [each.id for each in secret_codec.decode_bundle(bundle.encode())] == [ca_id]
