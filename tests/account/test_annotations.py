"""Precedence, defaults, ranges and syntax of every annotation."""

from collections.abc import Callable
from typing import Any

import pytest

from podpass import names
from podpass.account.annotations import relevant
from podpass.account.model import BadAnnotation, MalformedPod, ProxyOnHostNetwork, Wish

Read = Callable[..., Wish]


def test_nothing_annotated_gives_the_defaults(read: Read) -> None:
    assert read() == Wish(client_id="", tenant_id="own-tenant", token_seconds=3600)


def test_client_and_tenant_come_from_the_account(read: Read) -> None:
    wish = read(account={names.CLIENT_ID: "client", names.TENANT_ID: "theirs"})
    assert (wish.client_id, wish.tenant_id) == ("client", "theirs")


def test_client_and_tenant_on_the_pod_are_ignored(read: Read) -> None:
    """Whoever may create pods must not choose another identity than their account's."""
    wish = read({names.CLIENT_ID: "stolen", names.TENANT_ID: "stolen"})
    assert (wish.client_id, wish.tenant_id) == ("", "own-tenant")


def test_an_empty_tenant_annotation_means_no_tenant(read: Read) -> None:
    assert read(account={names.TENANT_ID: ""}).tenant_id == ""


@pytest.mark.parametrize(
    ("pod", "account", "seconds"),
    [
        ("4000", "4800", 4000),
        (None, "4800", 4800),
        ("", "4800", 4800),
        ("", "", 3600),
        ("4000", "nonsense", 4000),
        ("3600", None, 3600),
        ("86400", None, 86400),
        ("+7200", None, 7200),
        ("0007200", None, 7200),
        ("0" * 5000 + "7200", None, 7200),
    ],
)
def test_token_expiration_is_the_pods_then_the_accounts_then_an_hour(
    read: Read, pod: str | None, account: str | None, seconds: int
) -> None:
    key = names.TOKEN_EXPIRATION
    wish = read(
        {} if pod is None else {key: pod}, account={} if account is None else {key: account}
    )
    assert wish.token_seconds == seconds


NOT_NUMBERS = [
    "abc",
    "3600s",
    " 3600",
    "3600 ",
    "3_600",
    "0x1000",
    "3600.0",
    "1e4",
    "++1",
    "+",
    "٣٦٠٠",
]
OUT_OF_RANGE = ["3599", "86401", "-1", "-3600", "0", "99999999999999999999", "9" * 5000]


@pytest.mark.parametrize("value", NOT_NUMBERS + OUT_OF_RANGE)
@pytest.mark.parametrize("on_pod", [True, False])
def test_a_bad_expiration_is_refused_and_named(read: Read, value: str, on_pod: bool) -> None:
    annotated = {names.TOKEN_EXPIRATION: value}
    with pytest.raises(BadAnnotation) as caught:
        read(annotated if on_pod else {}, account={} if on_pod else annotated)
    error = caught.value
    assert error.status == 400
    assert error.facts["object"] == ("Pod default/app" if on_pod else "ServiceAccount default/web")
    assert error.facts["annotation"] == names.TOKEN_EXPIRATION
    assert error.facts["value"] == value[:64]
    assert len(error.message) < 300
    assert "3600 to 86400" in error.hint


def test_a_bad_value_on_the_pod_is_an_error_even_where_the_accounts_is_good(read: Read) -> None:
    with pytest.raises(BadAnnotation) as caught:
        read({names.TOKEN_EXPIRATION: "bad"}, account={names.TOKEN_EXPIRATION: "4800"})
    assert caught.value.facts["object"] == "Pod default/app"


@pytest.mark.parametrize(
    ("text", "skipped"),
    [
        (None, set()),
        ("", set()),
        ("a", {"a"}),
        ("a;b", {"a", "b"}),
        (" a ;\tb\n; c\u00a0", {"a", "b", "c"}),
        ("a;", {"a", ""}),
        (";", {""}),
        ("a,b", {"a,b"}),
        ("A", {"A"}),
        ("\x1fa", {"\x1fa"}),
    ],
)
def test_skip_containers_is_split_at_semicolons_and_trimmed(
    read: Read, text: str | None, skipped: set[str]
) -> None:
    wish = read({} if text is None else {names.SKIP_CONTAINERS: text})
    assert wish.skip_containers == skipped


