"""HTTP edge of the webhook entries that warn about a pod, or a pod template, without the label.

They never change or refuse an object: the response allows it even after an error.
"""

import logging
import time

from podpass import log, names
from podpass.account.model import Pod, ServiceAccount, parse_pod
from podpass.admission.memory_budget import MemoryBudget, Reservation
from podpass.admission.service_accounts import ServiceAccountReader
from podpass.admission.warnings import list_label_warnings
from podpass.admission.wire import (
    MAX_BODY_BYTES,
    VERSIONS,
    AdmissionRequest,
    build_allow_response,
    parse_review,
)
from podpass.errors import Error
from podpass.http.server import Receive, Scope, header, read_body

_log = logging.getLogger(__name__)


def find_pod_template(workload: object) -> object | None:
    """Return the pod template of a workload as a raw pod, or None if it has none.

    `spec.template`; of a CronJob `spec.jobTemplate.spec.template`.
    """
    spec = workload.get("spec") if isinstance(workload, dict) else None
    if isinstance(spec, dict) and isinstance(job := spec.get("jobTemplate"), dict):
        spec = job.get("spec")
    template = spec.get("template") if isinstance(spec, dict) else None
    if not isinstance(template, dict):
        return None
    return {"metadata": template.get("metadata") or {}, "spec": template.get("spec")}


class WarningHandler:
    """Answers admission requests with warnings.

    `workloads` is true for Deployments and other objects with a pod template, false for pods.
    """

    def __init__(
        self, accounts: ServiceAccountReader, budget: MemoryBudget, *, workloads: bool = False
    ) -> None:
        self._accounts, self._budget, self._workloads = accounts, budget, workloads

    async def answer(self, scope: Scope, receive: Receive) -> bytes:
        """Return a response that allows the pod, with a warning if the label is missing."""
        api_version, uid = VERSIONS[0], ""
        warnings: list[str] = []
        reservation = Reservation(self._budget)
        try:
            body = await read_body(receive, MAX_BODY_BYTES, reservation.reserve)
            content_type = header(scope, b"content-type")
            review = parse_review(body, content_type, any_resource=self._workloads)
            api_version, uid = review.api_version, review.uid
            log.correlation_id.set(uid)
            warnings = await self._find_warnings(review)
        except Error as exc:
            api_version = str(exc.facts.get("api_version", api_version))
            uid = str(exc.facts.get("uid", uid))
            _log.info("warnings_skipped", extra={"code": exc.code, "reason": exc.message})
        except Exception:  # noqa: BLE001 no error here may refuse a pod
            _log.exception("warnings_failed")
        finally:
            reservation.release()
        return build_allow_response(api_version, uid, warnings=warnings)

    async def _find_warnings(self, review: AdmissionRequest) -> list[str]:
        raw = find_pod_template(review.object) if self._workloads else review.object
        if not review.creates_pod or (self._workloads and raw is None):
            return []
        pod = parse_pod(raw, review.namespace)
        began = time.perf_counter()
        annotations = await self._accounts.read_annotations(pod.namespace, pod.account)
        warnings = list_label_warnings(
            pod, ServiceAccount(namespace=pod.namespace, name=pod.account, annotations=annotations)
        )
        if warnings and not self._workloads:
            about = {log.DRY_RUN: True} if review.dry_run else {}
            _log_skipped(pod, warnings[0], time.perf_counter() - began, **about)
        return warnings


def _log_skipped(pod: Pod, cause: str, seconds: float, **about: bool) -> None:
    """Log that the pod passes the webhook without a change, although its author probably wants one."""
    log.hop(
        _log,
        "admission_skipped",
        stage="admission",
        asked=f"{names.ADVICE_PATH} for {pod}",
        checked=(),
        seconds=seconds,
        outcome="skipped",
        pod=pod.identity,
        namespace=pod.namespace,
        account=pod.account,
        cause=cause,
        **about,
    )
