"""Settings of the webhook, of the sidecar and of Azurite; all problems are reported together."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from podpass import names
from podpass.errors import SettingsError
from podpass.settings import LocalSettings, WebhookSettings, describe
from podpass.settings.proxy import ProxyInitSettings, ProxySettings
from podpass.settings.storage import parse_accounts, parse_services

TENANT = {"AZURE_TENANT_ID": "tenant"}


def _read(environ: Mapping[str, str] | None = None, *argv: str) -> WebhookSettings:
    return WebhookSettings.from_environ({**TENANT, **(environ or {})}, argv)


def _problems(environ: Mapping[str, str] | None = None, *argv: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        _read(environ, *argv)
    return caught.value.problems


def test_tenant_is_the_only_required_setting() -> None:
    settings = _read()
    assert settings.tenant_id == "tenant"
    assert settings.authority_host == "https://login.microsoftonline.com/"
    assert settings.audience == names.EXCHANGE_AUDIENCE
    assert settings.custom_endpoint_annotation is None
    assert settings.namespace == "azure-workload-identity-system"
    assert settings.log_level == ""
    assert settings.native_sidecar


@pytest.mark.parametrize("environ", [{}, {"AZURE_TENANT_ID": ""}, {"CONFIG_AZURE_TENANT_ID": ""}])
def test_missing_tenant_is_refused(environ: Mapping[str, str]) -> None:
    with pytest.raises(SettingsError) as caught:
        WebhookSettings.from_environ(environ)
    assert "AZURE_TENANT_ID" in caught.value.problems[0]


@pytest.mark.parametrize("prefixed", ["theirs", ""])
def test_prefixed_variable_takes_precedence_even_if_empty(prefixed: str) -> None:
    settings = _read({"PROXY_IMAGE": "plain", "CONFIG_PROXY_IMAGE": prefixed})
    assert settings.proxy_image == prefixed


@pytest.mark.parametrize(
    ("cloud", "authority"),
    [
        ("", "https://login.microsoftonline.com/"),
        ("AzurePublicCloud", "https://login.microsoftonline.com/"),
        ("AzureCloud", "https://login.microsoftonline.com/"),
        ("AZUREUSGOVERNMENTCLOUD", "https://login.microsoftonline.us/"),
        ("AzureUSGovernment", "https://login.microsoftonline.us/"),
        ("azurechinacloud", "https://login.chinacloudapi.cn/"),
        ("AzureGermanCloud", "https://login.microsoftonline.de/"),
    ],
)
def test_each_cloud_has_its_authority(cloud: str, authority: str) -> None:
    assert _read({"AZURE_ENVIRONMENT": cloud}).authority_host == authority


def test_unknown_cloud_is_refused() -> None:
    (problem,) = _problems({"AZURE_ENVIRONMENT": "InvalidCloud"})
    assert "AZURE_ENVIRONMENT 'InvalidCloud'" in problem


def test_azure_stack_cloud_reads_its_authority_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "cloud.json"
    file.write_text(json.dumps({"activeDirectoryEndpoint": "https://adfs.example/"}))
    environ = {"AZURE_ENVIRONMENT": "AzureStackCloud", "AZURE_ENVIRONMENT_FILEPATH": str(file)}
    assert _read(environ).authority_host == "https://adfs.example/"


@pytest.mark.parametrize("content", [None, "{", "[]", "{}"])
def test_azure_stack_cloud_without_a_valid_file_is_refused(
    tmp_path: Path, content: str | None
) -> None:
    file = tmp_path / "cloud.json"
    if content is not None:
        file.write_text(content)
    environ = {"AZURE_ENVIRONMENT": "AzureStackCloud", "AZURE_ENVIRONMENT_FILEPATH": str(file)}
    assert "AZURE_ENVIRONMENT_FILEPATH" in _problems(environ)[0]


def test_flags_are_parsed() -> None:
    settings = _read(None, "--audience", "api://x", "-log-level=debug", "--disable-cert-rotation=1")
    assert (settings.audience, settings.log_level) == ("api://x", "debug")
    assert settings.disable_cert_rotation is True
    assert settings.refusal_events is True
    assert _read(None, "--refusal-events=false").refusal_events is False
    assert _read(None, "--audience=").audience == names.EXCHANGE_AUDIENCE


def test_custom_endpoint_requires_suffix_and_audience() -> None:
    suffix, audience = (
        "--custom-token-endpoint-annotation-suffix",
        "--custom-token-endpoint-audience",
    )
    settings = _read(None, suffix, "Identity-Binding", audience, "api://binding")
    assert settings.custom_endpoint_annotation == ("azure.workload.identity/use-Identity-Binding")
    assert _problems(None, suffix, "x") == [f"{suffix} needs {audience} too"]
    assert _problems(None, audience, "x") == [f"{audience} needs {suffix} too"]


def test_custom_audience_must_differ_from_the_default() -> None:
    """A token for the custom endpoint must not be valid at Entra."""
    (problem,) = _problems(
        None,
        "--custom-token-endpoint-annotation-suffix=x",
        "--custom-token-endpoint-audience=API://azureadtokenexchange",
    )
    assert "must not be the default audience" in problem


@pytest.mark.parametrize("suffix", ["a/b", "a b", "-", "a.", "x" * 60, "é", "x\n"])
def test_suffix_of_invalid_annotation_is_refused(suffix: str) -> None:
    (problem,) = _problems(
        None,
        f"--custom-token-endpoint-annotation-suffix={suffix}",
        "--custom-token-endpoint-audience=x",
    )
    assert "not a valid annotation key" in problem


@pytest.mark.parametrize("suffix", ["x" * 59, "a.b_c-D", "1"])
def test_suffix_of_valid_annotation_is_accepted(suffix: str) -> None:
    assert _read(
        None,
        f"--custom-token-endpoint-annotation-suffix={suffix}",
        "--custom-token-endpoint-audience=x",
    )


SOURCES = ["DATA", "CONFIGMAP_NAME", "CTB_SIGNER_NAME"]


@pytest.mark.parametrize("missing", SOURCES)
def test_ca_sources_are_mutually_exclusive(missing: str) -> None:
    given = [f"AZURE_KUBERNETES_CA_{name}" for name in SOURCES if name != missing]
    (problem,) = _problems(dict.fromkeys(given, "x"))
    assert problem == f"{given[0]} and {given[1]} are mutually exclusive: set one"


SELECTOR = "AZURE_KUBERNETES_CA_CTB_LABEL_SELECTOR"
SIGNER = {"AZURE_KUBERNETES_CA_CTB_SIGNER_NAME": "example.com/signer"}


@pytest.mark.parametrize(
    ("text", "selector"),
    [
        ("", None),
        (" \n", None),
        ("{}", {}),
        ('{"matchLabels":{"app":"nginx"}}', {"matchLabels": {"app": "nginx"}}),
        (
            '{"matchExpressions":[{"key":"env","operator":"In"}],"other":1}',
            {"matchExpressions": [{"key": "env", "operator": "In"}]},
        ),
    ],
)
def test_selector_is_parsed_as_json(text: str, selector: Any) -> None:
    assert _read({**SIGNER, SELECTOR: text}).ca_selector == selector


@pytest.mark.parametrize("text", ["not-a-json", "[]", "1", "null"])
def test_selector_that_is_not_a_json_object_is_refused(text: str) -> None:
    (problem,) = _problems({**SIGNER, SELECTOR: text})
    assert problem.startswith(SELECTOR)


def test_selector_without_a_signer_is_refused() -> None:
    (problem,) = _problems({SELECTOR: "{}"})
    assert "needs AZURE_KUBERNETES_CA_CTB_SIGNER_NAME" in problem


@pytest.mark.parametrize(
    "flag",
    [
        *("--tls-min-version=1.4", "--metrics-backend=statsd", "--log-level=warn"),
        *("--disable-cert-rotation=maybe", "--refusal-events=maybe", "--nonsense", "--audience"),
    ],
)
def test_invalid_webhook_flag_is_named(flag: str) -> None:
    (problem,) = _problems(None, flag)
    assert problem.startswith(flag.split("=")[0])


def test_metrics_backend_is_case_insensitive() -> None:
    assert _read(None, "--metrics-backend=Prometheus")


def test_webhook_settings_are_described() -> None:
    rows = {row["name"]: row for row in describe(WebhookSettings)}
    assert rows["tenant_id"] == {
        "name": "tenant_id",
        "flag": "",
        "variable": "AZURE_TENANT_ID",
        "default": "required",
        "meaning": (
            "default tenant ID of ServiceAccounts without a tenant-id annotation; AZURE_TENANT_ID in pods"
        ),
    }
    assert all(row["meaning"] for row in rows.values())


def test_listen_address_and_shutdown_times_are_read() -> None:
    found = _read(None, "--webhook-addr", "[::1]:1", "--shutdown-delay-seconds=0.5")
    assert (found.webhook_addr, found.shutdown_delay_seconds) == ("[::1]:1", 0.5)


@pytest.mark.parametrize(
    "flag",
    [
        *("--webhook-addr=nowhere", "--health-addr=:70000", "--metrics-addr=9000"),
        *("--webhook-addr=0", "--shutdown-delay-seconds=-1", "--shutdown-delay-seconds=nan"),
        *("--shutdown-delay-seconds=soon", "--shutdown-delay-seconds=301"),
    ],
)
def test_invalid_address_or_time_is_named(flag: str) -> None:
    (problem,) = _problems(None, flag)
    assert problem.startswith(flag.partition("=")[0])


def test_probes_and_metrics_can_be_disabled() -> None:
    """As in the reference, 0 is not an address."""
    found = _read(None, "--health-addr=0", "--metrics-addr=0")
    assert (found.health_addr, found.metrics_addr) == ("0", "0")


KEY = "a2V5IG9mIHRoZSBhY2NvdW50"


@pytest.mark.parametrize(
    ("text", "services"),
    [
        ("", {}),
        (
            "http://127.0.0.1:10000",
            {
                "blob": "http://127.0.0.1:10000",
                "queue": "http://127.0.0.1:10001",
                "table": "http://127.0.0.1:10002",
            },
        ),
        ("blob=http://azurite:10000", {"blob": "http://azurite:10000"}),
        (
            "table=https://[::1]:1,blob=http://a.b-c:2",
            {"table": "https://[::1]:1", "blob": "http://a.b-c:2"},
        ),
    ],
)
def test_address_of_azurite_names_its_services(text: str, services: dict[str, str]) -> None:
    assert parse_services(text) == services


@pytest.mark.parametrize(
    "text",
    [
        "127.0.0.1:10000",
        "http://127.0.0.1",
        "http://127.0.0.1:10000/account",
        "http://user@127.0.0.1:10000",
        "http://127.0.0.1:10000?x",
        "ftp://127.0.0.1:10000",
        "http://127.0.0.1:65535",
        "http://a b:1",
        "http://127.0.0.1:x",
        "file=http://127.0.0.1:10000",
        "blob=http://127.0.0.1:1,blob=http://127.0.0.1:2",
        "blob=",
    ],
)
def test_wrong_address_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="--azurite"):
        parse_services(text)
    with pytest.raises(SettingsError, match="--azurite"):
        LocalSettings(data_dir=__file__, azurite=text)  # type: ignore[arg-type]


def test_accounts_have_the_form_that_azurite_reads() -> None:
    found = parse_accounts(f"orders:{KEY};logs:{KEY}:c2Vjb25k;")
    assert {name: key.reveal() for name, key in found.items()} == {"orders": KEY, "logs": KEY}
    assert KEY not in repr(found)


def test_empty_account_setting_means_the_default_account_of_azurite() -> None:
    assert list(parse_accounts("")) == ["devstoreaccount1"]


@pytest.mark.parametrize(
    "text", ["orders", "orders:", f"Orders:{KEY}", "orders:no base64", f":{KEY}"]
)
def test_wrong_account_is_refused_without_its_key(text: str) -> None:
    with pytest.raises(SettingsError, match="AZURITE_ACCOUNTS, entry 1: want") as refused:
        parse_accounts(text)
    assert KEY not in refused.value.message
    assert "no base64" not in refused.value.message


POD = {"AZURE_TENANT_ID": "t", "AZURE_FEDERATED_TOKEN_FILE": "/token"}
ENDPOINT = {"AZURE_KUBERNETES_TOKEN_PROXY": "https://proxy.example"}


@pytest.mark.parametrize(
    "variable",
    ["AZURE_KUBERNETES_SNI_NAME", "AZURE_KUBERNETES_CA_FILE", "AZURE_KUBERNETES_CA_DATA"],
)
def test_identity_binding_without_its_endpoint_is_refused(variable: str) -> None:
    """Fails if the sidecar sends the token to the public endpoint instead."""
    with pytest.raises(
        SettingsError, match=f"AZURE_KUBERNETES_TOKEN_PROXY not set, but {variable}"
    ):
        ProxySettings.from_environ({**POD, variable: "x"})
    assert ProxySettings.from_environ({**POD, **ENDPOINT, variable: "x"}).token_proxy


@pytest.mark.parametrize("address", ["127.0.0.1", "127.64.1.2", "127.255.255.254"])
def test_sidecar_listens_on_a_loopback_address(address: str) -> None:
    settings = ProxySettings.from_environ({**POD, "PROXY_ADDRESS": address})
    assert settings.proxy_address == address
    assert ProxySettings.from_environ(POD).proxy_address == "127.0.0.1"


@pytest.mark.parametrize(
    "address", ["", "0.0.0.0", "10.0.0.7", "169.254.169.254", "::1", "::", "localhost", "127.1"]
)
def test_address_that_others_can_reach_is_refused(address: str) -> None:
    """Fails if another pod of a cluster could get this pod's tokens."""
    with pytest.raises(SettingsError, match=r"PROXY_ADDRESS .* must be a loopback address"):
        ProxySettings.from_environ({**POD, "PROXY_ADDRESS": address})


