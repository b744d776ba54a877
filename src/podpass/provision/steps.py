"""Run the steps of a plan one after the other, so that a failure or an interruption can be resumed."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from podpass.errors import Error
from podpass.kubernetes.client import KubeError
from podpass.provision.connection import Report
from podpass.provision.errors import ApiError, SignInFailed
from podpass.provision.graph import GraphClient
from podpass.provision.model import (
    ACCOUNT,
    APPLICATION,
    CREDENTIAL,
    IDENTITY,
    ROLE,
    Action,
    ObjectKind,
    ProvisionStep,
    StepEvent,
)
from podpass.provision.plan import PhaseFailed
from podpass.provision.resource_manager import ManagerClient
from podpass.provision.service_accounts import ServiceAccountClient

Perform = Callable[[ProvisionStep], Awaitable[Mapping[str, str]]]
Finished = Callable[[StepEvent], None]

# The rights that an account needs for each phase; the error after a 403 names them.
_RIGHTS = {
    APPLICATION: "the Entra role Application Developer, or Application.ReadWrite.OwnedBy of Graph",
    IDENTITY: "the role Managed Identity Contributor at the resource group",
    ACCOUNT: "RBAC rules for serviceaccounts: get, create, patch, delete",
    CREDENTIAL: "ownership of the application, or the role Managed Identity Contributor",
    ROLE: "the role User Access Administrator or Owner at the scope",
}
# The texts of azure-workload-identity for each phase that fails.
_TEXTS = {
    (ObjectKind.APPLICATION, Action.CREATE): "failed to create AAD application",
    (ObjectKind.PRINCIPAL, Action.CREATE): "failed to create service principal",
    (ObjectKind.ACCOUNT, Action.CREATE): "failed to create kubernetes service account",
    (ObjectKind.ACCOUNT, Action.UPDATE): "failed to update kubernetes service account",
    (ObjectKind.CREDENTIAL, Action.CREATE): "failed to add federated credential",
    (ObjectKind.ASSIGNMENT, Action.CREATE): "failed to create role assignment",
    (ObjectKind.APPLICATION, Action.DELETE): "failed to delete application",
}


@dataclass(kw_only=True)
class Clients:
    """The APIs that the phases use.

    An API that no active phase needs is None.
    """

    graph: GraphClient | None = None
    manager: ManagerClient | None = None
    accounts: ServiceAccountClient | None = None

    @property
    def of_graph(self) -> GraphClient:
        assert self.graph is not None, "the phases need Graph"
        return self.graph

    @property
    def of_manager(self) -> ManagerClient:
        assert self.manager is not None, "the phases need Resource Manager"
        return self.manager

    @property
    def of_accounts(self) -> ServiceAccountClient:
        assert self.accounts is not None, "the phases need the cluster"
        return self.accounts


async def run_steps(
    steps: Sequence[ProvisionStep], perform: Perform, finished: Finished, report: Report
) -> None:
    """Perform all steps in order. Raises PhaseFailed, with the steps that are done and how to resume."""
    for number, step in enumerate(steps):
        try:
            fields = await perform(step)
        except asyncio.CancelledError:
            report(f"interrupted in phase {step.phase}: {_describe(steps, number)}")
            raise
        except (ApiError, KubeError, SignInFailed) as exc:
            raise _failure(step, exc, _describe(steps, number)) from exc
        finished(StepEvent(step=step, fields=fields))


def _failure(step: ProvisionStep, exc: Error, progress: str) -> PhaseFailed:
    text = _TEXTS.get((step.kind, step.action), f"failed to {step.action} {step.kind}")
    hint = _add_fix(step.phase, exc, f"{progress}; run the same command again to resume")
    return PhaseFailed(step.phase, f"{text}: {exc.message}", hint=hint)


def explain_refusal(phase: str, action: str, exc: Error) -> PhaseFailed:
    """Return the error of a read that failed before the first step."""
    hint = _add_fix(phase, exc, "nothing was changed; run the same command again")
    return PhaseFailed(phase, f"failed to {action}: {exc.message}", hint=hint)


def _add_fix(phase: str, exc: Error, hint: str) -> str:
    """Return a hint that begins with the fix of an error: the missing right, or its own hint."""
    status = exc.api_status if isinstance(exc, ApiError) else exc.status
    if isinstance(exc, ApiError | KubeError) and status == 403:
        return f"the account needs {_RIGHTS[phase]}. {hint}"
    return f"{exc.hint}. {hint}" if exc.hint else hint


def _describe(steps: Sequence[ProvisionStep], number: int) -> str:
    done = [f"{each.kind} ({each.action})" for each in steps[:number]]
    remaining = [str(each.kind) for each in steps[number:]]
    return f"done: {', '.join(done) or 'nothing'}; not done: {', '.join(remaining)}"
