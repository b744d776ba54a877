"""Render objects as YAML with comments. Pure.

Two versions of YAML are in use. kubectl does not read an unquoted `y` or `1e3` as a string. So each string
that one of the versions may read as another type is quoted.
"""

import re
from collections.abc import Sequence

import yaml

from podpass import names
from podpass.migration.podidentity.model import Object

_PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9_./@-]*(:[A-Za-z0-9_./@-]+)*")
_NOT_TEXT = {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}
_LABEL_COMMENT = "added: the webhook ignores pods without this label"


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


def render(body: Object, comments: Sequence[str], template: Object | None = None) -> str:
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
