"""Group 16: an issuer whose name or address resolves to an internal host, with a real DNS server and TLS.

The fetcher runs in a network namespace (isolated_network.py) whose DNS server belongs to the test. The
forbidden addresses accept connections there: a single connection to one of them fails the test.
"""

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.exchange.attacks.isolated_network import FORBIDDEN, PUBLIC, PUBLIC_6, ZONE
from tests.run_program import run_text

ISLAND = Path(__file__).with_name("isolated_network.py")
NAMESPACE = ("unshare", "--user", "--map-root-user", "--net", "--mount")
METADATA = "169.254.169.254"
GOOD = {
    "https://good.test/": PUBLIC,
    "https://six.test/": PUBLIC_6,
    "https://rebinding.test/": PUBLIC,
}
REFUSED_NAMES = [
    *(
        [
            *("private", "loopback", "loopback6", "zero", "link-local", "mapped", "unique-local"),
            *("nat64", "mixed", "mixed6", "alias"),
        ]
    )
]
LITERALS = [
    *("127.0.0.1", "[::1]", METADATA, f"[::ffff:{METADATA}]", "[::ffff:a9fe:a9fe]", "0.0.0.0"),
    *("[::]", "2130706433", "017700000001", "0x7f000001", "0x7f.1", "127.1", "0251.0376.0251.0376"),
    *("2852039166", "[fd00:ec2::254]", "10.0.0.9", "localhost", "localhost.", "LOCALHOST"),
    *("metadata.google.internal", "metadata.google.internal."),
]
REDIRECTS = [
    f"https://good.test/redirect/{status}/{where}"
    for status in (301, 302, 303, 307, 308)
    for where in (
        f"https://{METADATA}/",
        f"http://{METADATA}/latest",
        "http://good.test/",
        "https://good.test/redirect/302/https://good.test/",
        "//10.0.0.9/",
    )
]
UNFIT = [
    *("http://good.test/", "https://user:secret@good.test/", "https://good.test@10.0.0.9/"),
    *("https://good.test/\r\nHost: 10.0.0.9", "https://good.test/%0d%0a\r\n"),
    *("https://good.test/ HTTP/1.1", "file:///etc/passwd", "ftp://good.test/"),
    *("data:application/json,{}", "gopher://good.test/"),
]
OTHERS = {
    "https://nothing.test/": "name",
    "https://unknown.test/": "name",
    "https://garbage.test/": "name",
    "https://silent.test/": "timeout",
}
ISSUERS = {"issuer:https://good.test": "ok", "issuer:https://rebinding-later.test": "address"}
URLS = [
    *GOOD,
    *(f"https://{name}.test/" for name in REFUSED_NAMES),
    *(f"https://{host}/" for host in LITERALS),
    *REDIRECTS,
    *UNFIT,
    *OTHERS,
    *ISSUERS,
]


def missing_requirements() -> str:
    """Return the requirements of an isolated network that this machine does not meet."""
    if not all(shutil.which(program) for program in ("unshare", "ip")):
        return "unshare and ip are not installed"
    done = run_text([*NAMESPACE, "true"])
    return done.stderr.strip()


@pytest.fixture(scope="module")
def fetch_results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Fetch every URL of this file once in the namespace."""
    if reason := missing_requirements():
        pytest.skip(f"group 16 with a real DNS server needs a network namespace: {reason}")
    folder = tmp_path_factory.mktemp("island")
    ca = trustme.CA()
    ca.cert_pem.write_to_path(folder / "ca.pem")
    names = [name for name in ZONE if "_" not in name]
    leaf = ca.issue_cert(*names, "localhost", PUBLIC, PUBLIC_6, "127.0.0.1", "::1", *FORBIDDEN)
    leaf.private_key_and_cert_chain_pem.write_to_path(folder / "leaf.pem")
    proxies = dict.fromkeys(("HTTPS_PROXY", "https_proxy", "ALL_PROXY"), "http://127.0.0.1:80")
    paths = os.pathsep.join(path for path in sys.path if path)
    done = run_text(
        [*NAMESPACE, sys.executable, str(ISLAND), str(folder)],
        input=json.dumps(URLS),
        env={**os.environ, **proxies, "SSL_CERT_FILE": str(folder / "ca.pem"), "PYTHONPATH": paths},
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    results: dict[str, Any] = json.loads(done.stdout)
    return results


@pytest.mark.parametrize("url", GOOD)
def test_public_host_is_contacted_at_the_checked_address(
    fetch_results: dict[str, Any], url: str
) -> None:
    """DNS rebinding: the name is resolved once, and a later DNS response is not used."""
    found, host = fetch_results[url], url.split("/")[2]
    assert (found["reason"], found["connected"]) == ("ok", [f"{GOOD[url]}:443"])
    assert found["lookups"] == {host: 1}
    assert f"host: {host}\r\n" in found["heads"][0].lower()


def test_address_is_resolved_and_checked_for_each_document(fetch_results: dict[str, Any]) -> None:
    """DNS rebinding between discovery document and keys: the second address is checked and refused."""
    for url, reason in ISSUERS.items():
        assert fetch_results[url]["reason"] == reason
    assert fetch_results["issuer:https://rebinding-later.test"]["connected"] == [f"{PUBLIC}:443"]


@pytest.mark.parametrize("host", [*(f"{name}.test" for name in REFUSED_NAMES), *LITERALS])
def test_local_or_private_host_is_refused_before_a_connection(
    fetch_results: dict[str, Any], host: str
) -> None:
    found = fetch_results[f"https://{host}/"]
    assert (found["reason"], found["connected"]) == ("address", [])


@pytest.mark.parametrize("url", REDIRECTS)
def test_redirect_is_not_followed(fetch_results: dict[str, Any], url: str) -> None:
    found = fetch_results[url]
    assert (found["reason"], found["connected"]) == ("status", [f"{PUBLIC}:443"])


@pytest.mark.parametrize("url", UNFIT)
def test_url_that_is_not_plain_https_is_refused_before_dns(
    fetch_results: dict[str, Any], url: str
) -> None:
    found = fetch_results[url]
    assert (found["reason"], found["connected"], found["lookups"]) == ("url", [], {})


@pytest.mark.parametrize("url", OTHERS)
def test_invalid_or_missing_dns_answer_is_a_failed_request(
    fetch_results: dict[str, Any], url: str
) -> None:
    found = fetch_results[url]
    assert (found["reason"], found["connected"]) == (OTHERS[url], [])


def test_no_forbidden_address_was_contacted(fetch_results: dict[str, Any]) -> None:
    """Neither forbidden addresses, nor plain HTTP, nor the environment's proxy were contacted."""
    reached = {where for found in fetch_results.values() for where in found["connected"]}
    assert reached == {f"{PUBLIC}:443", f"{PUBLIC_6}:443"}
