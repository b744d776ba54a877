"""Print federated credentials next to an assertion, for `podpass explain` and `podpass token inspect`."""

from collections.abc import Sequence
from typing import Any

import click

from podpass.cli.output import escape_unprintable
from podpass.diagnose.doctor.credentials import (
    EXPRESSION,
    MEMBERS,
    ClauseComparison,
    CredentialComparison,
    mark_differences,
)

_SHOWN = 3


def print_comparisons(found: Sequence[CredentialComparison]) -> None:
    """Print the most similar credentials; a caret marks each character that differs."""
    for one in found[:_SHOWN]:
        click.echo(f"\ncredential {one.credential} of {one.identity} ({one.client_id})")
        for member in MEMBERS:
            if member not in one.expected or (member == EXPRESSION and one.clauses):
                continue
            expected, presented = one.expected[member], one.presented[member]
            if member not in one.differs:
                click.echo(f"  {member:9} equal: {escape_unprintable(expected)}")
                continue
            texts = [escape_unprintable(expected), escape_unprintable(presented)]
            click.echo(f"  {member:9} credential: {texts[0]}")
            click.echo(f"  {'':9} assertion:  {texts[1]}")
            click.echo(f"  {'':9}             {mark_differences(*texts)}".rstrip())
        for clause in one.clauses:
            _print_clause(clause)
    if len(found) > _SHOWN:
        click.echo(f"\n{len(found) - _SHOWN} other credentials differ more")


def _print_clause(one: ClauseComparison) -> None:
    """Print a clause, and below it the claim with a caret at the first character that differs."""
    clause = escape_unprintable(str(one.clause))
    if not one.difference:
        click.echo(f"  {'clause':9} matches: {clause}")
        return
    click.echo(f"  {'clause':9} credential: {clause}")
    if one.presented is None:
        click.echo(f"  {'':9} assertion:  has no text claim {one.clause.claim}")
        return
    indent = " " * len(f"claims['{one.clause.claim}'] {one.clause.operator} '")
    click.echo(f"  {'':9} assertion:  {indent}{escape_unprintable(one.presented)}")
    place = one.clause.find_difference(one.presented)
    place = one.clause.value.index("*") if place is None else place
    click.echo(f"  {'':9}             {indent}{' ' * place}^")


def to_json(one: CredentialComparison) -> dict[str, Any]:
    """Return a comparison as JSON."""
    return {
        "identity": one.identity,
        "client_id": one.client_id,
        "credential": one.credential,
        "differs": list(one.differs),
        "expected": dict(one.expected),
        "presented": dict(one.presented),
        "clauses": [
            {
                "claim": each.clause.claim,
                "operator": each.clause.operator,
                "value": each.clause.value,
                "presented": each.presented,
                "difference": each.difference,
            }
            for each in one.clauses
        ],
    }
