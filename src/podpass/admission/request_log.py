"""Log the stages of an admission request."""

import logging
import time
from types import TracebackType
from typing import Any, Self

from podpass.account.model import Pod
from podpass.errors import Error
from podpass.log import DRY_RUN, hop


class StageLogger:
    """Measures one stage and logs its result once, also after an error; use it as a context.

    `asked` describes the request, with members of the pod in braces. It is formatted only if the line is
    logged: by default most lines are not. The line of a dry run says so: no pod was created.
    """

    __slots__ = (
        *("_asked", "_dry_run", "_log", "checked", "facts", "outcome", "pod", "stage", "started"),
    )

    def __init__(
        self,
        log: logging.Logger,
        stage: str,
        asked: str,
        pod: Pod | None = None,
        *,
        dry_run: bool = False,
    ) -> None:
        self._log, self._asked, self._dry_run = log, asked, dry_run
        self.stage, self.pod, self.outcome = stage, pod, ""
        self.checked: list[str] = []
        self.facts: dict[str, Any] = {}

    def __enter__(self) -> Self:
        self.started = time.perf_counter()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self._log_result(logging.INFO, f"{self.stage}_{self.outcome}", self.facts)
        elif isinstance(error, Error):
            self.outcome = "refused"
            refusal = {**self.facts, **error.facts, "code": error.code, "reason": error.message}
            if error.hint:
                refusal["fix"] = error.hint
            self._log_result(logging.WARNING, f"{self.stage}_refused", refusal)
        elif isinstance(error, Exception):
            self.outcome = "internal_error"
            failure = {**self.facts, "reason": "podpass failed; see the traceback in its log"}
            self._log_result(logging.ERROR, f"{self.stage}_failed", failure)

    def _log_result(self, level: int, event: str, facts: dict[str, Any]) -> None:
        if self._log.isEnabledFor(level):
            pod = self.pod
            about: dict[str, object] = {}
            if pod is not None:
                about = {"pod": pod.identity, "namespace": pod.namespace, "account": pod.account}
            if self._dry_run:
                about[DRY_RUN] = True
            hop(
                self._log,
                event,
                level=level,
                stage=self.stage,
                asked=self._asked.format(pod=pod) if pod else "the review's object",
                checked=self.checked,
                seconds=time.perf_counter() - self.started,
                outcome=self.outcome,
                **{**about, **facts},
            )
