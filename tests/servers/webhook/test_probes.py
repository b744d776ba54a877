"""Probes: paths and queries of the reference, and the reason in the response."""

from functools import partial

import pytest

from podpass.servers.webhook.probes import Probe, answer
from tests.servers.webhook.running import Webhook


def probe(**reasons: str) -> Probe:
    return Probe(name="readyz", checks={name: partial(str, why) for name, why in reasons.items()})


WELL, ILL = probe(certificate="", accounts=""), probe(certificate="", accounts="not listed yet")


def test_successful_probe_returns_ok() -> None:
    assert answer(WELL, "", "") == (200, "ok")


def test_verbose_probe_lists_its_checks() -> None:
    text = "[+]certificate ok\n[+]accounts ok\nreadyz check passed\n"
    assert answer(WELL, "", "verbose") == (200, text)


def test_failed_probe_begins_with_the_reason() -> None:
    text = (
        "not listed yet\n[+]certificate ok\n[-]accounts failed: not listed yet\n"
        "readyz check failed\n"
    )
    assert answer(ILL, "", "") == (500, text)


def test_excluded_check_is_ignored() -> None:
    text = "[+]certificate ok\n[+]accounts excluded: ok\nreadyz check passed\n"
    assert answer(ILL, "", "exclude=accounts") == (200, "ok")
    assert answer(ILL, "", "exclude=accounts&verbose") == (200, text)
    assert answer(ILL, "", "exclude=readyz") == (200, "ok"), "the reference's only check"
    assert answer(ILL, "", "exclude=other")[0] == 500
    assert "no check to exclude has the name other" in answer(ILL, "", "exclude=other")[1]


@pytest.mark.parametrize(
    ("rest", "status", "text"),
    [
        ("certificate", 200, "ok"),
        ("accounts", 500, "internal server error: not listed yet\n"),
        ("other", 404, "no check has the name 'other'; the checks are certificate, accounts\n"),
    ],
)
def test_each_check_has_its_own_path(rest: str, status: int, text: str) -> None:
    assert answer(ILL, rest, "") == (status, text)


def test_check_of_the_reference_means_all_checks() -> None:
    assert answer(WELL, "readyz", "") == (200, "ok")
    assert answer(ILL, "readyz", "")[0] == 500


def test_both_probes_are_served_over_http(webhook: Webhook) -> None:
    webhook.start()
    assert webhook.get("/readyz").text == "ok"
    assert webhook.get("/readyz/").text == "ok"
    assert webhook.get("/healthz/healthz").text == "ok"
    lines = webhook.get("/readyz?verbose").text.splitlines()
    assert lines[-1] == "readyz check passed"
    assert {line.split()[0] for line in lines[:-1]} == {
        "[+]shutdown",
        "[+]version",
        "[+]certificate",
        "[+]accounts",
        "[+]handshake",
    }
    assert webhook.get("/readyz/handshake").text == "ok"
    assert webhook.get("/readyz/nothing").status == 404
    assert webhook.get("/other").status == 404
    assert webhook.get("/readyz", method="POST").status == 405
    assert webhook.get("/readyz", method="HEAD").status == 200
