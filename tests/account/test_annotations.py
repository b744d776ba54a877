"""Precedence, defaults, ranges and syntax of every annotation."""

from collections.abc import Callable
from typing import Any

import pytest

from podpass import names
from podpass.account.annotations import filter_annotations
from podpass.account.model import BadAnnotation, MalformedPod, PodIdentityConfig, ProxyOnHostNetwork

Read = Callable[..., PodIdentityConfig]


def test_pod_without_annotations_gets_the_defaults(read: Read) -> None:
    assert read() == PodIdentityConfig(client_id="", tenant_id="own-tenant", token_seconds=3600)


def test_client_and_tenant_come_from_the_account(read: Read) -> None:
    config = read(account={names.CLIENT_ID: "client", names.TENANT_ID: "theirs"})
    assert (config.client_id, config.tenant_id) == ("client", "theirs")


def test_client_and_tenant_on_the_pod_are_ignored(read: Read) -> None:
    """A user who may create pods must not choose an identity other than that of the ServiceAccount."""
    config = read({names.CLIENT_ID: "stolen", names.TENANT_ID: "stolen"})
    assert (config.client_id, config.tenant_id) == ("", "own-tenant")


def test_empty_tenant_annotation_means_no_tenant(read: Read) -> None:
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
def test_token_expiration_comes_from_pod_then_account_then_default(
    read: Read, pod: str | None, account: str | None, seconds: int
) -> None:
    key = names.TOKEN_EXPIRATION
    config = read(
        {} if pod is None else {key: pod}, account={} if account is None else {key: account}
    )
    assert config.token_seconds == seconds


NOT_NUMBERS = [
    *("abc", "3600s", " 3600", "3600 ", "3_600", "0x1000", "3600.0", "1e4", "++1", "+", "٣٦٠٠"),
]
OUT_OF_RANGE = ["3599", "86401", "-1", "-3600", "0", "99999999999999999999", "9" * 5000]


@pytest.mark.parametrize("value", NOT_NUMBERS + OUT_OF_RANGE)
@pytest.mark.parametrize("on_pod", [True, False])
def test_invalid_token_expiration_is_refused_and_named(
    read: Read, value: str, on_pod: bool
) -> None:
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


def test_invalid_pod_value_is_refused_despite_a_valid_account_value(read: Read) -> None:
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
    config = read({} if text is None else {names.SKIP_CONTAINERS: text})
    assert config.skip_containers == skipped


@pytest.mark.parametrize("value", ["true", "false", "", "yes"])
def test_proxy_is_requested_by_the_key_with_any_value(read: Read, value: str) -> None:
    assert read({names.INJECT_PROXY: value}).proxy_port == 8000


def test_port_annotation_alone_does_not_request_the_proxy(read: Read) -> None:
    assert read({names.PROXY_PORT: "nonsense"}).proxy_port is None


@pytest.mark.parametrize("port", ["1", "8080", "65535", "+9000"])
def test_proxy_port_in_range_is_accepted(read: Read, port: str) -> None:
    assert read({names.INJECT_PROXY: "true", names.PROXY_PORT: port}).proxy_port == int(port)


@pytest.mark.parametrize("port", ["", "abc", "0", "-1", "65536", "99999", "4294967296", " 8000"])
def test_proxy_port_out_of_range_is_refused(read: Read, port: str) -> None:
    """The reference accepts 0, -1 and 99999; the API server then refuses the pod."""
    with pytest.raises(BadAnnotation) as caught:
        read({names.INJECT_PROXY: "true", names.PROXY_PORT: port})
    assert caught.value.facts["annotation"] == names.PROXY_PORT
    assert "1 to 65535" in caught.value.hint


def test_proxy_with_host_network_is_refused(read: Read) -> None:
    """The sidecar would redirect the metadata traffic of every pod on the node."""
    with pytest.raises(ProxyOnHostNetwork) as caught:
        read({names.INJECT_PROXY: "true"}, hostNetwork=True)
    assert caught.value.code == "proxy_on_host_network"
    assert read({}, hostNetwork=True).proxy_port is None


def test_proxy_errors_are_reported_before_token_errors(read: Read) -> None:
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
def test_custom_endpoint_is_requested_by_true_in_any_case(
    read: Read, value: str, custom: bool
) -> None:
    key = names.USE_CUSTOM_ENDPOINT_PREFIX + "identity-binding"
    assert read({key: value}, custom_endpoint_annotation=key).custom_endpoint is custom
    assert read({key: value}).custom_endpoint is False


def test_custom_endpoint_suffix_is_case_sensitive(read: Read) -> None:
    key = names.USE_CUSTOM_ENDPOINT_PREFIX
    config = read({key + "binding": "true"}, custom_endpoint_annotation=key + "Binding")
    assert not config.custom_endpoint


@pytest.mark.parametrize("key", [names.TOKEN_EXPIRATION, names.SKIP_CONTAINERS, names.PROXY_PORT])
@pytest.mark.parametrize("value", [3600, True, ["a"], {"a": "b"}])
def test_annotation_that_is_not_text_is_refused(read: Read, key: str, value: Any) -> None:
    with pytest.raises(MalformedPod):
        read({names.INJECT_PROXY: "true", key: value})


def test_only_relevant_account_annotations_are_returned() -> None:
    kept = {names.CLIENT_ID: "c", names.TENANT_ID: "t", names.TOKEN_EXPIRATION: "3600"}
    assert filter_annotations({**kept, "example.com/x": "y"}) == kept
    assert filter_annotations(None) == filter_annotations({}) == {}


def test_unknown_account_annotations_are_limited_and_have_no_value() -> None:
    """Ten thousand accounts are cached in memory, so a long unknown value is not stored."""
    unknown = {f"{names.PREFIX}x{n}": "y" * 100_000 for n in range(100)}
    kept = filter_annotations({**unknown, names.CLIENT_ID: "c"})
    assert kept[names.CLIENT_ID] == "c"
    assert [kept[key] for key in kept if key != names.CLIENT_ID] == [""] * 3


@pytest.mark.parametrize(
    ("annotations", "mode"), [({}, "iptables"), ({names.PROXY_MODE: "env"}, "env")]
)
def test_proxy_mode_is_that_of_the_pod_or_the_default(
    read: Read, annotations: dict[str, str], mode: str
) -> None:
    assert read(annotations).proxy_mode == mode


@pytest.mark.parametrize("key", [names.PROXY_MODE, names.LEGACY_TOKEN_PATH])
@pytest.mark.parametrize("value", ["", "ENV", "yes", "true ", "iptables,env"])
def test_invalid_choice_is_refused(read: Read, key: str, value: str) -> None:
    with pytest.raises(BadAnnotation) as caught:
        read({key: value})
    assert caught.value.facts["annotation"] == key
    assert "or remove it" in (caught.value.hint or "")


@pytest.mark.parametrize(("value", "wanted"), [(None, False), ("true", True), ("false", False)])
def test_legacy_path_is_off_unless_requested(read: Read, value: str | None, wanted: bool) -> None:
    annotations = {} if value is None else {names.LEGACY_TOKEN_PATH: value}
    assert read(annotations).legacy_path is wanted
