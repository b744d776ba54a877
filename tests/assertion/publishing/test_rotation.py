"""A rotation: its order, its waits, leaked keys, restarts of API servers, wrong clocks."""

from dataclasses import replace
from pathlib import Path

import pytest

from podpass.assertion.publishing import setup
from podpass.assertion.publishing.api_servers import ApiServerKeys
from podpass.assertion.publishing.key_folder import KeyFolder
from podpass.assertion.publishing.model import ClockReading, IssuerError, SigningMode
from podpass.assertion.publishing.plan import CLOCK_SKEW_SECONDS
from podpass.assertion.publishing.rotation import Rotation, RotationRequest, StepFailed
from tests.assertion.publishing import issuer as issuers
from tests.assertion.publishing.issuer import WAITS, CachingVerifier, Issuer


def test_new_key_is_published_before_it_signs_and_the_old_one_until_its_tokens_expire(
    published_issuer: Issuer,
) -> None:
    issuer, old = published_issuer, published_issuer.state.active.kid
    wait = issuer.rotate()
    assert wait is not None
    assert wait.until == issuer.clock.now + WAITS.cache_seconds
    new = issuer.state.upcoming
    assert new is not None
    assert set(issuer.published()) == {old, new.kid}
    assert issuer.state.active.kid == old
    issuer.clock.now = wait.until - 1
    issuer.rotate()
    assert issuer.state.active.kid == old
    issuer.clock.now = wait.until
    wait = issuer.rotate()
    assert issuer.state.active.kid == new.kid
    assert wait is not None
    assert wait.until == issuer.clock.now + WAITS.token_seconds + CLOCK_SKEW_SECONDS
    issuer.clock.now = wait.until - 1
    issuer.rotate()
    assert set(issuer.published()) == {old, new.kid}
    issuer.clock.now = wait.until
    assert issuer.rotate() is None
    assert issuer.published() == [new.kid]
    assert [key.kid for key in issuer.state.keys] == [new.kid]


def test_run_that_may_not_start_a_rotation_changes_nothing(published_issuer: Issuer) -> None:
    before = published_issuer.state
    assert published_issuer.rotate(start=False) is None
    assert published_issuer.state == before


def test_private_key_is_deleted_as_soon_as_no_api_server_signs_with_it(
    published_issuer: Issuer,
) -> None:
    issuer, old = published_issuer, published_issuer.state.active.kid
    wait = issuer.rotate()
    assert wait is not None
    assert issuer.folder.key_path(old).exists()
    issuer.clock.now = wait.until
    issuer.rotate()
    assert not issuer.folder.key_path(old).exists()
    assert old in issuer.published()


def test_new_key_has_the_size_of_the_old_one(tmp_path: Path) -> None:
    config = issuers.create(tmp_path / "other").config
    setup.create(tmp_path / "issuer", config, imported=None, bits=3072, now=issuers.START)
    issuer = Issuer(folder=KeyFolder(tmp_path / "issuer"), clock=issuers.Clock(), config=config)
    issuer.rotate(accept_clock=True)
    upcoming = issuer.state.upcoming
    assert upcoming is not None
    assert issuer.folder.read_private(upcoming.kid).key.key_size == 3072


def test_files_of_api_servers_are_repaired_by_the_next_run(published_issuer: Issuer) -> None:
    root = published_issuer.folder.root
    before = (root / "verification.pem").read_bytes()
    (root / "verification.pem").unlink()
    (root / "signing.key").unlink()
    published_issuer.rotate(start=False)
    assert (root / "verification.pem").read_bytes() == before
    assert (root / "signing.key").resolve().exists()


def test_rotation_waits_for_the_refresh_time_if_it_exceeds_the_cache_time(tmp_path: Path) -> None:
    issuer = issuers.create(tmp_path / "issuer")
    waits = replace(WAITS, cache_seconds=0)
    issuer.config = replace(issuer.config, waits=waits)
    wait = issuer.rotate()
    assert wait is not None
    assert wait.until == issuer.clock.now + WAITS.refresh_seconds


def test_cached_key_sets_verify_every_valid_token_during_twenty_rotations(
    published_issuer: Issuer,
) -> None:
    issuer = published_issuer
    verifiers = [CachingVerifier(issuer) for _ in range(5)]
    tokens: list[tuple[float, str]] = []
    rotations = 0
    while rotations < 20:
        wait = issuer.rotate()
        rotations += wait is None
        until = issuer.clock.now + 1 if wait is None else wait.until
        while issuer.clock.now < until:
            # Each verifier fetches at another time, and all tokens that have not expired are in use.
            tokens = [each for each in tokens if each[0] > issuer.clock.now]
            tokens.append((issuer.clock.now + WAITS.token_seconds, issuer.sign()))
            verifiers[int(issuer.clock.now) % len(verifiers)].verify(tokens[-1][1])
            for verifier in verifiers:
                verifier.verify(tokens[0][1])
            issuer.clock.now = min(until, issuer.clock.now + 397)


