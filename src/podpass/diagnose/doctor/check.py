"""A check: a pure decision from the facts of one workload."""

from collections.abc import Callable
from dataclasses import dataclass

from podpass.diagnose.doctor.cloud_model import CloudFacts
from podpass.diagnose.doctor.cluster_model import ClusterFacts
from podpass.diagnose.doctor.model import Problem, Stage


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Everything that was read about one workload."""

    cluster: ClusterFacts
    cloud: CloudFacts


@dataclass(frozen=True, slots=True)
class DoctorCheck:
    """One row of the table of checks.

    `id` is stable, in words with hyphens; `meaning` is the sentence of the docs, what must hold. `run`
    returns None if it holds or does not apply. It reads facts with `known`, so that a check whose facts are
    unread is reported as not checked; with `optional`, the exit code stays 0 then. `is_symptom` if it finds a
    consequence: every finding that can be its cause comes first.
    """

    id: str
    stage: Stage
    meaning: str
    run: Callable[[Facts], Problem | None]
    optional: bool = False
    is_symptom: bool = False
