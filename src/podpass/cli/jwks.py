"""`podpass jwks`: the JWKS of an issuer from its PEM files, with the flags and the output of `azwi jwks`."""

from pathlib import Path

import click

from podpass.errors import Error, UsageError

_MAX_FILE_BYTES = 1024 * 1024


class JwksNotBuilt(Error):
    """A key file cannot be read or contains no public key."""

    code = "jwks_not_built"
    hint = "use PEM files with RSA keys, or EC keys on P-256, P-384 or P-521"


@click.command
@click.option(
    "--public-keys",
    multiple=True,
    metavar="FILES",
    help="PEM files with public keys, separated by commas; can be repeated.",
)
@click.option(
    "--output-file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="F",
    help="Write the JWKS to this file, with mode 0600.  [default: stdout]",
)
def command(public_keys: tuple[str, ...], output_file: Path | None) -> None:
    """Print the JWKS of an issuer from PEM files.

    The files contain public keys, certificates or private keys, of which only the public part is used; a
    file may contain several. The order is kept. Key IDs are those of kube-apiserver.
    """
    from podpass.assertion.pem_keys import NoPublicKey, format_jwks, load_public_keys
    from podpass.files import read_regular, write_private

    paths = [Path(name) for each in public_keys for name in each.split(",") if name]
    if not paths:
        raise UsageError("no public keys provided", hint="pass --public-keys FILE")
    keys = []
    for path in paths:
        try:
            keys += load_public_keys(read_regular(path, _MAX_FILE_BYTES))
        except OSError as exc:
            raise JwksNotBuilt(
                f"failed to read public key file: cannot read {path}: {exc.strerror}"
            ) from exc
        except NoPublicKey as exc:
            raise JwksNotBuilt(f"failed to read public key file: {path}: {exc.message}") from exc
    try:
        text = format_jwks(keys)
    except NoPublicKey as exc:
        raise JwksNotBuilt(
            f"failed to construct JSONWebKeySet from a list of keys: {exc.message}"
        ) from exc
    if output_file is None:
        click.echo(text, nl=False)
        return
    try:
        write_private(output_file, text.encode())
    except OSError as exc:
        raise Error(
            f"failed to write JWKS to file: {output_file}: {exc.strerror}",
            hint="choose a file in a directory that you can write to",
        ) from exc
