"""To podpass and back: an installation's certificates go on, and no call fails on the way."""

import asyncio
import ssl

import pytest

from podpass import names
from podpass.admission.certificates import Plan, secret_codec
from podpass.admission.certificates.model import Held
from podpass.admission.certificates.x509 import RsaMaker
from tests.admission.certificates import reference
from tests.admission.certificates.lab import HOST, QUICK, Lab, handshake, until

DAY = 24 * 3600
NOW = 1_800_000_000.0


def test_the_reference_signs_its_authority_with_a_serial_number_that_is_read_here() -> None:
    """Fails if reading lets the library's warning through, or takes it for damage."""
    data = reference.secret(NOW)
    held = secret_codec.read(data, HOST)
    assert held.faults == ()
    assert held.current is not None
    assert held.leaf is not None
    assert held.current.ours
    assert held.current.not_after == NOW + 3650 * DAY
    assert held.leaf.not_after == NOW + 365 * DAY


@pytest.mark.parametrize("coming", [False, True])
@pytest.mark.parametrize("old", [0, 2])
def test_the_reference_keeps_what_was_written_here_at_every_step(coming: bool, old: int) -> None:
    maker = RsaMaker(host=HOST, now=NOW, plan=Plan())
    first = maker.authority()
    held = Held(
        current=first,
        leaf=maker.leaf(first),
        coming=maker.authority() if coming else None,
        old=tuple(maker.authority() for _ in range(old)),
    )
    data = secret_codec.written(held)
    assert reference.keeps(data, NOW) == "nothing"
    assert reference.keeps(data, NOW + 274 * DAY) == "nothing", "we renew before it would"
    assert reference.keeps(data, NOW + 276 * DAY) == "leaf"
    again = secret_codec.read(data, HOST)
    assert [each.id for each in again.authorities] == [each.id for each in held.authorities]
    assert (again.coming is None) != coming
    assert again.leaf == held.leaf


async def test_its_authority_and_leaf_are_taken_over_and_nothing_is_written(lab: Lab) -> None:
    data = reference.secret(lab.clock())
    await lab.fill(data)
    await lab.overwrite(data["ca.crt"])
    before = lab.cluster.store.revision
    replica = await lab.replica()
    await until(lambda: not replica.rotation.trouble())
    (bundle,) = await lab.bundles()
    served = await handshake(replica.port, bundle)
    assert served == ssl.PEM_cert_to_DER_cert(data["tls.crt"].decode())
    await asyncio.sleep(1)
    assert lab.cluster.store.revision == before
    assert await lab.data() == data


async def test_its_leaf_is_renewed_by_its_own_authority(lab: Lab) -> None:
    data = reference.secret(lab.clock(), leaf_days=90.5)
    await lab.fill(data)
    await lab.overwrite(data["ca.crt"])
    replica = await lab.replica()
    await until(lambda: replica.rotation.rotations == 2)
    assert replica.rotation.trouble() == ""
    after = await lab.data()
    assert secret_codec.authorities(after["ca.crt"]) == secret_codec.authorities(data["ca.crt"])
    assert after["ca.key"] == data["ca.key"]
    assert reference.keeps(after, lab.clock()) == "nothing"
    await handshake(replica.port, data["ca.crt"].decode())


async def test_its_authority_is_replaced_with_an_overlap(lab: Lab) -> None:
    data = reference.secret(lab.clock(), ca_days=90.5, leaf_days=90.5)
    await lab.fill(data)
    await lab.overwrite(data["ca.crt"])
    replica = await lab.replica()
    await until(lambda: replica.rotation.rotations == 2)
    (bundle,) = await lab.bundles()
    assert bundle.count("BEGIN CERTIFICATE") == 2
    (before,) = secret_codec.authorities(data["ca.crt"])
    assert before in secret_codec.authorities(bundle.encode()), "the old one is still trusted"
    after = await lab.data()
    assert reference.keeps(after, lab.clock()) == "nothing"
    assert secret_codec.authorities(after["ca.crt"])[1] == before
    await until(lambda: _alone(lab, secret_codec.authorities(after["ca.crt"])[0].id))


async def test_a_reference_beside_us_that_copies_ca_crt_is_not_quarrelled_with(lab: Lab) -> None:
    """It replaces every bundle by `ca.crt`: what it writes is what we want, and a stranger's is not ours."""
    replica = await lab.replica()
    await until(lambda: not replica.rotation.trouble())
    for _ in range(5):
        await lab.overwrite((await lab.data())["ca.crt"])
        await asyncio.sleep(0.1)
        before = lab.cluster.store.revision
        await asyncio.sleep(0.5)
        assert lab.cluster.store.revision == before
    assert replica.rotation.trouble() == ""


async def test_an_authority_that_it_changes_at_once_is_not_served_before_it_is_trusted(
    lab: Lab,
) -> None:
    """Its rotation has no overlap: we give it one, and take the old authority back until we have turned."""
    replica = await lab.replica()
    await until(lambda: not replica.rotation.trouble())
    (before,) = await lab.bundles()
    data = reference.secret(lab.clock())
    await lab.fill(data)
    new = secret_codec.authorities(data["ca.crt"])[0].id

    async def joined() -> bool:
        (bundle,) = await lab.bundles()
        return new in {each.id for each in secret_codec.authorities(bundle.encode())}

    while not await joined():
        await handshake(replica.port, before)
    (both,) = await lab.bundles()
    assert both.count("BEGIN CERTIFICATE") == 2
    await until(lambda: replica.rotation.rotations == 2)
    await handshake(replica.port, data["ca.crt"].decode())
    assert replica.rotation.trouble() == ""
    after = await lab.data()
    assert after["ca.key"] == data["ca.key"]
    assert reference.keeps(after, lab.clock()) == "nothing"


async def test_going_back_the_reference_finds_its_four_keys(lab: Lab) -> None:
    replica = await lab.replica(plan=QUICK)
    await until(lambda: not replica.rotation.trouble())
    data = await lab.data()
    assert {names.CA_CERTIFICATE, names.CA_KEY, names.TLS_CERTIFICATE, names.TLS_KEY} == set(data)
    assert reference.keeps(data, lab.clock()) == "nothing"
    assert data[names.TLS_KEY].startswith(b"-----BEGIN RSA PRIVATE KEY-----")


async def _alone(lab: Lab, authority: str) -> bool:
    (bundle,) = await lab.bundles()
    return [each.id for each in secret_codec.authorities(bundle.encode())] == [authority]
