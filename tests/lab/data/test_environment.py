"""The environment of clients: all variables, quoted for each shell and read back by real shells."""

import json
import re
import shutil
import sys
from pathlib import Path

import pytest

from podpass.lab.data.datadir import DataDir
from podpass.lab.data.environment import (
    as_json,
    format_exports,
    host_environment,
    java_options,
    pod_environment,
    user_java_options,
)
from tests.run_program import run_text

AWKWARD = 'it\'s a "dir" with $HOME `x` \\ und Ünïcode'
POD = {
    *("HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR"),
    *("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"),
    *("NODE_USE_ENV_PROXY", "JAVA_TOOL_OPTIONS"),
}


@pytest.fixture
def data_dir(tmp_path: Path) -> DataDir:
    return DataDir(tmp_path / AWKWARD)


def test_pod_environment_contains_every_variable_of_the_client_families(data_dir: DataDir) -> None:
    values = pod_environment(data_dir, 18440)
    assert set(values) == POD
    assert values["HTTPS_PROXY"] == values["https_proxy"] == "http://127.0.0.1:18440"
    assert {"localhost", "127.0.0.1", "::1", "kubernetes"} <= set(values["NO_PROXY"].split(","))
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"):
        assert Path(values[name]).is_absolute()
        assert Path(values[name]).is_relative_to(data_dir.root)


def test_own_addresses_of_a_pod_are_exempt_from_the_proxy(data_dir: DataDir) -> None:
    values = pod_environment(data_dir, 1, ["127.64.0.9"])
    assert values["NO_PROXY"].split(",")[-1] == values["no_proxy"].split(",")[-1] == "127.64.0.9"
    [hosts] = [
        word
        for word in values["JAVA_TOOL_OPTIONS"].split()
        if word.startswith("-Dhttp.nonProxyHosts=")
    ]
    assert hosts.split("|")[-1] == "127.64.0.9"


def test_no_proxy_contains_no_azure_host(data_dir: DataDir) -> None:
    """With such an entry, clients would send tokens of this instance to the real host."""
    direct = pod_environment(data_dir, 1)["NO_PROXY"]
    assert not [word for word in ("azure", "microsoft", "windows.net", "*") if word in direct]


def test_host_environment_also_contains_kubeconfig_and_azure_config(data_dir: DataDir) -> None:
    values = host_environment(data_dir, 18440, {})
    assert set(values) == POD | {
        "KUBECONFIG",
        "AZURE_CONFIG_DIR",
        "PODPASS_DATA_DIR",
        "PODPASS_ENV",
    }
    assert values["KUBECONFIG"] == str(data_dir.root / "kubeconfig")


@pytest.mark.parametrize("shell", ["sh", "bash", "zsh", "dash"])
def test_shell_reads_exports_byte_for_byte(data_dir: DataDir, shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not on this machine")
    values = host_environment(data_dir, 18440, {})
    text = format_exports(values, "sh")
    assert _after([shell, "-c", f"{text}\nexec {_print_environment()}"], values) == values


@pytest.mark.parametrize(
    ("syntax", "program"), [("fish", ["fish", "-c"]), ("powershell", ["pwsh", "-Command"])]
)
def test_other_shells_read_exports_byte_for_byte(
    data_dir: DataDir, syntax: str, program: list[str]
) -> None:
    if shutil.which(program[0]) is None:
        pytest.skip(f"{program[0]} is not on this machine")
    values = host_environment(data_dir, 18440, {})
    text = format_exports(values, syntax)
    assert _after([*program, f"{text}\n{_print_environment()}"], values) == values


def _print_environment() -> str:
    return f"{sys.executable} -c 'import json,os; print(json.dumps(dict(os.environ)))'"


def _after(command: list[str], values: dict[str, str]) -> dict[str, str]:
    done = run_text(command, check=True, timeout=60)
    found = json.loads(done.stdout)
    return {name: found[name] for name in values}


def test_fish_and_powershell_exports_escape_quotes() -> None:
    assert format_exports({"A": "it's \\"}, "fish") == "set -gx A 'it\\'s \\\\'\n"
    assert format_exports({"A": "it's"}, "powershell") == "$Env:A = 'it''s'\n"


def test_github_export_uses_a_random_delimiter_for_each_value() -> None:
    text = format_exports({"A": "one\nB=2", "C": "three"}, "github")
    assert re.fullmatch(r"A<<(end-\w{32})\none\nB=2\n\1\nC<<(end-\w{32})\nthree\n\2\n", text)
    assert text != format_exports({"A": "one\nB=2", "C": "three"}, "github")


def test_json_output_has_the_same_values(data_dir: DataDir) -> None:
    values = host_environment(data_dir, 18440, {})
    assert json.loads(as_json(values)) == values


def test_user_java_options_are_preserved_and_podpass_options_appear_once(data_dir: DataDir) -> None:
    own = "-Xmx1g -Dname='a b'"
    first = host_environment(data_dir, 18440, {"JAVA_TOOL_OPTIONS": own})["JAVA_TOOL_OPTIONS"]
    second = host_environment(data_dir, 18441, {"JAVA_TOOL_OPTIONS": first})["JAVA_TOOL_OPTIONS"]
    assert second.startswith(own + " ")
    assert second.count("https.proxyPort") == 1
    assert "18441" in second
    assert user_java_options(second) == ["-Xmx1g", "-Dname='a b'"]


def test_jvm_parses_the_quoted_options(data_dir: DataDir) -> None:
    if shutil.which("java") is None:
        pytest.skip("java is not on this machine")
    options = java_options(data_dir, 18440)
    done = run_text(
        ["java", "-XshowSettings:properties", "-version"],
        env={"JAVA_TOOL_OPTIONS": options, "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
        check=True,
        timeout=60,
    )
    assert f"javax.net.ssl.trustStore = {data_dir.truststore}" in done.stderr
    assert "https.proxyPort = 18440" in done.stderr
    assert "http.nonProxyHosts = localhost|*.localhost|127.0.0.1|[::1]" in done.stderr
