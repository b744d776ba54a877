"""What an instance gives kubeling: its signing keys, requests over HTTPS, and its log."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from kubeling.api import ApiError
from kubeling.service_account.signer import InvalidSignature

from podpass import log
from podpass.assertion.keys import KeyRing
from podpass.kubernetes.client import KubeClient
from podpass.lab.cluster.kubeling_adapters import HttpApi, RingSigner, write_log_of_kubeling
from tests.kubeling.cluster import Live, live, ring, serve  # noqa: F401 fixtures

CLAIMS = {"iss": "https://oidc.example/issuer/", "sub": "system:serviceaccount:default:web"}
MAPS = "/api/v1/namespaces/default/configmaps"


def test_token_of_a_withdrawn_key_is_refused(tmp_path: Path) -> None:
    """Fails if a withdrawn key still verifies tokens."""
    ring = KeyRing.open(tmp_path / "keys")  # noqa: F811 not the fixture
    signer = RingSigner(ring)
    token, old = signer.sign(CLAIMS), ring.active.kid
    ring.rotate()
    assert signer.verify(token) == CLAIMS
    assert {key["kid"] for key in signer.jwks()["keys"]} == {old, ring.active.kid}
    ring.retire(old)
    with pytest.raises(InvalidSignature):
        signer.verify(token)


@pytest.mark.parametrize("change", ["", "x", "e30.e30.", ".".join(["a"] * 5)])
def test_text_that_no_published_key_has_signed_is_refused(tmp_path: Path, change: str) -> None:
    """Fails if signatures are not checked."""
    signer = RingSigner(KeyRing.open(tmp_path / "keys"))
    other = RingSigner(KeyRing.open(tmp_path / "other"))
    with pytest.raises(InvalidSignature):
        signer.verify(change or other.sign(CLAIMS))


def test_claims_that_the_named_key_has_not_signed_are_refused(tmp_path: Path) -> None:
    signer = RingSigner(KeyRing.open(tmp_path / "keys"))
    header, _, signature = signer.sign(CLAIMS).split(".")
    forged = signer.sign({**CLAIMS, "sub": "system:serviceaccount:default:other"}).split(".")[1]
    with pytest.raises(InvalidSignature):
        signer.verify(f"{header}.{forged}.{signature}")


async def test_requests_over_https_behave_as_those_in_the_process(
    live: Live,  # noqa: F811 a fixture
) -> None:
    async with KubeClient.from_kubeconfig(live.kubeconfig()) as client:
        api = HttpApi(client)
        made = await api.create(MAPS, {"metadata": {"name": "a"}, "data": {"k": "v"}})
        assert (await api.get(f"{MAPS}/a"))["data"] == made["data"] == {"k": "v"}
        assert (await api.patch(f"{MAPS}/a", {"data": {"k": "w"}}))["data"] == {"k": "w"}
        assert "a" in {each["metadata"]["name"] for each in await api.list(MAPS)}
        events = api.watch(MAPS, metadata_only=True)
        seen = [await anext(events) for _ in range(3)]
        assert seen[-1] == ("SYNCED", {})
        await events.aclose()  # type: ignore[attr-defined]  # an async generator behind AsyncIterator
        await api.delete(f"{MAPS}/a")
        with pytest.raises(ApiError) as missing:
            await api.get(f"{MAPS}/a")
        assert (missing.value.status, missing.value.reason) == (404, "NotFound")


def test_hops_of_kubeling_are_hops_in_the_log_of_the_instance(tmp_path: Path) -> None:
    """Fails without the filter: `podpass trace` would not show which part signed a token."""
    root: Any = logging.getLogger("podpass")
    before = list(root.handlers), root.propagate, root.level
    try:
        log.configure(file=tmp_path / "log")
        write_log_of_kubeling()
        logger = logging.getLogger("kubeling.apiserver.auth.token_request")
        logger.info("token_signed", extra={"pod": "p"})
        logger.info("something_else", extra={"pod": "p"})
    finally:
        for handler in root.handlers:
            handler.close()
        root.handlers[:], root.propagate, level = before
        root.setLevel(level)
        logging.getLogger("kubeling").handlers.clear()
        logging.getLogger("kubeling").propagate = True
    signed, other = map(json.loads, (tmp_path / "log").read_text().splitlines())
    assert (signed["hop"], signed["stage"], signed["pod"]) == (True, "assertion", "p")
    assert "hop" not in other
