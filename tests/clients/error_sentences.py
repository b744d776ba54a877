"""What released SDKs print after each failure of a workload: run their clients in pods, clean the output."""

import re
import shlex
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import trustme

from podpass.crypto import jose
from tests.clients import toolchains
from tests.clients.installation import PROGRAMS, find_tool, run_installation
from tests.clients.toolchains import NEWEST, OLDEST
from tests.journey.instance import CLIENT, NO_ROLE_CLIENT, Instance

VAULT = "https://journey-vault.vault.azure.net"
UNKNOWN = "99999999-aaaa-4bbb-8ccc-000000000009"
MAX_CHARS = 1500
_ERRORS = PROGRAMS / "errors"
_GUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_TIME = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:\.\d+)?Z?")
_PORT = re.compile(r"(localhost|127\.0\.0\.1):\d+")
_TOKEN = re.compile(r"eyJ[\w.-]*")
_OBJECT = re.compile(r"0x[0-9a-f]{6,}")
_NO_GUID = "00000000-0000-4000-8000-000000000000"
_NOISE = re.compile("JAVA_TOOL_OPTIONS|^SLF4J|^resolved tenant|^tenantId =")
# The kinds of clients: Azure Identity with a vault client, the same in asynchronous Python, MSAL alone, an
# identity library for Storage.
WORKLOAD, AIO, MSAL, STORAGE = "workload", "aio", "msal", "storage"
_SCOPE = "https://vault.azure.net/.default"
# A closed port of this machine.
_CLOSED = "https://localhost:9/"


@dataclass(frozen=True, kw_only=True)
class ErrorClient:
    """One released SDK, and the credentials of it whose errors are recorded.

    `hides_codes` if its errors have the HTTP status of the token service, but not the AADSTS code.
    `arguments` of the command replace the kind; `without` are failures that it cannot have. With
    `hides_causes`, its errors only say that no credential of the chain returned a token.
    """

    name: str
    command: Callable[[], list[str]]
    kinds: tuple[str, ...] = ("workload",)
    hides_codes: bool = False
    arguments: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    hides_causes: bool = False

    def expected(self, failure: "Failure") -> tuple[str, ...]:
        """Return what must be recognized, one of these."""
        if self.hides_causes:
            return ("sdk_no_credential",)
        more = ("sdk_exchange_refused",) if self.hides_codes else ()
        return (*failure.expected, *more)


@dataclass(frozen=True, kw_only=True)
class Failure:
    """One way to break a workload.

    `expected` are ids of `podpass explain`, or AADSTS codes, of which one must be recognized.
    """

    name: str
    expected: tuple[str, ...]
    account: str = "web"
    labels: dict[str, str] | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    prepare: Callable[[Instance, Path], Mapping[str, str]] = lambda _, __: {}
    kinds: tuple[str, ...] = (WORKLOAD, "default")


def _python(age: str) -> Callable[[], list[str]]:
    return lambda: [toolchains.python("azure_identity", age)[0], str(_ERRORS / "sentences.py")]


def _node(age: str) -> Callable[[], list[str]]:
    def command() -> list[str]:
        node, program = toolchains.node("azure_identity", age)
        packages = Path(program).parent / "node_modules"
        return ["env", f"NODE_PATH={packages}", node, str(_ERRORS / "sentences.cjs")]

    return command


def _java(age: str) -> Callable[[], list[str]]:
    return lambda: toolchains.java("Sentences", age)


def _go(age: str) -> Callable[[], list[str]]:
    def command() -> list[str]:
        pinned = [PROGRAMS / "go" / age / name for name in ("go.mod", "go.sum")]
        build = [find_tool("go"), "build", "-mod=mod", "-o", "sentences", "."]
        files = [*pinned, _ERRORS / "main.go"]
        return [str(run_installation(f"go-errors-{age}", files, build, newest=False) / "sentences")]

    return command


def build_rust() -> list[str]:
    """Return the program that uses Microsoft's SDK for Rust."""
    files = [PROGRAMS / "rust" / name for name in ("Cargo.toml", "main.rs")]
    build = [find_tool("cargo"), "build", "--quiet"]
    folder = run_installation("rust", files, build, newest=False)
    return [str(folder / "target" / "debug" / "sentences")]