@pytest.mark.parametrize("value", ["true", "false", "", "yes"])
def test_the_proxy_is_asked_for_by_the_key_whatever_its_value(read: Read, value: str) -> None:
    assert read({names.INJECT_PROXY: value}).proxy_port == 8000


def test_a_port_alone_asks_for_no_proxy(read: Read) -> None:
    assert read({names.PROXY_PORT: "nonsense"}).proxy_port is None


@pytest.mark.parametrize("port", ["1", "8080", "65535", "+9000"])
def test_a_port_in_range_is_taken(read: Read, port: str) -> None:
    assert read({names.INJECT_PROXY: "true", names.PROXY_PORT: port}).proxy_port == int(port)


@pytest.mark.parametrize("port", ["", "abc", "0", "-1", "65536", "99999", "4294967296", " 8000"])
def test_a_port_out_of_range_is_refused_here_and_not_later(read: Read, port: str) -> None:
    """Stricter than the reference, which leaves 0, -1 and 99999 to the API server's unexplained refusal."""
    with pytest.raises(BadAnnotation) as caught:
        read({names.INJECT_PROXY: "true", names.PROXY_PORT: port})
    assert caught.value.facts["annotation"] == names.PROXY_PORT
    assert "1 to 65535" in caught.value.hint


def test_a_proxy_on_the_hosts_network_is_refused(read: Read) -> None:
    """The sidecar would redirect the metadata traffic of every pod on the node."""
    with pytest.raises(ProxyOnHostNetwork) as caught:
        read({names.INJECT_PROXY: "true"}, hostNetwork=True)
    assert caught.value.code == "proxy_on_host_network"
    assert read({}, hostNetwork=True).proxy_port is None


def test_a_proxys_faults_are_told_before_the_tokens(read: Read) -> None:
    both = {names.INJECT_PROXY: "", names.PROXY_PORT: "bad", names.TOKEN_EXPIRATION: "bad"}
    with pytest.raises(ProxyOnHostNetwork):
        read(both, hostNetwork=True)
    with pytest.raises(BadAnnotation) as caught:
        read(both)
    assert caught.value.facts["annotation"] == names.PROXY_PORT


@pytest.mark.parametrize(
    ("value", "custom"),
    [("true", True), ("TRUE", True), ("True", True), ("false", False), ("", False), ("1", False)],
)
def test_the_custom_endpoint_is_asked_for_with_true_in_any_case(
    read: Read, value: str, custom: bool
) -> None:
    key = names.USE_CUSTOM_ENDPOINT_PREFIX + "identity-binding"
    assert read({key: value}, custom_endpoint_annotation=key).custom_endpoint is custom
    assert read({key: value}).custom_endpoint is False


def test_the_custom_endpoints_suffix_is_case_sensitive(read: Read) -> None:
    key = names.USE_CUSTOM_ENDPOINT_PREFIX
    wish = read({key + "binding": "true"}, custom_endpoint_annotation=key + "Binding")
    assert not wish.custom_endpoint


@pytest.mark.parametrize("key", [names.TOKEN_EXPIRATION, names.SKIP_CONTAINERS, names.PROXY_PORT])
@pytest.mark.parametrize("value", [3600, True, ["a"], {"a": "b"}])
def test_an_annotation_that_is_not_text_is_refused(read: Read, key: str, value: Any) -> None:
    with pytest.raises(MalformedPod):
        read({names.INJECT_PROXY: "true", key: value})


def test_only_what_counts_is_kept_of_an_account() -> None:
    kept = {names.CLIENT_ID: "c", names.TENANT_ID: "t", names.TOKEN_EXPIRATION: "3600"}
    assert relevant({**kept, "example.com/x": "y"}) == kept
    assert relevant(None) == relevant({}) == {}


def test_of_an_accounts_unknown_annotations_of_ours_a_few_names_are_kept_and_no_value() -> None:
    """Ten thousand accounts lie in memory; what one of them says at length is not worth a warning."""
    unknown = {f"{names.PREFIX}x{n}": "y" * 100_000 for n in range(100)}
    kept = relevant({**unknown, names.CLIENT_ID: "c"})
    assert kept[names.CLIENT_ID] == "c"
    assert [kept[key] for key in kept if key != names.CLIENT_ID] == [""] * 3
