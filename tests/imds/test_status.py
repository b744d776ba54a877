"""Readiness and metrics of a sidecar whose refresh fails."""

from collections.abc import Mapping

from tests import observability
from tests.imds.conftest import Sidecar


def _metrics(sidecar: Sidecar) -> Mapping[str, float]:
    lines = sidecar.metrics.render().decode().splitlines()
    return {
        line.rpartition(" ")[0].removeprefix("podpass_proxy_"): float(line.rpartition(" ")[2])
        for line in lines
        if not line.startswith("#")
    }


async def test_failing_refresh_is_in_the_metrics_before_the_token_expires(sidecar: Sidecar) -> None:
    assert "last_refresh_age_seconds" not in _metrics(sidecar)
    await sidecar.token()
    lifetime = 86_400
    sidecar.token_file.unlink()
    sidecar.world.now += lifetime * 0.7
    assert (await sidecar.token())[0] == 200
    sidecar.world.now += 120
    assert (await sidecar.token())[0] == 200
    found = _metrics(sidecar)
    assert found["last_refresh_age_seconds"] >= lifetime * 0.7
    assert found["refresh_overdue_seconds"] >= 120
    assert found['exchanges_total{outcome="succeeded"}'] == 1
    assert found['exchanges_total{outcome="failed"}'] >= 1
    assert (found["tokens"], found["expired_tokens"]) == (1, 0)
    # The token is still served, so the sidecar is ready.
    assert (await sidecar.get("/readyz"))[0] == 200


async def test_alerts_and_dashboard_use_metrics_and_labels_that_a_sidecar_exports(
    sidecar: Sidecar,
) -> None:
    await sidecar.token()
    assert not observability.missing("sidecar", sidecar.metrics.render().decode())


async def test_sidecar_with_an_expired_token_is_not_ready_until_a_refresh_succeeds(
    sidecar: Sidecar,
) -> None:
    await sidecar.token()
    sidecar.token_file.unlink()
    sidecar.world.now += 86_400
    assert (await sidecar.token())[0] == 500
    status, text, _ = await sidecar.get("/readyz")
    assert (status, "1 tokens expired and cannot be refreshed" in text) == (503, True)
    assert _metrics(sidecar)["expired_tokens"] == 1
    sidecar.token_file.write_text(sidecar.world.mint())
    assert (await sidecar.token())[0] == 200
    assert (await sidecar.get("/readyz"))[:2] == (200, "ok")
    found = _metrics(sidecar)
    assert (found["expired_tokens"], found["refresh_overdue_seconds"]) == (0, 0)


async def test_token_that_no_client_uses_any_more_does_not_make_the_sidecar_unready(
    sidecar: Sidecar,
) -> None:
    await sidecar.token()
    sidecar.token_file.unlink()
    sidecar.world.now += 86_400
    assert (await sidecar.token())[0] == 500
    assert (await sidecar.get("/readyz"))[0] == 503
    sidecar.world.now += 700
    assert (await sidecar.get("/readyz"))[0] == 200
    assert _metrics(sidecar)["tokens"] == 0


async def test_identity_that_never_had_a_token_does_not_make_the_sidecar_unready(
    sidecar: Sidecar,
) -> None:
    sidecar.token_file.unlink()
    assert (await sidecar.token())[0] == 500
    assert (await sidecar.get("/readyz"))[0] == 200
