"""All recorded cases of the reference: the patched pod, with its order, and the decision.

Most were recorded with an API server that has native sidecars. In the others, the sidecar is an ordinary
container; `python -m tests.peers.record_admission` records those.
"""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from podpass.account.model import BadAnnotation
from podpass.admission.service_accounts import AccountNotFound
from podpass.admission.sidecar import supports_native_sidecars
from podpass.errors import Error
from podpass.settings import WebhookSettings

_FOLDER = Path(__file__).parents[1] / "vectors"
VECTORS = json.loads((_FOLDER / "admission.json").read_text())
CASES = VECTORS["cases"]
ORDINARY = json.loads((_FOLDER / "admission_1_31.json").read_text())
ORDINARY_CASES = ORDINARY["cases"]

# The reference accepts these ports, and the API server refuses the pod later without an explanation.
REFUSED_HERE = {"proxy port '0'", "proxy port '99999'", "proxy port '-1'"}


def _settings(name: str) -> WebhookSettings:
    config = VECTORS["configs"][name]
    return WebhookSettings.from_environ(config["env"], [*config["args"], "--log-level", "info"])


def _drop_empty(pod: dict[str, Any]) -> dict[str, Any]:
    """Drop empty values, as the Go types of the reference and of the API server do."""
    for group in ("initContainers", "containers"):
        for container in pod["spec"].get(group, []):
            for entry in container.get("env", []):
                if entry.get("value") == "":
                    del entry["value"]
    return pod


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case["title"]))
async def test_recorded_case_gives_the_same_result(
    case: dict[str, Any],
    known_accounts: Callable[..., Any],
    mutate_pod: Callable[..., Any],
    mutate_and_apply: Callable[..., Any],
) -> None:
    apply = (known_accounts, mutate_pod, mutate_and_apply)
    await _check(case, _settings(case["config"]), *apply)


@pytest.mark.parametrize("case", ORDINARY_CASES, ids=lambda case: str(case["title"]))
async def test_recorded_case_before_native_sidecars_gives_the_same_result(
    case: dict[str, Any],
    known_accounts: Callable[..., Any],
    mutate_pod: Callable[..., Any],
    mutate_and_apply: Callable[..., Any],
) -> None:
    settings = dataclasses.replace(
        _settings(case["config"]), native_sidecar=supports_native_sidecars(ORDINARY["version"])
    )
    await _check(case, settings, known_accounts, mutate_pod, mutate_and_apply)


async def _check(
    case: dict[str, Any],
    settings: WebhookSettings,
    known_accounts: Callable[..., Any],
    mutate_pod: Callable[..., Any],
    mutate_and_apply: Callable[..., Any],
) -> None:
    pod, expect = case["pod"], case["expect"]
    name = pod["spec"].get("serviceAccountName") or "default"
    annotations = case["serviceAccount"]
    accounts = known_accounts({} if annotations is None else {f"default/{name}": annotations})
    try:
        patch = mutate_pod(pod, await accounts.read_annotations("default", name), settings)
    except Error as exc:
        assert exc.status == 400
        if case["title"] in REFUSED_HERE:
            assert isinstance(exc, BadAnnotation)
            assert expect["allowed"], (
                "no longer stricter than the reference: remove the case from this list"
            )
        else:
            assert not expect["allowed"]
        if annotations is None:
            assert isinstance(exc, AccountNotFound)
        return
    assert expect["allowed"]
    assert case["title"] not in REFUSED_HERE
    assert _drop_empty(mutate_and_apply(pod, patch)) == expect["pod"]


def test_every_recorded_case_is_run() -> None:
    assert len(CASES) == 101
    assert len(ORDINARY_CASES) == 29
    assert {case["title"] for case in CASES} >= REFUSED_HERE