@pytest.mark.parametrize(("text", "wanted"), [("true", True), ("false", False)])
def test_forwarding_is_on_unless_it_is_turned_off(text: str, wanted: bool) -> None:
    assert ProxySettings.from_environ(POD).forward is True
    assert ProxySettings.from_environ({**POD, "PROXY_FORWARD": text}).forward is wanted
    with pytest.raises(SettingsError, match="PROXY_FORWARD"):
        ProxySettings.from_environ({**POD, "PROXY_FORWARD": "maybe"})


@pytest.mark.parametrize(
    "text",
    ["127.0.0.1 -j ACCEPT", "0.0.0.0/0", "::1", "localhost", "1.2.3.4\n", "!1.2.3.4", "1.2.3"],
)
def test_metadata_address_that_is_not_ipv4_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="must be an IPv4 address"):
        ProxyInitSettings.from_environ({"METADATA_IP": text})


@pytest.mark.parametrize("name", ["PROXY_PORT", "METADATA_PORT", "PROXY_UID"])
@pytest.mark.parametrize(
    "text", ["80 -j ACCEPT", "-1", "1:2", "80\n", "\u0668\u0660", "99999999999"]
)
def test_redirect_setting_that_is_not_a_valid_number_is_refused(name: str, text: str) -> None:
    with pytest.raises(SettingsError, match="must be a"):
        ProxyInitSettings.from_environ({name: text})
