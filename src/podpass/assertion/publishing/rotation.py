"""Run the steps of a rotation until it must wait or has ended. Every step can be repeated."""

import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from podpass.assertion.publishing import plan, public_key, publish
from podpass.assertion.publishing.api_servers import ApiServerKeys
from podpass.assertion.publishing.config import IssuerConfig
from podpass.assertion.publishing.key_folder import KeyFolder
from podpass.assertion.publishing.model import ClockReading, IssuerError, IssuerState, SigningMode
from podpass.assertion.publishing.plan import DueStep, RotationStep, RotationWait
from podpass.assertion.publishing.targets.target import PublishTarget
from podpass.errors import Error

_APPLY_SECONDS = 600
# The steps after which API servers must have been restarted with the changed files.
_RESTARTS = frozenset({RotationStep.LOAD, RotationStep.CONFIRM, RotationStep.FORGET})
STEP_VARIABLE, FOLDER_VARIABLE = "PODPASS_ISSUER_STEP", "PODPASS_ISSUER_DIR"


class StepFailed(IssuerError):
    """A step of a rotation failed; the rotation continues with it at the next run."""

    code = "issuer_step"


@dataclass(frozen=True, slots=True, kw_only=True)
class RotationRequest:
    """The options of a rotation.

    `start` begins a rotation if none is in progress; `is_applied`: the operator states that all API servers
    have been restarted; `leaked` are key IDs to withdraw without waits; `accept_clock` begins the waits
    again, after a wrong clock was corrected.
    """

    start: bool = True
    is_applied: bool = False
    leaked: Sequence[str] = ()
    accept_clock: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RotationTools:
    """What a rotation uses.

    `observe` returns the keys of all API servers, nothing if no kubeconfig is configured; `log` prints a line
    for the user; `environ` is that of `apply_command`.
    """

    folder: KeyFolder
    config: IssuerConfig
    target: PublishTarget
    read_clock: Callable[[], ClockReading]
    observe: Callable[[], Sequence[ApiServerKeys]]
    log: Callable[[str], None]
    environ: Mapping[str, str]


