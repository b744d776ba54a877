"""The edge of the second entry: `POST /warn-v1-pod`, which tells about pods that lack the label, and no more.

It never changes a pod and never refuses one: whatever goes wrong here, the answer is yes.
"""

import logging

from podpass.account.model import Account, read_pod
from podpass.admission.memory_budget import Hold, Room
from podpass.admission.service_accounts import Accounts
from podpass.admission.warnings import advise
from podpass.admission.wire import MAX_BODY_BYTES, VERSIONS, Review, allowed, parse_review
from podpass.errors import Error
from podpass.http.server import Receive, Scope, header, read_body
from podpass.log import correlation_id

_log = logging.getLogger(__name__)


class Adviser:
    """One piece of advice for one request, if there is any."""

    def __init__(self, accounts: Accounts, room: Room) -> None:
        self._accounts, self._room = accounts, room

    async def answer(self, scope: Scope, receive: Receive) -> bytes:
        """Allow a request, whatever it holds, and warn where a label is missing."""
        api_version, uid = VERSIONS[0], ""
        warnings: list[str] = []
        hold = Hold(self._room)
        try:
            body = await read_body(receive, MAX_BODY_BYTES, hold.grow)
            review = parse_review(body, header(scope, b"content-type"))
            api_version, uid = review.api_version, review.uid
            correlation_id.set(uid)
            warnings = await self._advise(review)
        except Error as exc:
            api_version = str(exc.facts.get("api_version", api_version))
            uid = str(exc.facts.get("uid", uid))
            _log.info("advice_left_out", extra={"code": exc.code, "reason": exc.message})
        except Exception:  # noqa: BLE001 advice is not worth a pod
            _log.exception("advice_failed")
        finally:
            hold.release()
        return allowed(api_version, uid, warnings=warnings)

    async def _advise(self, review: Review) -> list[str]:
        if not review.creates_pod:
            return []
        pod = read_pod(review.object, review.namespace)
        known = await self._accounts.annotations(pod.namespace, pod.account)
        return advise(pod, Account(namespace=pod.namespace, name=pod.account, annotations=known))
