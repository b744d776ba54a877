"""Print federated credentials next to an assertion, for `podpass explain` and `podpass token inspect`."""

from collections.abc import Sequence
from typing import Any

import click

from podpass.cli.output import escape_unprintable
from podpass.diagnose.doctor.credentials import MEMBERS, CredentialComparison, mark_differences

_SHOWN = 3


def print_comparisons(found: Sequence[CredentialComparison]) -> None:
    """Print the most similar credentials; a caret marks each character that differs."""
    for one in found[:_SHOWN]:
        click.echo(f"\ncredential {one.credential} of {one.identity} ({one.client_id})")
        for member in MEMBERS:
            expected, presented = one.expected[member], one.presented[member]
            if member not in one.differs:
                click.echo(f"  {member:9} equal: {escape_unprintable(expected)}")
                continue
            texts = [escape_unprintable(expected), escape_unprintable(presented)]
            click.echo(f"  {member:9} credential: {texts[0]}")
            click.echo(f"  {'':9} assertion:  {texts[1]}")
            click.echo(f"  {'':9}             {mark_differences(*texts)}".rstrip())
    if len(found) > _SHOWN:
        click.echo(f"\n{len(found) - _SHOWN} other credentials differ more")


def to_json(one: CredentialComparison) -> dict[str, Any]:
    """Return a comparison as JSON."""
    return {
        "identity": one.identity,
        "client_id": one.client_id,
        "credential": one.credential,
        "differs": list(one.differs),
        "expected": dict(one.expected),
        "presented": dict(one.presented),
    }