def test_key_that_the_target_has_lost_is_published_again_and_the_wait_begins_again(
    published_issuer: Issuer,
) -> None:
    issuer, old = published_issuer, published_issuer.state.active.kid
    path = issuer.folder.root / "published" / "openid/v1/jwks"
    before = path.read_bytes()
    wait = issuer.rotate()
    assert wait is not None
    path.write_bytes(before)
    issuer.clock.now = wait.until
    again = issuer.rotate()
    assert issuer.state.active.kid == old
    assert len(issuer.published()) == 2
    assert again is not None
    assert again.until == wait.until + WAITS.cache_seconds


# ------------------------------------------------------------------------------------------ leaked keys


def test_leaked_active_key_is_replaced_and_withdrawn_without_waits(
    published_issuer: Issuer,
) -> None:
    issuer, old = published_issuer, published_issuer.state.active.kid
    assert issuer.rotate(leaked=[old]) is None
    assert len(issuer.published()) == 1
    assert issuer.published() != [old]
    assert not issuer.folder.key_path(old).exists()


def test_leaked_old_key_is_withdrawn_and_the_rotation_ends(published_issuer: Issuer) -> None:
    issuer, old = published_issuer, published_issuer.state.active.kid
    wait = issuer.rotate()
    assert wait is not None
    issuer.clock.now = wait.until
    issuer.rotate()
    assert issuer.rotate(leaked=[old]) is None
    assert old not in issuer.published()


def test_leaked_upcoming_key_never_signs(published_issuer: Issuer) -> None:
    issuer = published_issuer
    issuer.rotate()
    upcoming = issuer.state.upcoming
    assert upcoming is not None
    issuer.rotate(leaked=[upcoming.kid])
    assert upcoming.kid not in issuer.published()
    issuer.rotate_to_end()
    assert upcoming.kid not in [key.kid for key in issuer.state.keys]


def test_unknown_leaked_key_is_refused_and_nothing_changes(published_issuer: Issuer) -> None:
    before = published_issuer.state
    with pytest.raises(IssuerError, match="no key 'other'"):
        published_issuer.rotate(leaked=["other"])
    assert published_issuer.state == before


# ---------------------------------------------------------------------------------------- API servers


def _keys(issuer: Issuer, accepted: set[str], signing: str) -> ApiServerKeys:
    return ApiServerKeys(
        server="https://one:6443",
        accepted=frozenset(accepted),
        signing=signing,
        issuer=issuers.ISSUER,
        time=issuer.clock.now,
    )


def test_rotation_by_key_files_waits_for_two_restarts(tmp_path: Path) -> None:
    issuer = issuers.create(tmp_path / "issuer", SigningMode.FILES)
    old = issuer.state.active.kid
    accepted = {old}
    link = issuer.folder.root / "signing.key"
    issuer.observed = lambda: [_keys(issuer, accepted, loaded)]
    loaded = old
    wait = issuer.rotate()
    assert wait is not None
    assert "https://one:6443 must accept the key: restart it" in wait.reason
    upcoming = issuer.state.upcoming
    assert upcoming is not None
    assert upcoming.public_pem in (issuer.folder.root / "verification.pem").read_text()
    assert link.resolve() == issuer.folder.key_path(old)
    accepted.add(upcoming.kid)
    wait = issuer.rotate()
    assert wait is not None
    issuer.clock.now = wait.until
    wait = issuer.rotate()
    assert wait is not None
    assert "must sign with the key" in wait.reason
    assert link.resolve() == issuer.folder.key_path(upcoming.kid)
    assert issuer.folder.key_path(old).exists()
    loaded = upcoming.kid
    wait = issuer.rotate()
    assert wait is not None
    assert "have not expired" in wait.reason
    assert not issuer.folder.key_path(old).exists()


def test_operator_must_confirm_each_restart_if_there_is_no_kubeconfig(tmp_path: Path) -> None:
    issuer = issuers.create(tmp_path / "issuer", SigningMode.FILES)
    wait = issuer.rotate()
    assert wait is not None
    assert "run the command with --applied" in wait.reason
    wait = issuer.rotate(is_applied=True)
    assert wait is not None
    assert "cached keys" in wait.reason
    issuer.clock.now = wait.until
    with pytest.raises(IssuerError, match="no step waits for a restart"):
        issuer.rotate(is_applied=True)
    wait = issuer.rotate()
    assert wait is not None
    assert "must sign with the key" in wait.reason
    wait = issuer.rotate(is_applied=True)
    assert wait is not None
    assert "have not expired" in wait.reason


