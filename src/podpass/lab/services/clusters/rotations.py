"""Rotations of the cluster: the signing keys of its issuer, and its certificates. Both are long-running.

Source:  https://learn.microsoft.com/rest/api/aks/managed-clusters/rotate-service-account-signing-keys
         https://learn.microsoft.com/rest/api/aks/managed-clusters/rotate-cluster-certificates
"""

from podpass.directory.resource_manager import errors, operations
from podpass.directory.resource_manager.model import (
    ManagerResponse,
    OperationContext,
    build_route,
)
from podpass.lab.services.clusters import resource_manager as clusters
from podpass.lab.services.clusters.context import cluster_of
from podpass.lab.services.clusters.model import TYPE, Cluster
from podpass.lab.services.clusters.wire import is_issuer_enabled

_KEYS, _CERTIFICATES = "rotateServiceAccountSigningKeys", "rotateClusterCertificates"


async def _rotate_keys(context: OperationContext) -> ManagerResponse:
    with clusters.exclusive(context), clusters.converting_refusals():
        cluster = await clusters.require(context)
        if not is_issuer_enabled(cluster.document):
            text = f"The OIDC issuer of the cluster '{cluster.name}' is not enabled."
            raise errors.bad_request("OIDCIssuerNotEnabled", text)
        cluster_of(context).check_rotation()
        await clusters.record(context, cluster, f"{TYPE}/{_KEYS}/action")
        complete_at = await cluster_of(context).rotate_signing_keys()
    return _accepted(context, cluster, context.operations.complete(complete_at))


async def _rotate_certificates(context: OperationContext) -> ManagerResponse:
    clusters.lock(context)
    try:
        with clusters.converting_refusals():
            cluster = await clusters.require(context)
            cluster_of(context).check_rotation()
            await clusters.record(context, cluster, f"{TYPE}/{_CERTIFICATES}/action")
            # Before the response: an accepted rotation must survive a crash.
            work = cluster_of(context).begin_certificate_rotation()
        operation = context.operations.start(work, TYPE, context.now)
    except BaseException:
        context.operations.unlock(TYPE)
        raise
    return _accepted(context, cluster, operation)


def _accepted(context: OperationContext, cluster: Cluster, operation: str) -> ManagerResponse:
    parent = clusters.operations_parent(cluster)
    headers = operations.status_headers(context, parent, operation)
    return ManagerResponse(status=202, headers=headers)


_ONE = f"/subscriptions/{{subscription}}/resourceGroups/{{group}}/providers/{TYPE}/{{name}}"

ROUTES = tuple(
    build_route("POST", f"{_ONE}/{verb}", title, f"{TYPE}/{verb}/action", run)
    for verb, title, run in (
        (_KEYS, "rotate signing keys of cluster", _rotate_keys),
        (_CERTIFICATES, "rotate certificates of cluster", _rotate_certificates),
    )
)
