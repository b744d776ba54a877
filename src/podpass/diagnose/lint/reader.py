"""Read what `podpass lint` checks from Microsoft Graph and Resource Manager."""

import asyncio
from datetime import datetime

from podpass.diagnose.graph.azure_snapshot import AzureReader
from podpass.diagnose.lint.assignments import find_initiatives, resolve_assignments
from podpass.diagnose.lint.model import LintedIdentity, LintFacts


async def read_facts(reader: AzureReader, now: datetime) -> LintFacts:
    """Return the identities and the assigned policies that the caller may read. Raises SignInFailed."""
    identities, assigned, exemptions = await asyncio.gather(
        reader.read_identities(), reader.read_policies(), reader.read_exemptions()
    )
    initiatives = await reader.read_initiatives(find_initiatives(assigned))
    resolved = resolve_assignments(assigned, initiatives, exemptions, now)
    reader.unread += resolved.unread
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
    return LintFacts(identities=linted, policies=resolved.policies)