# Each prints the error of the exchange; without MSAL's own text, those of HTTP libraries are printed.
_ALONE = {
    "msal-python": lambda age: toolchains.python("msal_app", age),
    "msal-node": lambda age: toolchains.node("msal", age),
    "msal-java": lambda age: toolchains.java("Msal", age),
    "msal-go": lambda age: [*toolchains.go("client", age), "msal"],
}
_OTHERS = (
    ErrorClient(name="rust-newest", command=build_rust, without=("unknown-host",)),
    ErrorClient(
        name="dotnet-newest",
        command=toolchains.azmcp,
        arguments=("Azure.Identity", "workload", _SCOPE),
        hides_codes=True,
        # It chooses the authority by its own setting.
        without=("unknown-host", "authority-unreachable", "authority-without-tls"),
    ),
    *(
        ErrorClient(
            name=f"cpp-{age}",
            command=partial(toolchains.python, "storage", age, "storage-"),
            kinds=(STORAGE,),
            arguments=("localhost:9", "default", _SCOPE, "--watched"),
            hides_causes=True,
        )
        for age in (OLDEST, NEWEST)
    ),
    *(
        ErrorClient(
            name=f"{name}-{age}",
            command=partial(command, age),
            kinds=(MSAL,),
            arguments=("string", _SCOPE),
            # It asks the public cloud about an authority that it does not know, and uses the answer.
            without=("authority-unreachable",) if name == "msal-python" else (),
        )
        for name, command in _ALONE.items()
        for age in (OLDEST, NEWEST)
    ),
)
CLIENTS = _OTHERS + tuple(
    ErrorClient(
        name=f"{language}-{age}",
        command=make(age),
        kinds=kinds,
        hides_codes=(language, age) == ("java", OLDEST),
    )
    for language, make, kinds in (
        ("python", _python, ("workload", "default", "managed", AIO)),
        ("node", _node, ("workload", "managed")),
        ("java", _java, ("workload",)),
        ("go", _go, ("workload",)),
    )
    for age in (OLDEST, NEWEST)
)


def _expired_token(instance: Instance, folder: Path) -> dict[str, str]:
    """Write a token of the issuer that has expired."""
    now = int(time.time())
    claims = {
        **jose.parse(instance.token("web")).claims,
        "iat": now - 7200,
        "nbf": now - 7200,
        "exp": now - 3600,
    }
    file = folder / "expired"
    file.write_text(instance.issuer_key().sign(claims))
    return {"AZURE_FEDERATED_TOKEN_FILE": str(file)}


def _empty_file(_: Instance, folder: Path) -> dict[str, str]:
    (folder / "empty").touch()
    return {"AZURE_FEDERATED_TOKEN_FILE": str(folder / "empty")}


def _without_proxy(_: Instance, __: Path) -> dict[str, str]:
    """Let every SDK resolve names itself; nothing outside this machine has the names of the tests."""
    return dict.fromkeys(("HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy"), "")


def _other_ca(instance: Instance, folder: Path) -> dict[str, str]:
    """Let every SDK trust only another CA."""
    bundle = folder / "other-ca.pem"
    trustme.CA().cert_pem.write_to_path(bundle)
    names = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")
    exports = instance.podpass("env").stdout
    java = shlex.split(next(line for line in exports.splitlines() if "JAVA_TOOL" in line))[1]
    java = java.partition("=")[2].replace("truststore.p12", "no-truststore.p12")
    return {
        **dict.fromkeys(names, str(bundle)),
        "SSL_CERT_DIR": str(folder / "no-certificates"),
        "JAVA_TOOL_OPTIONS": java,
    }


