"""Read what `podpass lint` checks from Microsoft Graph and Resource Manager."""

import asyncio

from podpass.diagnose.graph.azure_snapshot import AzureReader
from podpass.diagnose.lint.model import LintedIdentity, LintFacts
from podpass.diagnose.lint.policies import parse_assignments


async def read_facts(reader: AzureReader) -> LintFacts:
    """Return the identities and the assigned policies that the caller may read. Raises SignInFailed."""
    identities, assigned = await asyncio.gather(reader.read_identities(), reader.read_policies())
    linted = [
        LintedIdentity(
            name=each.name,
            kind=each.kind,
            credentials=each.credentials,
            object_id=each.object_id,
            resource_id=each.resource_id or "",
        )
        for each in identities
    ]
    return LintFacts(identities=linted, policies=parse_assignments(assigned))
