"""Replay the recorded requests of a real API server."""

from typing import Any

import pytest

from kubeling.apiserver.release import RELEASES
from tests.apiserver import replay


@pytest.mark.timeout(300)
async def test_every_recorded_step_gives_the_response_of_a_real_server(serve: Any) -> None:
    jwks_uri = f"https://{replay.RECORDED_AT}/openid/v1/jwks"
    # The oldest release that is served is the next one after that of the recording.
    live = await serve(jwks_uri=jwks_uri, release=RELEASES[-1])
    values: dict[str, str] = {}
    failures = []
    for at, step in enumerate(replay.VECTORS["steps"]):
        if step["title"] in replay.EXCLUDED:
            continue
        try:
            reply, problems = await replay.replay(live, step, values)
        except Exception as exc:  # noqa: BLE001 the other steps must be tried too
            failures.append(f"#{at} {step['title']}: {exc!r}")
            continue
        failures += [f"#{at} {step['title']}: {each}" for each in problems]
        for name, path in (step.get("keep") or {}).items():
            if name != "n" and reply.status < 300:
                values[name] = replay.get_path(reply.body, path)
    assert not failures, "\n".join(failures)


def test_every_exclusion_is_in_the_recording() -> None:
    titles = {step["title"] for step in replay.VECTORS["steps"]}
    assert titles >= {
        *replay.EXCLUDED,
        *replay.DIFFERS,
        *replay.PARTIAL,
        *replay.EVENTUAL,
        *replay.AFTER_CONTROLLERS,
    }
