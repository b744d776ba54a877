"""Read the pods of a cluster, and what admission would give them now, by dry runs."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import quote

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
from podpass.kubernetes.client import KubeClient, KubeError

_DRY_RUN = {"dryRun": "All"}
_PARALLEL = 4
_MAX_REASON = 300
_FORBIDDEN, _NOT_FOUND = 403, 404
_REPLICA_SETS = "/apis/apps/v1/namespaces/{}/replicasets"


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
    async for items in _pages(client, "/api/v1/namespaces/{}/pods", namespace):
        candidates += find_candidates(items, owners)
    limit = asyncio.Semaphore(_PARALLEL)
    by_revision = {each.revision: each for each in candidates}
    answers = await asyncio.gather(*(_admit(client, each, limit) for each in by_revision.values()))
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
        await client.get(f"/api/v1/namespaces/{quote(namespace, safe='')}", metadata_only=True)
    except KubeError as exc:
        if exc.status == _NOT_FOUND:
            raise NamespaceNotFound(f"the namespace {namespace} does not exist") from exc
        if exc.status != _FORBIDDEN:
            raise


async def _admit(
    client: KubeClient, candidate: Candidate, limit: asyncio.Semaphore
) -> Object | str:
    """Return the pod that admission would create, or why there is none."""
    namespace = candidate.controller.namespace
    path = f"/api/v1/namespaces/{quote(namespace, safe='')}/pods"
    async with limit:
        try:
            return await client.create(path, candidate.sent, _DRY_RUN)
        except KubeError as exc:
            lines = exc.message.strip().splitlines()
            return f"no dry run of the pod: {lines[0][:_MAX_REASON] if lines else exc.reason}"


async def _read_owners(client: KubeClient, namespace: str) -> Owners:
    templates: dict[ControllerRef, Object] = {}
    for kind, collection in RESTARTABLE.items():
        async for items in _pages(client, collection, namespace):
            for item in items:
                about = item.get("metadata") or {}
                ref = ControllerRef(
                    str(about.get("namespace", "")), kind, str(about.get("name", ""))
                )
                templates[ref] = {"metadata": about, "spec": item.get("spec") or {}}
    deployments: dict[tuple[str, str], str | None] = {}
    async for items in _pages(client, _REPLICA_SETS, namespace, metadata_only=True):
        for item in items:
            about = item.get("metadata") or {}
            deployments[str(about.get("namespace", "")), str(about.get("name", ""))] = next(
                (
                    str(owner.get("name", ""))
                    for owner in about.get("ownerReferences") or ()
                    if owner.get("controller") and owner.get("kind") == "Deployment"
                ),
                None,
            )
    return Owners(templates=templates, deployments=deployments)


async def _pages(
    client: KubeClient, collection: str, namespace: str, *, metadata_only: bool = False
) -> AsyncIterator[list[dict[str, Any]]]:
    path = (
        collection.format(quote(namespace, safe=""))
        if namespace
        else collection.replace("/namespaces/{}", "")
    )
    async for items, _ in client.pages(path, metadata_only=metadata_only):
        yield items


async def read_budgets(client: KubeClient, namespace: str) -> list[Mapping[str, Any]]:
    """Return the PodDisruptionBudgets of a namespace. Raises KubeError."""
    path = f"/apis/policy/v1/namespaces/{quote(namespace, safe='')}/poddisruptionbudgets"
    return list((await client.list(path))[0])
