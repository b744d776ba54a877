"""`podpass token`."""

import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from podpass.cli import options
from podpass.cli.client import read_status, request
from podpass.cli.output import align, emit
from podpass.clock import system
from podpass.errors import Error, UsageError
from podpass.local.datadir import DataDir, load_facts

_MAX_FILE_BYTES = 64 * 1024
_WANTED = "a token has three parts with dots between them and begins with ey"


class CannotCheck(Error):
    """The signature cannot be checked from here; that says nothing about the token."""

    code = "cannot_check"


@click.group
def command() -> None:
    """Look into a token."""


@command.command
@options.data_dir
@options.output()
@click.argument("token", default="-", metavar="[TOKEN|FILE|-]")
@click.pass_context
def inspect(ctx: click.Context, data_dir: DataDir, token: str, output: str) -> None:
    """Say what a token is, which hop it belongs to, and whether it would pass.

    Give the token itself, a file that holds it, or nothing to read it from stdin. Its signature is checked
    against the keys that its issuer publishes, if the issuer is part of the running instance. Leaves with 1
    when the signature does not fit.
    """
    from podpass.crypto import jose
    from podpass.local import tokens

    try:
        unverified = jose.parse(_read(token))
    except jose.MalformedToken as exc:
        raise Error(f"this is no token: {exc.message}", hint=_WANTED) from exc
    finding = tokens.examine(unverified, system())
    try:
        why = tokens.check_signature(unverified, _published_keys(data_dir, finding.claims))
        signature = "fits" if why is None else f"does not fit: {why}"
    except CannotCheck as exc:
        signature = f"not checked: {exc.message}"
    _print(finding, signature, output)
    ctx.exit(1 if signature.startswith("does not") else 0)


def _read(token: str) -> str:
    """Take the token from the argument, a file or stdin; its text must not end up in an error.

    Errors:  UsageError.
    """
    if token == "-":  # noqa: S105 the usual word for stdin
        return sys.stdin.read(_MAX_FILE_BYTES).strip()
    if token.count(".") == 2 and token.startswith("ey"):
        return token
    try:
        with Path(token).open() as file:
            return file.read(_MAX_FILE_BYTES).strip()
    except (OSError, ValueError) as exc:
        raise UsageError(
            "this is neither a token nor a file that can be read",
            hint=_WANTED,
        ) from exc


def _published_keys(data_dir: DataDir, claims: Any) -> Any:
    """Fetch the keys of a token's issuer from the running instance.

    Errors:  CannotCheck.
    """
    from podpass.crypto.jose import DISCOVERY_PATH, load_jwks

    issuer = str(claims.get("iss", ""))
    if read_status(data_dir) is None:
        raise CannotCheck("no instance is running that could know its issuer")
    document = _fetch(data_dir, issuer.removesuffix("/") + DISCOVERY_PATH)
    return load_jwks(_fetch(data_dir, str(document.get("jwks_uri", ""))))


def _fetch(data_dir: DataDir, url: str) -> dict[str, Any]:
    """Fetch a document of this instance, and of nobody else: the address comes from the token."""
    from podpass.local.gateway import HTTPS, route, routes

    ports = load_facts(data_dir).ports
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or HTTPS
    except ValueError as exc:
        raise CannotCheck("its issuer is no URL") from exc
    service = route(routes(ports), host) if port == HTTPS else None
    if host in ("localhost", "127.0.0.1") and port in ports.values():
        service = ("127.0.0.1", port)
    if parts.scheme != "https" or service is None:
        raise CannotCheck("its issuer is not part of this instance")
    status, document = request(
        service[1], data_dir.ca_file, "GET", parts.path, host=host, headers={"Host": parts.netloc}
    )
    if status != 200:
        raise CannotCheck(f"{parts.netloc} of this instance does not know that issuer")
    return document


def _print(finding: Any, signature: str, output: str) -> None:
    summary = {
        "what": finding.what,
        "hop": finding.hop,
        "state": finding.state,
        "lifetime": finding.lifetime,
        "signature": signature,
        "header": dict(finding.header),
        "claims": dict(finding.claims),
    }
    if output != "table":
        emit(summary, output)
        return
    lines = [[name, str(summary[name])] for name in ("what", "hop", "lifetime", "signature")]
    for part in ("header", "claims"):
        lines.append(["", ""])
        lines += [[f"{part} {name}", _shown(value)] for name, value in summary[part].items()]
    click.echo(align(lines), nl=False)


def _shown(value: object) -> str:
    import json

    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
