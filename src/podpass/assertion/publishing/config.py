"""The file `issuer.yaml` in the key folder: what the operator has decided about an issuer."""

import math
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import yaml

from podpass import files
from podpass.assertion.publishing.model import IssuerError, RotationWaits, SigningMode
from podpass.assertion.publishing.targets import target_problem

FILE = "issuer.yaml"
_MAX_BYTES = 64 * 1024
_MIN_TOKEN_SECONDS = 600  # the shortest maximum that an API server accepts from an external signer
_MAX_SECONDS = 10 * 365 * 24 * 3600
_ACCOUNT = re.compile(r"[a-z0-9-]{1,63}/[a-z0-9.-]{1,253}")
_HEADER = """\
# Settings of `podpass issuer` for this folder; docs/operate/own-cluster.md explains them.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuerConfig:
    """The settings of an issuer.

    `target` is where the documents are published; `kubeconfigs` has one file for each API server;
    `probe_account` is the ServiceAccount, `namespace/name`, for which a token shows the signing key;
    `apply_command` distributes changed key files and restarts API servers; `s3_endpoint` is the host of an
    S3-compatible store.
    """

    issuer: str
    target: str
    signing: SigningMode = SigningMode.FILES
    waits: RotationWaits = field(default_factory=RotationWaits)
    kubeconfigs: tuple[Path, ...] = ()
    probe_account: str = "default/default"
    apply_command: tuple[str, ...] = ()
    s3_endpoint: str = ""

    @property
    def rotation_waits(self) -> RotationWaits:
        """Return the waits of a rotation; an API server reads key files only when it starts."""
        if self.signing is SigningMode.SIGNER:
            return self.waits
        return replace(self.waits, refresh_seconds=0)


def document(config: IssuerConfig) -> dict[str, Any]:
    """Return the settings as they are written in the file."""
    return {
        "issuer": config.issuer,
        "target": config.target,
        "signing": config.signing.value,
        **{each.name: getattr(config.waits, each.name) for each in fields(RotationWaits)},
        "kubeconfigs": [str(path) for path in config.kubeconfigs],
        "probe_account": config.probe_account,
        "apply_command": list(config.apply_command),
        "s3_endpoint": config.s3_endpoint,
    }


def encode(config: IssuerConfig) -> bytes:
    """Return the file."""
    return (_HEADER + yaml.safe_dump(document(config), sort_keys=False)).encode()


def read(folder: Path) -> IssuerConfig:
    """Read the file of a key folder. Raises IssuerError that lists every problem."""
    path = folder / FILE
    try:
        found = yaml.safe_load(files.read_regular(path, _MAX_BYTES))
    except FileNotFoundError as exc:
        raise IssuerError(
            f"there is no issuer in {folder}",
            hint="create one with `podpass issuer keygen`, or name its folder with --dir",
        ) from exc
    except OSError as exc:
        raise IssuerError(
            f"{path} cannot be read: {exc.strerror}", hint="check the file and its owner"
        ) from exc
    except (yaml.YAMLError, UnicodeDecodeError) as exc:
        line = getattr(getattr(exc, "problem_mark", None), "line", 0) + 1
        raise IssuerError(f"{path} is not YAML, line {line}", hint="correct the file") from exc
    return parse(found, str(path))


def parse(found: Any, name: str, *, hint: str = "correct the file") -> IssuerConfig:
    """Parse the settings; an unknown setting is refused by its name.

    Raises IssuerError that lists every problem.
    """
    reader = _SettingsReader(found if isinstance(found, Mapping) else {})
    waits = RotationWaits(
        **{
            each.name: reader.seconds(each.name, int(str(each.default)))
            for each in fields(RotationWaits)
        }
    )
    config = IssuerConfig(
        issuer=reader.text("issuer", ""),
        target=reader.text("target", ""),
        signing=reader.mode(),
        waits=waits,
        kubeconfigs=tuple(Path(each) for each in reader.texts("kubeconfigs")),
        probe_account=reader.text("probe_account", "default/default"),
        apply_command=reader.texts("apply_command"),
        s3_endpoint=reader.text("s3_endpoint", ""),
    )
    problems = reader.problems + _check(config)
    problems += [f"unknown setting {each!r}" for each in reader.rest]
    if problems:
        raise IssuerError(f"{name}: {'; '.join(problems)}", hint=hint)
    return config


def _check(config: IssuerConfig) -> list[str]:
    problems = [f"{name} is required" for name in ("issuer", "target") if not getattr(config, name)]
    if config.target and (problem := target_problem(config.target)):
        problems.append(problem)
    if config.waits.token_seconds < _MIN_TOKEN_SECONDS:
        problems.append(f"token_seconds must be at least {_MIN_TOKEN_SECONDS}")
    if config.waits.refresh_seconds < 1:
        problems.append("refresh_seconds must be at least 1")
    if not _ACCOUNT.fullmatch(config.probe_account):
        problems.append("probe_account must be NAMESPACE/NAME")
    return problems


class _SettingsReader:
    """Reads the members of a document and collects the problems."""

    def __init__(self, found: Mapping[Any, Any]) -> None:
        self.rest = {str(key): value for key, value in found.items()}
        self.problems: list[str] = []

    def text(self, name: str, default: str) -> str:
        value = self.rest.pop(name, default)
        if not isinstance(value, str) or not value.isprintable():
            self.problems.append(f"{name} must be one line of text")
            return default
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        value = self.rest.pop(name, None) or []
        if isinstance(value, str):
            try:
                value = shlex.split(value)
            except ValueError as exc:
                self.problems.append(f"{name}: {exc}")
                return ()
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            self.problems.append(f"{name} must be a list of texts")
            return ()
        return tuple(value)

    def seconds(self, name: str, default: int) -> int:
        value = self.rest.pop(name, default)
        is_number = isinstance(value, int) and not isinstance(value, bool)
        if not is_number or not math.isfinite(value) or not 0 <= value <= _MAX_SECONDS:
            self.problems.append(f"{name} must be a number of seconds")
            return default
        return int(value)

    def mode(self) -> SigningMode:
        value = self.rest.pop("signing", SigningMode.FILES.value)
        try:
            return SigningMode(value)
        except ValueError:
            self.problems.append("signing must be `files` or `signer`")
            return SigningMode.FILES
