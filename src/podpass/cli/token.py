"""`podpass token`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from podpass.cli import options
from podpass.cli.client import list_identities, read_status, request
from podpass.cli.credential_report import print_comparisons, to_json
from podpass.cli.output import align, print_output
from podpass.clock import system
from podpass.diagnose.doctor.credentials import CredentialComparison, compare, read_presented
from podpass.errors import Error, UsageError
from podpass.lab.data.datadir import DataDir, load_config

if TYPE_CHECKING:
    from podpass.crypto.jose import UnverifiedToken
    from podpass.diagnose.tokens import CheckResult, TokenInspection

_MAX_FILE_BYTES = 64 * 1024
_UNTRUSTED = "no federated credential of this instance trusts it"
_TOKEN_HINT = "pass a JWT: three parts separated by dots, beginning with ey"  # noqa: S105 not a password


class UnsignedToken(Error):
    """The token has the algorithm `none`, or an empty signature."""

    code = "unsigned_token"
    hint = "request the token from its issuer, which signs it"


class SignatureNotChecked(Error):
    """The signature cannot be checked here; the token may still be valid."""

    code = "signature_not_checked"


@click.group
def command() -> None:
    """Inspect a token."""


@command.command
@options.data_dir
@options.output()
@click.argument("token", default="-", metavar="[TOKEN|FILE|-]")
@click.pass_context
def inspect(ctx: click.Context, data_dir: DataDir, token: str, output: str) -> None:
    """Show what a token is, which hop it belongs to, and whether it is valid.

    Pass the token or a file that contains it; without an argument it reads stdin. The signature is checked
    against the published keys of its issuer, if the issuer is part of the running instance. The trust in a
    token for a token exchange is checked against all federated credentials of the instance. Exits with
    status 1 when no service would accept the token: it is expired or not valid yet, it has no signature or
    an invalid one, or no federated credential trusts it. A check that is not possible is not a failure.
    """
    from podpass.crypto import jose
    from podpass.diagnose import tokens

    text = _read_token(token)
    try:
        unverified = jose.parse(text)
    except jose.MalformedToken as exc:
        if _is_unsigned(text):
            raise UnsignedToken("the token is not signed, so no service accepts it") from exc
        raise Error(f"this is not a token: {exc.message}", hint=_TOKEN_HINT) from exc
    finding = tokens.inspect_token(unverified, system())
    signature = _check_signature(data_dir, unverified, is_unsigned=_is_unsigned(text))
    trust, comparisons = _check_trust(data_dir, finding)
    _print_finding(finding, signature, trust, output, comparisons)
    ctx.exit(1 if tokens.is_refused(finding, signature, trust) else 0)


def _check_signature(
    data_dir: DataDir, unverified: "UnverifiedToken", *, is_unsigned: bool
) -> "CheckResult":
    from podpass.diagnose.tokens import CheckResult, check_signature

    if is_unsigned or str(unverified.header.get("alg")).lower() == "none":
        return CheckResult(False, "invalid: the token is not signed")
    try:
        reason = check_signature(unverified, _published_keys(data_dir, unverified.claims))
    except SignatureNotChecked as exc:
        return CheckResult(None, f"not checked: {exc.message}")
    return CheckResult(reason is None, "valid" if reason is None else f"invalid: {reason}")


def _check_trust(
    data_dir: DataDir, finding: "TokenInspection"
) -> tuple["CheckResult | None", list[CredentialComparison]]:
    """Check whether a federated credential trusts a client assertion.

    Returns None for other tokens; the most similar credentials if none trusts it.
    """
    from podpass.diagnose.tokens import CheckResult

    presented = read_presented(finding.claims)
    if finding.hop != "exchange" or presented is None:
        return None, []
    if read_status(data_dir) is None:
        return CheckResult(None, "not checked: no instance is running"), []
    identities, _ = list_identities(data_dir)
    found = compare(identities, presented)
    trusting = [each for each in found if not each.differs]
    if not trusting:
        return CheckResult(False, _UNTRUSTED), found
    names = ", ".join(f"credential {each.credential} of {each.identity}" for each in trusting)
    return CheckResult(True, names), []


def _is_unsigned(text: str) -> bool:
    header, _, rest = text.partition(".")
    return header.startswith("ey") and rest.count(".") == 1 and rest.endswith(".")


def _read_token(token: str) -> str:
    """Read the token from the argument, a file or stdin; no error contains its text. Raises UsageError."""
    if token == "-":  # noqa: S105 stdin, not a password
        if sys.stdin.isatty():
            raise UsageError("no token to inspect was given", hint=_TOKEN_HINT)
        return sys.stdin.read(_MAX_FILE_BYTES).strip()
    if token.count(".") == 2 and token.startswith("ey"):
        return token
    try:
        with Path(token).open() as file:
            return file.read(_MAX_FILE_BYTES).strip()
    except (OSError, ValueError) as exc:
        raise UsageError(
            "the argument is neither a token nor a readable file", hint=_TOKEN_HINT
        ) from exc


def _published_keys(data_dir: DataDir, claims: Any) -> Any:
    """Fetch the keys of a token's issuer from the running instance. Raises SignatureNotChecked."""
    from podpass.crypto.jose import DISCOVERY_PATH, load_jwks

    issuer = str(claims.get("iss", ""))
    if read_status(data_dir) is None:
        raise SignatureNotChecked("no instance is running")
    document = _fetch(data_dir, issuer.removesuffix("/") + DISCOVERY_PATH)
    return load_jwks(_fetch(data_dir, str(document.get("jwks_uri", ""))))


def _fetch(data_dir: DataDir, url: str) -> dict[str, Any]:
    """Fetch a document from this instance only: the address comes from the token, so it is not trusted."""
    from podpass.lab.gateway.gateway import HTTPS, route, routes

    ports = load_config(data_dir).ports
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or HTTPS
    except ValueError as exc:
        raise SignatureNotChecked("its issuer is not a URL") from exc
    service = route(routes(ports), host) if port == HTTPS else None
    if host in ("localhost", "127.0.0.1") and port in ports.values():
        service = ("127.0.0.1", port)
    if parts.scheme != "https" or service is None:
        raise SignatureNotChecked("its issuer is not part of this instance")
    status, document = request(
        service[1], data_dir.ca_file, "GET", parts.path, host=host, headers={"Host": parts.netloc}
    )
    if status != 200:
        raise SignatureNotChecked(f"{parts.netloc} of this instance does not serve that issuer")
    return document


def _print_finding(
    finding: "TokenInspection",
    signature: "CheckResult",
    trust: "CheckResult | None",
    output: str,
    comparisons: list[CredentialComparison],
) -> None:
    summary: dict[str, Any] = {
        "what": finding.what,
        "hop": finding.hop,
        "state": finding.state,
        "lifetime": finding.lifetime,
        "signature": signature.text,
        "trust": trust.text if trust else None,
        "credentials": [to_json(each) for each in comparisons],
        "header": dict(finding.header),
        "claims": dict(finding.claims),
    }
    if output != "table":
        print_output(summary, output)
        return
    lines = [
        [name, str(summary[name])]
        for name in ("what", "hop", "lifetime", "signature", "trust")
        if summary[name]
    ]
    for part in ("header", "claims"):
        lines.append(["", ""])
        lines += [[f"{part} {name}", _format_value(value)] for name, value in summary[part].items()]
    click.echo(align(lines), nl=False)
    print_comparisons(comparisons)


def _format_value(value: object) -> str:
    import json

    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
