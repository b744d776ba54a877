"""Read the pods of a cluster, and what admission would give them now, by dry runs."""

import asyncio

from podpass.diagnose.drift.plan import (
    RESTARTABLE,
    Candidate,
    ControllerRef,
    DriftReport,
    Object,
    Owners,
    PodDrift,
    UncheckedPod,
    compare,
    find_candidates,
)
from podpass.errors import Error
from podpass.facts import Unread
from podpass.kubernetes.client import KubeClient, KubeError, KubeUnreachable
from podpass.kubernetes.objects import controller_of
from podpass.kubernetes.paths import path_of
from podpass.kubernetes.reader import ObjectReader

_PARALLEL = 4
_FORBIDDEN = 403


class NamespaceNotFound(Error):
    """The namespace does not exist."""

    code = "namespace_not_found"
    hint = "list the namespaces: kubectl get namespaces; then pass one of them, or --all-namespaces"


async def read_drift(client: KubeClient, namespace: str) -> DriftReport:
    """Compare every pod of a namespace that has an identity; an empty name is every namespace.

    Each revision of a controller costs one dry run, which calls the webhooks and stores nothing. Raises
    KubeError if pods or their controllers may not be read; NamespaceNotFound.
    """
    await _require_namespace(client, namespace)
    owners = await _read_owners(client, namespace)
    candidates: list[Candidate] = []
    async for items, _ in client.pages(path_of("Pod", namespace=namespace)):
        candidates += find_candidates(items, owners)
    reader, limit = ObjectReader(client), asyncio.Semaphore(_PARALLEL)
    by_revision = {each.revision: each for each in candidates}
    answers = await asyncio.gather(*(_admit(reader, each, limit) for each in by_revision.values()))
    answer_of = dict(zip(by_revision, answers, strict=True))
    results = [compare(each, answer_of[each.revision]) for each in candidates]
    return DriftReport(
        checked=len(candidates),
        pods=[each for each in results if isinstance(each, PodDrift)],
        unchecked=[each for each in results if isinstance(each, UncheckedPod)],
    )


async def _require_namespace(client: KubeClient, namespace: str) -> None:
    """Check that a namespace exists, unless the caller may not know: a list of its pods is empty anyway."""
    if not namespace:
        return
    try:
        found = await client.find(path_of("Namespace", namespace), metadata_only=True)
    except KubeError as exc:
        if exc.status != _FORBIDDEN:
            raise
    else:
        if found is None:
            raise NamespaceNotFound(f"the namespace {namespace} does not exist")


async def _admit(
    reader: ObjectReader, candidate: Candidate, limit: asyncio.Semaphore
) -> Object | str:
    """Return the pod that admission would create, or why there is none."""
    async with limit:
        try:
            answer = await reader.preview(candidate.controller.namespace, candidate.sent)
        except KubeUnreachable as exc:
            return f"no dry run of the pod: {exc.message}"
    if isinstance(answer, Unread):
        return answer.reason
    return answer.pod or f"no dry run of the pod: {answer.refusal}"


async def _read_owners(client: KubeClient, namespace: str) -> Owners:
    templates: dict[ControllerRef, Object] = {}
    for kind in RESTARTABLE:
        async for items, _ in client.pages(path_of(kind, namespace=namespace)):
            for item in items:
                about = item.get("metadata") or {}
                ref = ControllerRef(
                    str(about.get("namespace", "")), kind, str(about.get("name", ""))
                )
                templates[ref] = {"metadata": about, "spec": item.get("spec") or {}}
    deployments: dict[tuple[str, str], str | None] = {}
    path = path_of("ReplicaSet", namespace=namespace)
    async for items, _ in client.pages(path, metadata_only=True):
        for item in items:
            about, owner = item.get("metadata") or {}, controller_of(item)
            deployments[str(about.get("namespace", "")), str(about.get("name", ""))] = (
                str(owner.get("name", "")) if owner.get("kind") == "Deployment" else None
            )
    return Owners(templates=templates, deployments=deployments)