def test_one_confirmation_counts_for_one_restart_only(tmp_path: Path) -> None:
    """With a leaked key there is no wait between the steps that need a restart."""
    issuer = issuers.create(tmp_path / "issuer", SigningMode.FILES)
    old = issuer.state.active.kid
    issuer.rotate(leaked=[old])
    wait = issuer.rotate(is_applied=True)
    assert wait is not None
    assert "must sign with the key" in wait.reason
    assert issuer.folder.key_path(old).exists()


def test_rotation_waits_until_no_api_server_accepts_the_leaked_key(tmp_path: Path) -> None:
    issuer = issuers.create(tmp_path / "issuer")
    old = issuer.state.active.kid
    issuer.observed = lambda: [
        _keys(issuer, {key.kid for key in issuer.state.keys}, issuer.state.active.kid)
    ]
    wait = issuer.rotate(leaked=[old])
    assert wait is not None
    assert "must refuse the key" in wait.reason
    issuer.observed = lambda: [_keys(issuer, set(issuer.published()), issuer.state.active.kid)]
    assert issuer.rotate(start=False) is None


def test_apply_command_gets_the_step_and_a_failure_is_repeated(tmp_path: Path) -> None:
    log, fail = tmp_path / "log", tmp_path / "fail"
    script = f'echo "$PODPASS_ISSUER_STEP $PODPASS_ISSUER_DIR" >> {log}; test ! -e {fail}'
    issuer = issuers.create(
        tmp_path / "issuer", SigningMode.FILES, apply_command=("sh", "-c", script)
    )
    fail.touch()
    with pytest.raises(StepFailed, match="step load: apply_command sh failed with status 1") as got:
        issuer.rotate()
    assert "it continues with this step" in got.value.hint
    fail.unlink()
    issuer.rotate_to_end()
    steps = [line.split()[0] for line in log.read_text().splitlines()]
    assert steps == ["load", "load", "sign", "withdraw"]
    assert {line.split()[1] for line in log.read_text().splitlines()} == {str(issuer.folder.root)}


# ---------------------------------------------------------------------------------------------- clocks


def test_clock_before_the_last_step_is_refused_until_it_is_accepted(
    published_issuer: Issuer,
) -> None:
    issuer = published_issuer
    wait = issuer.rotate()
    assert wait is not None
    issuer.clock.now -= 3600
    before = issuer.state
    with pytest.raises(StepFailed, match="step clock: the clock is 3600 seconds before"):
        issuer.rotate()
    assert issuer.state == before
    wait = issuer.rotate(accept_clock=True)
    assert wait is not None
    assert wait.until == issuer.clock.now + WAITS.cache_seconds
    issuer.rotate_to_end()


def test_clock_set_back_at_publication_does_not_shorten_the_cache_wait(
    published_issuer: Issuer,
) -> None:
    issuer = published_issuer
    issuer.folder.write_state(
        replace(
            issuer.state,
            keys=(*issuer.state.keys, issuer.folder.create_key(2048, issuer.clock.now)),
        )
    )
    issuer.clock.now -= WAITS.cache_seconds
    with pytest.raises(IssuerError, match="seconds before the last step"):
        Rotation(issuer.tools(), RotationRequest()).publish(overwrite=False)
    issuer.clock.now += WAITS.cache_seconds
    assert Rotation(issuer.tools(), RotationRequest()).publish(overwrite=False) == 2
    wait = issuer.rotate()
    assert wait is not None
    assert wait.until == issuer.clock.now + WAITS.cache_seconds


def test_clock_that_jumps_ahead_does_not_shorten_a_wait(published_issuer: Issuer) -> None:
    issuer = published_issuer
    boot = ClockReading(seconds=issuer.clock.now, boot_id="one", boot_seconds=100.0)
    reading = boot
    tools = replace(issuer.tools(), read_clock=lambda: reading)
    wait = Rotation(tools, RotationRequest()).run()
    assert wait is not None
    reading = replace(boot, seconds=wait.until, boot_seconds=110.0)
    with pytest.raises(StepFailed, match="the clock was changed by 990 seconds"):
        Rotation(tools, RotationRequest()).run()
    reading = replace(boot, seconds=wait.until, boot_seconds=100.0 + WAITS.cache_seconds)
    Rotation(tools, RotationRequest()).run()
    assert issuer.state.upcoming is None
    # After a restart of the machine, the time since its start says nothing.
    reading = ClockReading(seconds=wait.until + 9999, boot_id="two", boot_seconds=1.0)
    assert Rotation(tools, RotationRequest()).run() is None


def test_clock_that_differs_from_an_api_server_is_refused(tmp_path: Path) -> None:
    issuer = issuers.create(tmp_path / "issuer")
    issuer.observed = lambda: [replace(_keys(issuer, set(), ""), time=issuer.clock.now + 120)]
    with pytest.raises(StepFailed, match="step load: the clock differs by -120 seconds"):
        issuer.rotate()