_ALL = (WORKLOAD, "default", MSAL)
FAILURES = (
    # The oldest azure-identity for Python leaves the credential out of its chain without a word about it.
    Failure(name="no-label", labels={}, expected=("sdk_not_injected", "sdk_no_credential")),
    Failure(
        name="wrong-subject", account="other", expected=("700213",), kinds=(*_ALL, AIO, STORAGE)
    ),
    Failure(name="unknown-client", account="unknown-client", expected=("700016",), kinds=_ALL),
    Failure(
        name="wrong-tenant",
        account="wrong-tenant",
        expected=("90002", "sdk_other_tenant", "sdk_authority_document"),
        kinds=_ALL,
    ),
    Failure(
        name="no-role",
        env={"AZURE_CLIENT_ID": NO_ROLE_CLIENT},
        expected=("vault_forbidden_by_rbac",),
        kinds=(WORKLOAD, "default", MSAL),
    ),
    Failure(
        name="vault-missing",
        env={"VAULT_URL": "https://no-such-vault.vault.azure.net"},
        expected=("vault_not_found", "proxy_refused"),
    ),
    Failure(
        name="token-file-missing",
        env={"AZURE_FEDERATED_TOKEN_FILE": "/var/run/secrets/azure/wi/token/missing"},
        expected=("sdk_token_file_missing",),
    ),
    Failure(
        name="authority-unreachable",
        env={"AZURE_AUTHORITY_HOST": _CLOSED},
        expected=("sdk_authority_unreachable", "sdk_authority_document", "50049", "proxy_refused"),
        kinds=_ALL,
    ),
    Failure(
        name="no-client-id",
        account="no-client-id",
        expected=("sdk_not_injected",),
        kinds=(WORKLOAD, "default", AIO),
    ),
    Failure(
        name="malformed-tenant",
        env={"AZURE_TENANT_ID": "my tenant"},
        expected=("sdk_tenant_malformed", "sdk_other_tenant", "900023", "sdk_authority_document"),
        kinds=_ALL,
    ),
    Failure(
        name="token-file-empty",
        prepare=_empty_file,
        expected=("sdk_token_file_unreadable", "7000216"),
        kinds=_ALL,
    ),
    Failure(
        name="authority-without-tls",
        env={"AZURE_AUTHORITY_HOST": "http://login.microsoftonline.com/"},
        expected=("sdk_authority_malformed",),
        kinds=_ALL,
    ),
    Failure(
        name="unknown-host",
        env={"VAULT_URL": "https://no-such-vault.invalid"},
        prepare=_without_proxy,
        expected=("sdk_host_unreachable", "proxy_refused"),
    ),
    Failure(name="expired-token", prepare=_expired_token, expected=("700024",), kinds=_ALL),
    Failure(name="bad-ca", prepare=_other_ca, expected=("sdk_ca_untrusted",), kinds=_ALL),
    Failure(
        name="no-metadata-service",
        labels={},
        env={"AZURE_POD_IDENTITY_AUTHORITY_HOST": "http://127.0.0.1:9"},
        expected=("sdk_imds_unreachable", "sdk_no_credential"),
        kinds=("managed",),
    ),
)


def create_accounts(instance: Instance) -> None:
    """Create the ServiceAccounts of the failures."""
    key = "azure.workload.identity/"
    instance.account("other", {f"{key}client-id": CLIENT})
    instance.account("no-client-id", {})
    instance.account("unknown-client", {f"{key}client-id": UNKNOWN})
    instance.account("wrong-tenant", {f"{key}client-id": CLIENT, f"{key}tenant-id": UNKNOWN})


def run_failure(
    instance: Instance, client: ErrorClient, kind: str, failure: Failure, folder: Path
) -> str:
    """Run a client in a broken pod; return its cleaned output."""
    name = f"{client.name}-{kind}-{failure.name}"
    env = {"VAULT_URL": VAULT, **failure.env, **failure.prepare(instance, folder)}
    if kind == STORAGE:
        # Its chain continues with managed identity: with that of App Service, and not with the machine's.
        env |= {"IDENTITY_ENDPOINT": "http://127.0.0.1:9/", "IDENTITY_HEADER": "none"}
    command = [*client.command(), *(client.arguments or (kind,))]
    instance.create_pod(name, failure.account, command, labels=failure.labels, env=env)
    _, printed = instance.wait_for_end(name, 120)
    return clean_output(printed, instance, folder)


def clean_output(printed: str, instance: Instance, folder: Path) -> str:
    """Remove what differs in each run, and all paths of this machine."""
    lines = [each for each in printed.splitlines() if not _NOISE.search(each)]
    printed = "\n".join(lines)
    text = printed.replace(str(instance.data_dir), "/data").replace(str(folder), "/folder")
    text = text.replace(str(PROGRAMS), "/programs").replace(str(Path.home()), "/home/user")
    known = {CLIENT, NO_ROLE_CLIENT, UNKNOWN}
    text = _GUID.sub(lambda found: found[0] if found[0] in known else _NO_GUID, text)
    text = _TIME.sub("2026-01-02 03:04:05Z", _TOKEN.sub("[token]", text))
    text = _OBJECT.sub("0x0", _PORT.sub(r"\1:443", text))
    text = text.strip()
    # The last cause of a chain of exceptions is often the one that counts.
    middle = MAX_CHARS // 2
    return text if len(text) <= MAX_CHARS else f"{text[:middle]} ... {text[-middle:]}"
