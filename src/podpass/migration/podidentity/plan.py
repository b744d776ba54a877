"""Decide the files of a run: names, ServiceAccounts, comments and warnings. Pure.

Two versions of YAML are in use. kubectl does not read an unquoted `y` or `1e3` as a string. So each string
that one of the versions may read as another type is quoted.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import yaml

from podpass import names
from podpass.migration.podidentity.model import DetectOptions, GeneratedFile, Object, Workload
from podpass.migration.podidentity.workload import (
    convert_account,
    convert_workload,
    pod_template,
    service_account_name,
)

# A file name has at most 255 bytes, the name of an object up to 253.
_STEM_CHARS = 200
_RECREATE = "the containers of a {} cannot be changed: delete it before you apply this file"
_ENDLESS = (
    "the sidecar does not end with the program, so the Job never completes. With Kubernetes 1.32 or later,"
    " remove azwi-proxy and azwi-proxy-init here, and annotate the pods with"
    " azure.workload.identity/inject-proxy-sidecar: the webhook then injects a sidecar that ends"
)
_COMMENTS = {
    "Pod": (_RECREATE.format("pod"),),
    "Job": (_RECREATE.format("Job"), _ENDLESS),
    "CronJob": (_ENDLESS,),
}
_PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9_./@-]*(:[A-Za-z0-9_./@-]+)*")
_NOT_TEXT = {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}
_LABEL_COMMENT = "added: the webhook ignores pods without this label"


@dataclass(slots=True)
class Plan:
    """The files to write, and warnings for the user."""

    files: list[GeneratedFile] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class _NamedWorkload:
    """A workload, the stem of its file names, and its ServiceAccount."""

    workload: Workload
    stem: str
    account: str
    is_new: bool


def build_plan(
    workloads: Sequence[Workload], accounts: Mapping[str, Object], options: DetectOptions
) -> Plan:
    """Return the files for all workloads.

    `accounts` are the existing ServiceAccounts of the namespace by name; all that workloads use are in it.
    """
    plan = Plan()
    targets = _choose_names(workloads)
    for target in targets:
        warnings = _list_warnings(target, targets, accounts, options)
        plan.warnings += [f"{target.workload}: {each}" for each in warnings]
        new = {"metadata": {"name": target.account, "namespace": options.namespace}}
        existing = new if target.is_new else accounts[target.account]
        account = convert_account(existing, target.workload.identity.client_id, options)
        body = convert_workload(target.workload, target.account, options)
        by_hand = _COMMENTS.get(target.workload.kind, ())
        comments = [f"warning: {each}" for each in warnings]
        plan.files += [
            GeneratedFile(
                name=f"{target.stem}-serviceaccount.yaml", text=render_manifest(account, comments)
            ),
            GeneratedFile(
                name=f"{target.stem}.yaml", text=render_manifest(body, by_hand, pod_template(body))
            ),
        ]
    return plan


def _choose_names(workloads: Sequence[Workload]) -> list[_NamedWorkload]:
    """Choose file names, none of them twice; a second workload of a name gets its kind appended."""
    taken: set[str] = set()
    targets = []
    for workload in sorted(workloads, key=lambda each: (each.name, each.kind)):
        base = workload.name[:_STEM_CHARS].rstrip("-.")
        stem, count = base, 1
        while taken & {f"{stem}.yaml", f"{stem}-serviceaccount.yaml"}:
            stem = f"{base}-{workload.kind.lower()}" + (f"-{count}" if count > 1 else "")
            count += 1
        taken |= {f"{stem}.yaml", f"{stem}-serviceaccount.yaml"}
        used = service_account_name(workload.body)
        target = _NamedWorkload(workload=workload, stem=stem, account=used or stem, is_new=not used)
        targets.append(target)
    return targets


def _list_warnings(
    target: _NamedWorkload,
    targets: Sequence[_NamedWorkload],
    accounts: Mapping[str, Object],
    options: DetectOptions,
) -> list[str]:
    found = []
    identity = target.workload.identity
    if identity.others:
        found.append(
            f"pods with the selector {identity.selector} used more identities"
            f" ({', '.join(identity.others)}). A ServiceAccount has one client id: name the other client"
            " ids in the program"
        )
    others = sorted(
        str(each.workload)
        for each in targets
        if each.account == target.account and each.workload.identity.client_id != identity.client_id
    )
    if others:
        found.append(
            f"{', '.join(others)} use the same ServiceAccount {target.account} with another identity:"
            " give each identity its own ServiceAccount before you apply the files"
        )
    if target.is_new and target.account in accounts:
        found.append(
            f"the namespace {options.namespace} has a ServiceAccount {target.account} already: this file"
            " changes it for every pod that uses it"
        )
    return found


class _Dumper(yaml.SafeDumper):
    """Write texts of several lines as literal blocks, and quote texts that YAML may read as another type."""

    def represent_text(self, text: str) -> yaml.Node:
        style = "|" if "\n" in text else None if _is_plain(text) else '"'
        return self.represent_scalar("tag:yaml.org,2002:str", text, style=style)

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 signature of PyYAML
        return True


_Dumper.add_representer(str, _Dumper.represent_text)


def _is_plain(text: str) -> bool:
    return _PLAIN.fullmatch(text) is not None and text.lower() not in _NOT_TEXT


def render_manifest(body: Object, comments: Sequence[str], template: Object | None = None) -> str:
    """Return a manifest with comments above it, and with a comment at the label of the pod template.

    `template` is the part of `body` with the label.
    """
    marked = _mark_label(body, template)
    text = yaml.dump(body, Dumper=_Dumper, default_flow_style=False, width=110)
    if marked:
        text = text.replace(f": {marked}\n", f': "true" # {_LABEL_COMMENT}\n', 1)
    return "".join(f"# {_escape(each)}\n" for each in comments) + text


def _mark_label(body: Object, template: Object | None) -> str:
    """Set the label to a text that does not occur in the object; return it, or an empty text."""
    if template is None:
        return ""
    content, mark = yaml.dump(body, Dumper=_Dumper), "label-mark"
    while mark in content:
        mark += "-x"
    template["metadata"]["labels"][names.USE_LABEL] = mark
    return mark


def _escape(text: str) -> str:
    """Return the text in one line: a comment must not continue as YAML."""
    return "".join(char if char.isprintable() else "?" for char in text)
