"""`create` and `delete`: read what exists, plan, ask before a deletion that affects others, perform."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from podpass import __version__
from podpass.errors import Error
from podpass.provision.connection import Report
from podpass.provision.model import ProvisionRequest, ProvisionStep
from podpass.provision.observe import Observer
from podpass.provision.perform import Creation, Deletion
from podpass.provision.plan import find_other_users, plan_create, plan_delete
from podpass.provision.steps import Clients, Finished, run_steps

Confirm = Callable[[Sequence[str]], bool]


class StillInUse(Error):
    """An object that would be deleted is used by others, and the deletion is not confirmed."""

    code = "still_in_use"


@dataclass(kw_only=True)
class Outcome:
    """The steps of a command, and ids of the objects; a dry run has performed none of the steps."""

    steps: tuple[ProvisionStep, ...]
    ids: dict[str, str] = field(default_factory=dict)


async def create(
    request: ProvisionRequest,
    clients: Clients,
    *,
    commit: str,
    dry_run: bool,
    finished: Finished,
    report: Report,
) -> Outcome:
    """Create what does not exist yet; a second run changes nothing. Raises PhaseFailed."""
    observed = await Observer(request, clients).observe_for_creation()
    steps = plan_create(request, observed)
    creation = Creation(
        request=request,
        observed=observed,
        clients=clients,
        tag=f"azwi version: v{__version__}, commit: {commit}",
    )
    if not dry_run:
        await run_steps(steps, creation.perform, finished, report)
    return Outcome(steps=steps, ids=creation.ids)


async def delete(
    request: ProvisionRequest,
    clients: Clients,
    *,
    confirm: Confirm,
    dry_run: bool,
    finished: Finished,
    report: Report,
) -> Outcome:
    """Delete what exists; a second run changes nothing.

    `confirm` receives the uses by others and returns whether to delete nevertheless. Raises PhaseFailed,
    StillInUse.
    """
    observer = Observer(request, clients)
    observed = await observer.observe_for_deletion()
    uses = find_other_users(request, observed)
    if uses and not dry_run:
        if not confirm(uses):
            raise StillInUse(
                f"nothing was deleted: {'; '.join(uses)}",
                hint="remove these uses first, or delete nevertheless with --yes",
            )
        # The answer may have taken time: others may use the objects now.
        observed = await observer.observe_for_deletion()
        added = [each for each in find_other_users(request, observed) if each not in uses]
        if added:
            raise StillInUse(
                f"nothing was deleted: since the question, {'; '.join(added)}",
                hint="run the command again",
            )
    steps = plan_delete(request, observed)
    if not dry_run:
        deletion = Deletion(request=request, observed=observed, clients=clients)
        await run_steps(steps, deletion.perform, finished, report)
    return Outcome(steps=steps)
