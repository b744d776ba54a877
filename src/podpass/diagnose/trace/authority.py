"""The exchanges of containers that do not ask the token service of the webhook. Pure.

The token service gets no request of such a container, so its exchange is in no log. Admission logs the
variable AZURE_AUTHORITY_HOST of the container, and the hop of the exchange follows from it.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from podpass import names
from podpass.diagnose.trace.assignment import AssignedHop
from podpass.diagnose.trace.hop import Hop

OTHER_AUTHORITY = "other_authority"


def insert_other_authorities(found: Iterable[AssignedHop]) -> Iterator[AssignedHop]:
    """Yield each hop, and after an admission the exchanges that do not reach the token service."""
    for each in found:
        yield each
        authorities = each.hop.facts.get("authorities")
        if each.hop.stage == "admission" and isinstance(authorities, list):
            for one in authorities:
                yield AssignedHop(each.workload, _build_hop(each.hop, one))


def _build_hop(admission: Hop, authority: Mapping[str, Any]) -> Hop:
    container, given, asked = (str(authority.get(key)) for key in ("container", "given", "asked"))
    cause = f"container {container}: given {given}, asked {asked}, which its own variable sets"
    fix = (
        f"remove {names.ENV_AUTHORITY_HOST} from container {container}, so that the webhook sets it; then"
        " create the pod again"
    )
    return Hop(
        stage="exchange",
        asked=f"a token from {asked}",
        checked=(),
        took_ms=0.0,
        outcome=OTHER_AUTHORITY,
        time=admission.time,
        facts={**admission.facts, "cause": cause, "fix": fix, "warnings": None},
        position=admission.position,
    )
