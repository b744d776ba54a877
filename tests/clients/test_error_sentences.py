"""The sentences of released SDKs after each failure are recognized by `podpass explain`.

`PODPASS_RECORD_ERRORS=yes make test-clients K=error_sentences` writes them to tests/vectors/sdk_errors.json,
which the fast tests read. Only such a run has the oldest releases: they do not change, and a change of
podpass's own sentences appears in those of the newest ones.
"""

import os
from pathlib import Path

import pytest

from podpass.diagnose.explain.recognition import recognize
from tests.clients.error_sentences import (
    CLIENTS,
    FAILURES,
    ErrorClient,
    create_accounts,
    run_failure,
)
from tests.journey.instance import Instance

pytestmark = [pytest.mark.clients, pytest.mark.timeout(600)]

RECORDS = bool(os.environ.get("PODPASS_RECORD_ERRORS"))
CASES = [
    (client, kind)
    for client in CLIENTS
    if RECORDS or "-oldest" not in client.name
    for kind in client.kinds
]


@pytest.mark.parametrize(("client", "kind"), CASES, ids=[f"{c.name}-{k}" for c, k in CASES])
def test_errors_of_released_sdks_are_recognized_by_explain(
    instance: Instance,
    tmp_path: Path,
    recorded: list[dict[str, object]],
    client: ErrorClient,
    kind: str,
) -> None:
    create_accounts(instance)
    missing = {}
    for failure in FAILURES:
        if kind not in failure.kinds or failure.name in client.without:
            continue
        text = run_failure(instance, client, kind, failure, tmp_path)
        entry = {"client": client.name, "kind": kind, "failure": failure.name}
        recorded.append({**entry, "expected": list(client.expected(failure)), "text": text})
        found = recognize(text)
        ids = {*map(str, found.numbers), *(each.sentence.id for each in found.findings)}
        if not ids & {*client.expected(failure)}:
            missing[failure.name] = (ids, text)
    assert missing == {}
