"""The environment in which a program's Azure calls reach this instance.

One table serves `podpass env`, `podpass run` and the pods. All values are absolute paths into the data dir or
loopback addresses; nothing is installed in the system.
"""

import json
import re
import shlex
from collections.abc import Callable, Mapping

from podpass.local.datadir import DataDir

# Names that a proxied client must reach by itself.
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
TRUSTSTORE_PASSWORD = "changeit"  # noqa: S105 Java's own default; the store holds public certificates


def pod_environment(data_dir: DataDir, gateway_port: int) -> dict[str, str]:
    """Give what every container gets, unless it sets the variable itself."""
    proxy, direct = f"http://127.0.0.1:{gateway_port}", ",".join(DIRECT)
    return {
        "HTTPS_PROXY": proxy,
        "https_proxy": proxy,
        "NO_PROXY": direct,
        "no_proxy": direct,
        "SSL_CERT_FILE": str(data_dir.bundle),
        "SSL_CERT_DIR": str(data_dir.certs),
        "REQUESTS_CA_BUNDLE": str(data_dir.bundle),
        "CURL_CA_BUNDLE": str(data_dir.bundle),
        "NODE_EXTRA_CA_CERTS": str(data_dir.ca_file),
        # Node's own fetch heeds proxies only when told so (24 and newer; older ones ignore this).
        "NODE_USE_ENV_PROXY": "1",
        "JAVA_TOOL_OPTIONS": java_options(data_dir, gateway_port),
    }


def host_environment(
    data_dir: DataDir, gateway_port: int, environ: Mapping[str, str]
) -> dict[str, str]:
    """Give what a program outside the cluster gets; the caller's own Java options are kept."""
    values = pod_environment(data_dir, gateway_port)
    kept = foreign_java_options(environ.get("JAVA_TOOL_OPTIONS", ""))
    return {
        **values,
        "JAVA_TOOL_OPTIONS": " ".join([*kept, values["JAVA_TOOL_OPTIONS"]]),
        "KUBECONFIG": str(data_dir.kubeconfig),
        "AZURE_CONFIG_DIR": str(data_dir.path("azure")),
        "PODPASS_DATA_DIR": str(data_dir.root),
    }


_JAVA_OURS = (
    "javax.net.ssl.trustStore",
    "javax.net.ssl.trustStoreType",
    "javax.net.ssl.trustStorePassword",
    "https.proxyHost",
    "https.proxyPort",
    "http.nonProxyHosts",
)


def java_options(data_dir: DataDir, gateway_port: int) -> str:
    """Write the options a JVM needs; it reads neither proxy variables nor PEM bundles."""
    hosts = "|".join(_java_host(name) for name in DIRECT)
    values = (
        str(data_dir.truststore),
        "PKCS12",
        TRUSTSTORE_PASSWORD,
        "127.0.0.1",
        gateway_port,
        hosts,
    )
    return " ".join(
        _java_quote(f"-D{name}={value}") for name, value in zip(_JAVA_OURS, values, strict=True)
    )


def _java_host(name: str) -> str:
    if name.startswith("."):
        return "*" + name
    return f"[{name}]" if ":" in name else name


def _java_quote(word: str) -> str:
    """Quote as the JVM reads JAVA_TOOL_OPTIONS: blanks part words, either quote joins them."""
    if not re.search(r"[\s'\"]", word):
        return word
    return "'" + word.replace("'", "'\"'\"'") + "'"


def foreign_java_options(text: str) -> list[str]:
    """Keep the words of JAVA_TOOL_OPTIONS that are not ours, so that exporting twice adds nothing."""
    words = re.findall(r"(?:[^\s'\"]|'[^']*'|\"[^\"]*\")+", text)
    ours = tuple(f"-D{name}=" for name in _JAVA_OURS)
    return [word for word in words if not word.lstrip("'\"").startswith(ours)]


def _sh(name: str, value: str) -> str:
    return f"export {name}={shlex.quote(value)}"


def _fish(name: str, value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"set -gx {name} '{escaped}'"


def _powershell(name: str, value: str) -> str:
    escaped = value.replace("'", "''")
    return f"$Env:{name} = '{escaped}'"


SHELLS: Mapping[str, Callable[[str, str], str]] = {
    "sh": _sh,
    "fish": _fish,
    "powershell": _powershell,
}


def exports(values: Mapping[str, str], shell: str) -> str:
    """Write the variables as lines for `eval` in a shell."""
    return "".join(SHELLS[shell](name, value) + "\n" for name, value in values.items())


def as_json(values: Mapping[str, str]) -> str:
    return json.dumps(dict(values), indent=2) + "\n"
