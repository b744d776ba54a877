"""Environment variables with which the Azure calls of a program reach this instance.

`podpass env`, `podpass run` and the pods use the same table. All values are absolute paths in the data
directory or loopback addresses; nothing is installed system-wide.
"""

import json
import re
import secrets
import shlex
from collections.abc import Callable, Mapping, Sequence

from podpass import names
from podpass.lab.data.datadir import DataDir
from podpass.lab.data.ports import LOOPBACK

# Hosts that clients reach without the proxy.
DIRECT = (
    "localhost",
    ".localhost",
    "127.0.0.1",
    "::1",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    ".svc",
    ".cluster.local",
)
# Names the instance of `podpass env`, so that scripts and `podpass run` can check that a shell has it.
MARKER = "PODPASS_ENV"
TRUSTSTORE_PASSWORD = "changeit"  # noqa: S105 Java's default; the store contains public certificates only


def pod_environment(
    data_dir: DataDir,
    gateway_port: int,
    own_addresses: Sequence[str] = (),
    gateway_host: str = LOOPBACK,
) -> dict[str, str]:
    """Return the variables for programs in containers and on the host.

    `own_addresses` are those at which only containers of the same pod answer.
    """
    # Azure's clients for Node and Java use the proxy for plain HTTP, too, and do not support networks in this
    # list.
    proxy, direct = f"http://{gateway_host}:{gateway_port}", [*DIRECT, *own_addresses]
    return {
        "HTTPS_PROXY": proxy,
        "https_proxy": proxy,
        "NO_PROXY": ",".join(direct),
        "no_proxy": ",".join(direct),
        "SSL_CERT_FILE": str(data_dir.bundle),
        "SSL_CERT_DIR": str(data_dir.certs),
        "REQUESTS_CA_BUNDLE": str(data_dir.bundle),
        "CURL_CA_BUNDLE": str(data_dir.bundle),
        "NODE_EXTRA_CA_CERTS": str(data_dir.ca_file),
        # Node's fetch uses the proxy variables only with this setting (Node 24 and newer).
        "NODE_USE_ENV_PROXY": "1",
        "JAVA_TOOL_OPTIONS": java_options(data_dir, gateway_port, direct, gateway_host),
    }


def container_environment(
    data_dir: DataDir, gateway_port: int, own_addresses: Sequence[str] = ()
) -> dict[str, str]:
    """Return the variables of every container; a container can override each.

    A migration sidecar forwards nothing: the machine may be an Azure virtual machine.
    """
    return {
        **pod_environment(data_dir, gateway_port, own_addresses),
        names.ENV_PROXY_FORWARD: "false",
    }


def host_environment(
    data_dir: DataDir, gateway_port: int, environ: Mapping[str, str]
) -> dict[str, str]:
    """Return the variables for programs outside the cluster."""
    return {
        **client_environment(data_dir, gateway_port, environ),
        **client_configuration(data_dir),
        "PODPASS_DATA_DIR": str(data_dir.root),
    }


def client_environment(
    data_dir: DataDir, gateway_port: int, environ: Mapping[str, str], direct: Sequence[str] = ()
) -> dict[str, str]:
    """Return the variables for Azure's clients on the host; the user's Java options are preserved.

    `direct` are further hosts that clients reach without the proxy.
    """
    values = pod_environment(data_dir, gateway_port, direct)
    preserved = user_java_options(environ.get("JAVA_TOOL_OPTIONS", ""))
    return {
        **values,
        "JAVA_TOOL_OPTIONS": " ".join([*preserved, values["JAVA_TOOL_OPTIONS"]]),
        "AZURE_CONFIG_DIR": str(data_dir.path("azure")),
        MARKER: str(data_dir.root),
    }


def client_configuration(data_dir: DataDir) -> dict[str, str]:
    """Return the variables that name the configurations of kubectl and az."""
    return {"KUBECONFIG": str(data_dir.kubeconfig), "AZURE_CONFIG_DIR": str(data_dir.path("azure"))}


_JAVA_PROPERTIES = (
    "javax.net.ssl.trustStore",
    "javax.net.ssl.trustStoreType",
    "javax.net.ssl.trustStorePassword",
    "https.proxyHost",
    "https.proxyPort",
    "http.nonProxyHosts",
)


def java_options(
    data_dir: DataDir,
    gateway_port: int,
    direct: Sequence[str] = DIRECT,
    gateway_host: str = LOOPBACK,
) -> str:
    """Return the options for a JVM, which reads neither proxy variables nor PEM bundles."""
    hosts = "|".join(_java_host(name) for name in direct)
    values = (
        str(data_dir.truststore),
        "PKCS12",
        TRUSTSTORE_PASSWORD,
        gateway_host,
        gateway_port,
        hosts,
    )
    return " ".join(
        _java_quote(f"-D{name}={value}")
        for name, value in zip(_JAVA_PROPERTIES, values, strict=True)
    )


def _java_host(name: str) -> str:
    if name.startswith("."):
        return "*" + name
    return f"[{name}]" if ":" in name else name


def _java_quote(word: str) -> str:
    """Quote a word for JAVA_TOOL_OPTIONS: whitespace separates words, quotes of both kinds group them."""
    if not re.search(r"[\s'\"]", word):
        return word
    return "'" + word.replace("'", "'\"'\"'") + "'"


def user_java_options(text: str) -> list[str]:
    """Return the words of JAVA_TOOL_OPTIONS that podpass did not add; a second export adds nothing."""
    words = re.findall(r"(?:[^\s'\"]|'[^']*'|\"[^\"]*\")+", text)
    prefixes = tuple(f"-D{name}=" for name in _JAVA_PROPERTIES)
    return [word for word in words if not word.lstrip("'\"").startswith(prefixes)]


def _sh(name: str, value: str) -> str:
    return f"export {name}={shlex.quote(value)}"


def _fish(name: str, value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"set -gx {name} '{escaped}'"


def _powershell(name: str, value: str) -> str:
    escaped = value.replace("'", "''")
    return f"$Env:{name} = '{escaped}'"


def _github(name: str, value: str) -> str:
    """Format a variable for the file GITHUB_ENV; no value can contain the delimiter."""
    delimiter = f"end-{secrets.token_hex(16)}"
    return f"{name}<<{delimiter}\n{value}\n{delimiter}"


SHELLS: Mapping[str, Callable[[str, str], str]] = {
    "sh": _sh,
    "fish": _fish,
    "github": _github,
    "powershell": _powershell,
}


def format_exports(values: Mapping[str, str], shell: str) -> str:
    """Format the variables as lines for `eval` in a shell."""
    return "".join(SHELLS[shell](name, value) + "\n" for name, value in values.items())


_FAILURES: Mapping[str, str] = {
    "sh": f"unset {MARKER}\nfalse\n",
    "fish": f"set -e {MARKER}\nfalse\n",
    "github": f"{MARKER}=\n",  # the step fails by its exit code
    "powershell": f"Remove-Item Env:{MARKER} -ErrorAction Ignore\nthrow 'podpass env failed'\n",
}


def format_failure(configuration: Mapping[str, str], shell: str) -> str:
    """Format lines whose `eval` fails, for a shell that asked for an instance which is not running.

    `configuration` points az, and kubectl, at that instance: a script that ignores the failure must not reach
    the subscription and the cluster of the user.
    """
    return format_exports(configuration, shell) + _FAILURES[shell]


def as_json(values: Mapping[str, str]) -> str:
    return json.dumps(dict(values), indent=2) + "\n"
