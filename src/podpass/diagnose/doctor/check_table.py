"""The table of the checks of a stage: a check is a pure function, next to its id and its meaning."""

from collections.abc import Callable

from podpass.diagnose.doctor import fixes
from podpass.diagnose.doctor.model import DoctorCheck, Facts, Problem, Stage

Run = Callable[[Facts], Problem | None]


class CheckTable(list[DoctorCheck]):
    """The checks in their order; those of another stage name it."""

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self._stage = stage

    def check(
        self,
        check_id: str,
        meaning: str,
        *,
        stage: Stage | None = None,
        optional: bool = False,
        is_symptom: bool = False,
    ) -> Callable[[Run], Run]:
        """Add the decorated function; see DoctorCheck."""

        def add(run: Run) -> Run:
            chosen = stage or self._stage
            self.append(DoctorCheck(check_id, chosen, meaning, run, optional, is_symptom))
            return run

        return add

    def warning(
        self,
        check_id: str,
        meaning: str,
        fix: str | Callable[[Facts], str],
        *,
        code: str = "",
        on_account: bool = False,
        stage: Stage | None = None,
    ) -> None:
        """Add a check that finds a warning of the webhook's rules.

        `fix` is a command, or a change of the pod. `code` is that of the warning, by default the id. With
        `on_account` the warning is about the ServiceAccount, else about the workload.
        """
        code = code or check_id.replace("-", "_")

        @self.check(check_id, meaning, stage=stage)
        def run(facts: Facts) -> Problem | None:
            cluster = facts.cluster
            found = () if cluster.decision is None else cluster.decision.warnings.get(code, ())
            if not found:
                return None
            title = cluster.account_title if on_account else cluster.workload
            message = "; ".join(_without_object(each, title) for each in found)
            command = fixes.edit_pod(cluster, fix) if isinstance(fix, str) else fix(facts)
            return Problem(title, message, command)


def _without_object(warning: str, title: str) -> str:
    """Return a warning without the object at its beginning, which a finding names already."""
    text = warning.removeprefix(f"{title}: ")
    return f"it {text.removeprefix(title).lstrip()}" if text.startswith(title) else text
