"""HTTP edge of the second webhook entry: `POST /warn-v1-pod` warns about pods without the label.

It never changes or refuses a pod: the response allows the pod even after an error.
"""

import logging

from podpass.account.model import ServiceAccount, parse_pod
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
from podpass.log import correlation_id

_log = logging.getLogger(__name__)


class WarningHandler:
    """Answers admission requests with warnings."""

    def __init__(self, accounts: ServiceAccountReader, budget: MemoryBudget) -> None:
        self._accounts, self._budget = accounts, budget

    async def answer(self, scope: Scope, receive: Receive) -> bytes:
        """Return a response that allows the pod, with a warning if the label is missing."""
        api_version, uid = VERSIONS[0], ""
        warnings: list[str] = []
        reservation = Reservation(self._budget)
        try:
            body = await read_body(receive, MAX_BODY_BYTES, reservation.reserve)
            review = parse_review(body, header(scope, b"content-type"))
            api_version, uid = review.api_version, review.uid
            correlation_id.set(uid)
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
        if not review.creates_pod:
            return []
        pod = parse_pod(review.object, review.namespace)
        annotations = await self._accounts.read_annotations(pod.namespace, pod.account)
        return list_label_warnings(
            pod, ServiceAccount(namespace=pod.namespace, name=pod.account, annotations=annotations)
        )
