"""The reason why a replica is not ready, in one sentence."""

from dataclasses import replace

import pytest

from podpass.admission.certificates.ca_bundles import ObservedConfiguration
from podpass.admission.certificates.model import ServedCertificate, StoredCertificates
from podpass.admission.certificates.status import API, CLOCK, READING, CertificateStatus
from tests.admission.certificates.fake_issuer import NOW, POLICY, FakeIssuer

TICKS = 1000.0
ISSUER = FakeIssuer()
A, B = ISSUER.create_ca(), ISSUER.create_ca()
LEAF = ISSUER.sign_leaf(A)


@pytest.fixture
def status() -> CertificateStatus:
    made = CertificateStatus(POLICY)
    made.served = ServedCertificate(leaf=LEAF, ca=A)
    made.certificates = StoredCertificates(current=A, leaf=LEAF)
    made.configurations = {
        "one": ObservedConfiguration(name="one", object={}, bundles=((A,), (B, A)))
    }
    made.configurations_read_at = made.secret_read_at = TICKS
    return made


def test_ca_in_every_bundle_is_ready(status: CertificateStatus) -> None:
    assert status.not_ready_reason(NOW, TICKS) == ""
    assert status.not_ready_reason(NOW, TICKS + POLICY.stale_seconds - 0.1) == ""


def test_one_entry_without_the_ca_is_not_ready(status: CertificateStatus) -> None:
    status.configurations["one"] = ObservedConfiguration(
        name="one", object={}, bundles=((A,), (B,))
    )
    message = status.not_ready_reason(NOW, TICKS)
    assert (
        message == "a caBundle of MutatingWebhookConfiguration one does not contain the CA in use"
    )
    status.set_condition("one", "it may not be written")
    assert status.not_ready_reason(NOW, TICKS).endswith(
        "does not contain the CA in use: it may not be written"
    )


def test_certificate_is_valid_from_not_before_until_not_after(status: CertificateStatus) -> None:
    assert status.not_ready_reason(LEAF.not_before, TICKS) == ""
    assert "is not valid before" in status.not_ready_reason(LEAF.not_before - 1, TICKS)
    assert status.not_ready_reason(LEAF.not_after - 1, TICKS) == ""
    assert "expired at" in status.not_ready_reason(LEAF.not_after, TICKS)
    status.set_condition(CLOCK, "this machine's clock is a year ahead")
    assert "is a year ahead" in status.not_ready_reason(LEAF.not_after, TICKS)


def test_reports_unknown_trust_after_lost_api_server(status: CertificateStatus) -> None:
    status.set_condition(API, "no answer from the server")
    message = status.not_ready_reason(NOW, TICKS + POLICY.stale_seconds)
    assert "unknown since 25 s" in message
    assert "no answer from the server" in message


def test_unreadable_secret_is_not_ready_only_after_ca_is_added(status: CertificateStatus) -> None:
    """A removed permission must not make every replica unready."""
    status.secret_read_at = TICKS - POLICY.stale_seconds
    status.set_condition(READING, "it is forbidden to get secrets")
    status.certificates = StoredCertificates(current=A, old=(B,))
    assert status.not_ready_reason(NOW, TICKS) == ""
    added = replace(B, id="joined")
    status.configurations["one"] = ObservedConfiguration(
        name="one", object={}, bundles=((A, added),)
    )
    message = status.not_ready_reason(NOW, TICKS)
    assert "another CA was added" in message
    assert "it is forbidden to get secrets" in message


def test_unreadable_secret_during_rotation_is_not_ready(status: CertificateStatus) -> None:
    """The other replicas rotate, and remove the served CA."""
    status.secret_read_at = TICKS - POLICY.stale_seconds
    status.certificates = StoredCertificates(current=A, leaf=LEAF, added=B)
    status.configurations["one"] = ObservedConfiguration(name="one", object={}, bundles=((A, B),))
    assert "another CA" in status.not_ready_reason(NOW, TICKS)
    status.certificates = StoredCertificates(current=B, old=(A,))
    assert "another CA" in status.not_ready_reason(NOW, TICKS)
    status.certificates = StoredCertificates(current=replace(B, id="third"), old=(B, A))
    assert "another CA" in status.not_ready_reason(NOW, TICKS), "B's leaf was never served here"
    status.set_condition(API, "no answer from the server")
    assert status.not_ready_reason(NOW, TICKS).endswith("cannot follow: no answer from the server")
    status.certificates = StoredCertificates(current=A, leaf=LEAF, old=(B,))
    assert status.not_ready_reason(NOW, TICKS) == ""
    status.certificates = StoredCertificates(faults=("emptied",))
    status.configurations["one"] = ObservedConfiguration(name="one", object={}, bundles=((A,),))
    assert status.not_ready_reason(NOW, TICKS) == ""


def test_replica_with_slow_clock_is_not_ready_after_promotion(status: CertificateStatus) -> None:
    """The new leaf is not valid here yet, so this replica serves the old one, whose CA the others remove."""
    status.certificates = StoredCertificates(current=B, leaf=ISSUER.sign_leaf(B), old=(A,))
    assert status.not_ready_reason(NOW, TICKS) == ""
    status.certificates = StoredCertificates(
        current=B, leaf=replace(ISSUER.sign_leaf(B), not_before=NOW + 1), old=(A,)
    )
    assert "is not valid here: this machine's clock shows" in status.not_ready_reason(NOW, TICKS)
    status.set_condition(CLOCK, "this machine's clock is 10800 s behind the API server's")
    assert "is 10800 s behind" in status.not_ready_reason(NOW, TICKS)


def test_unread_secret_is_reported() -> None:
    assert "has not been read" in CertificateStatus(POLICY).not_ready_reason(NOW, TICKS)


def test_condition_is_logged_when_set_and_when_cleared(
    status: CertificateStatus, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "podpass")
    for problem in ("forbidden", "forbidden", "", ""):
        status.set_condition("one", problem)
        assert status.is_degraded is bool(problem)
    assert [record.message for record in caplog.records] == [
        "certificate_rotation_degraded",
        "certificate_rotation_recovered",
    ]