class Rotation:
    """One run of a rotation; the caller holds the lock of the folder."""

    def __init__(self, tools: RotationTools, request: RotationRequest) -> None:
        self._tools = tools
        self._request = request
        self._state = tools.folder.read_state()
        self._step = "start"
        self._is_applied = False

    @property
    def step(self) -> str:
        """Return the step in progress, for messages about an interruption."""
        return self._step

    def run(self) -> RotationWait | None:
        """Run all steps that are due; return the wait before the next one, or None at the end.

        Raises StepFailed, with the step and how to resume.
        """
        self._perform("clock", self._check_clock)
        for kid in self._request.leaked:
            self._save(plan.mark_leaked(self._state, kid))
        self._perform("files", self._repair_files)
        start = self._request.start and not plan.is_in_progress(self._state)
        due = self._next_step(start=start)
        if self._request.is_applied:
            self._is_applied = isinstance(due, DueStep) and due.step in _RESTARTS
            if not self._is_applied:
                raise IssuerError(
                    "no step waits for a restart of API servers",
                    hint="run the command without --applied",
                )
        while isinstance(due, DueStep):
            start = start and due.step is not RotationStep.CREATE
            if (wait := self._perform(due.step.value, partial(self._do, due))) is not None:
                return wait
            due = self._next_step(start=start)
        return due

    def publish(self, *, overwrite: bool) -> int:
        """Publish the documents, or repair them; return the number of published keys.

        `overwrite` is `replace` of `publish.publish`. Raises IssuerError, TargetError.
        """
        self._check_clock()
        self._publish_keys(overwrite=overwrite)
        return len(self._state.published)

    def _repair_files(self) -> None:
        """Write the files of API servers again: a run may have been killed before it wrote them."""
        self._tools.folder.write_api_server_files(self._state)

    def _next_step(self, *, start: bool) -> DueStep | RotationWait | None:
        return plan.next_step(
            self._state, self._tools.config.rotation_waits, self._now(), start=start
        )

    def _perform(self, name: str, action: Callable[[], RotationWait | None]) -> RotationWait | None:
        self._step = name
        try:
            return action()
        except (Error, OSError) as exc:
            message = exc.message if isinstance(exc, Error) else str(exc)
            hint = exc.hint if isinstance(exc, Error) else "check the key folder"
            raise StepFailed(
                f"step {name}: {message}",
                hint=f"{hint}. Then run `podpass issuer rotate` again: it continues with this step",
            ) from exc

    def _do(self, due: DueStep) -> RotationWait | None:
        actions: dict[RotationStep, Callable[[str], RotationWait | None]] = {
            RotationStep.CREATE: self._create,
            RotationStep.PUBLISH: self._publish,
            RotationStep.LOAD: self._load,
            RotationStep.SIGN: self._sign,
            RotationStep.CONFIRM: self._confirm,
            RotationStep.WITHDRAW: self._withdraw,
            RotationStep.FORGET: self._forget,
        }
        return actions[due.step](due.kid)

    # ------------------------------------------------------------------------------------ steps

    def _create(self, _: str) -> None:
        bits = public_key.load(self._state.active.public_pem).key_size
        key = self._tools.folder.create_key(bits, self._now())
        self._save(replace(self._state, keys=(*self._state.keys, key)))
        self._tools.log(f"created the key {key.kid}")

    def _publish_keys(self, *, overwrite: bool) -> None:
        tools = self._tools
        publish.publish(
            tools.target, tools.config.issuer, self._state, self._now, replace=overwrite
        )
        self._save(plan.acknowledge_publication(self._state, self._now()))
        tools.folder.write_api_server_files(self._state)

    def _publish(self, _: str) -> None:
        tools = self._tools
        self._publish_keys(overwrite=False)
        count = len(self._state.published)
        tools.log(f"published {count} key{'' if count == 1 else 's'} to {tools.target.name}")

    def _load(self, kid: str) -> RotationWait | None:
        self._tools.folder.write_api_server_files(self._state)
        self._apply(RotationStep.LOAD)
        if wait := self._until_observed(kid, "accept", lambda keys: kid in keys.accepted):
            return wait
        self._save(self._state.with_key(kid, loaded=self._now()))
        self._tools.log(f"all API servers accept tokens of the key {kid}")
        return None

    def _sign(self, kid: str) -> None:
        # The target may have been changed since the key was published.
        if missing := publish.missing_keys(self._tools.target, self._state.to_publish):
            self._publish_again(missing)
            return
        self._save(plan.activate(self._state, kid, self._now()))
        self._tools.folder.write_api_server_files(self._state)
        self._tools.log(f"the key {kid} signs from now on")

    def _publish_again(self, missing: Sequence[str]) -> None:
        """Go back to the step that publishes; the wait for caches begins again."""
        state = replace(self._state, published=())
        for kid in missing:
            state = state.with_key(kid, published=None)
        self._save(state)
        self._tools.log(f"{self._tools.target.name} has lost the key {missing[0]}")

    def _confirm(self, kid: str) -> RotationWait | None:
        self._tools.folder.write_api_server_files(self._state)
        self._apply(RotationStep.SIGN)
        if wait := self._until_observed(kid, "sign with", lambda keys: keys.signing == kid):
            return wait
        for key in self._state.keys:
            if key.kid != kid and key.signs is not None:
                self._tools.folder.delete_private(key.kid)
        self._save(plan.confirm(self._state, kid, self._now()))
        self._tools.log(f"all API servers sign with the key {kid}; older private keys are deleted")
        return None

    def _withdraw(self, kid: str) -> None:
        self._tools.folder.delete_private(kid)
        self._save(self._state.with_key(kid, withdrawn=self._now()))
        self._tools.log(f"withdrawing the key {kid}")

    def _forget(self, kid: str) -> RotationWait | None:
        self._apply(RotationStep.WITHDRAW)
        key = self._state.key(kid)
        if key.is_leaked and key.loaded is not None:
            observed = self._until_observed(kid, "refuse", lambda keys: kid not in keys.accepted)
            if observed:
                return observed
        self._save(plan.forget(self._state, kid))
        self._tools.log(f"the key {kid} is withdrawn")
        return None

    # ------------------------------------------------------------------------------- API servers

    def _apply(self, step: RotationStep) -> None:
        """Run the operator's command, which distributes the files and restarts API servers."""
        if not (command := self._tools.config.apply_command):
            return
        environ = {
            **self._tools.environ,
            STEP_VARIABLE: step.value,
            FOLDER_VARIABLE: str(self._tools.folder.root),
        }
        try:
            done = subprocess.run(  # noqa: S603 the operator's own command
                command, env=environ, timeout=_APPLY_SECONDS, check=False, stdin=subprocess.DEVNULL
            )
        except (OSError, subprocess.TimeoutExpired) as exc:
            raise IssuerError(
                f"apply_command {command[0]} failed: {type(exc).__name__}", hint="check issuer.yaml"
            ) from exc
        if done.returncode != 0:
            raise IssuerError(
                f"apply_command {command[0]} failed with status {done.returncode}",
                hint="its messages are above",
            )

    def _until_observed(
        self, kid: str, verb: str, is_met: Callable[[ApiServerKeys], bool]
    ) -> RotationWait | None:
        """Return a wait if an API server has not taken over a change yet."""
        observed = self._tools.observe()
        for keys in observed:
            if problem := plan.remote_clock_problem(self._now(), keys.time):
                raise IssuerError(
                    f"{problem} from that of the API server {keys.server}",
                    hint="correct the clock of this machine or of the API server",
                )
        late = [keys.server for keys in observed if not is_met(keys)]
        if late:
            return RotationWait(
                until=self._now(),
                reason=f"{', '.join(late)} must {verb} the key{self._how_to_apply()}",
                kid=kid,
            )
        is_signer = self._tools.config.signing is SigningMode.SIGNER
        if observed or is_signer or self._tools.config.apply_command:
            return None
        if self._is_applied:
            self._is_applied = False  # a later step needs a restart of its own
            return None
        return RotationWait(
            until=self._now(),
            reason=f"all API servers must {verb} the key: restart them, then run the command with --applied",
            kid=kid,
            is_manual=True,
        )

    def _how_to_apply(self) -> str:
        if self._tools.config.signing is SigningMode.SIGNER:
            return f"; they fetch keys every {self._tools.config.waits.refresh_seconds} seconds"
        return ": restart it with the new files"

    # ------------------------------------------------------------------------------------- state

    def _now(self) -> float:
        return self._tools.read_clock().seconds

    def _save(self, state: IssuerState) -> None:
        state = replace(state, clock=self._tools.read_clock())
        self._tools.folder.write_state(state)
        self._state = state

    def _check_clock(self) -> None:
        reading = self._tools.read_clock()
        if self._request.accept_clock:
            self._save(plan.restart_waits(self._state, reading.seconds))
            return
        if problem := plan.clock_problem(self._state.clock, reading):
            raise IssuerError(
                problem,
                hint="correct the clock. If it is correct now, run `podpass issuer rotate --accept-clock`:"
                " the waits begin again",
            )
