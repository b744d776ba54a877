"""Render the pages of the console with Jinja2; every value is escaped. Pure, but for reading templates."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from podpass.console import texts
from podpass.console.fixes import Fix, KnownObjects, explain_refusal
from podpass.console.texts import Texts
from podpass.console.timeline import ExchangeTrace, Refusal, Timeline, account_of, claims, pod_of
from podpass.diagnose.trace.hop import STAGES, Hop, HopResult

MAX_ROWS = {"loop": 10, "exchanges": 100, "refusals": 50}
# Fingerprints that connect hops; they have no meaning for a user.
_HIDDEN = ("token_sha256",)
# A text that was shortened may lack the second backtick.
_CODE = re.compile(r"`([^`]*)(?:`|$)")
_GUID = re.compile(
    r"(?<![\w/-])[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}(?![\w/-])", re.IGNORECASE
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PageContext:
    """What every page needs: where it is, whose data it shows, and its language.

    `run` identifies the run of the process, whose numbers the lines have; `has_sign_in` is whether a session
    begins with a sign-in instead of a link.
    """

    base: str
    title: str
    views: Sequence[str]
    t: Texts
    commands: Mapping[str, str] = field(default_factory=dict)
    run: str = ""
    has_sign_in: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeRow:
    """A line of the list of exchanges."""

    number: int
    hop: Hop
    refused: bool
    who: str
    pod: str
    client: str
    what: str
    resources: Sequence[Hop]


@dataclass(frozen=True, slots=True, kw_only=True)
class HopRow:
    """A hop in an opened line."""

    stage: str
    asked: str
    checked: Sequence[str]
    took_ms: float
    outcome: str
    refused: bool
    cause: str
    facts: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusalGroup:
    """Equal refusals of one caller: the newest of them, how many, since when, and their pods."""

    number: int
    hop: Hop
    who: str
    fix: Fix
    count: int
    first: str
    pods: Sequence[str]


def _create_environment() -> Environment:
    loader = PackageLoader("podpass.console")
    return Environment(
        loader=loader,
        autoescape=True,
        auto_reload=False,
        undefined=StrictUndefined,
        trim_blocks=True,
    )


def annotate(text: object, names: Mapping[str, str]) -> Markup:
    """Escape a text, mark what is between backticks as code, and write its name after each known GUID.

    A command is copied, so nothing is added to code.
    """

    def add_name(found: re.Match[str]) -> str:
        name = names.get(found[0].lower())
        return f"{found[0]} <small>({escape(name)})</small>" if name else found[0]

    parts = _CODE.split(str(escape(text)))  # outside, code, outside, ...
    return Markup(  # noqa: S704 each part is escaped
        "".join(
            f"<code>{part}</code>" if at % 2 else _GUID.sub(add_name, part)
            for at, part in enumerate(parts)
        )
    )


_environment = _create_environment()
_environment.filters["annotate"] = annotate


def render(context: PageContext, view: str, path: str, **values: Any) -> bytes:
    """Render a page of a view.

    `names` are the names of GUIDs; `pod` is NAMESPACE/NAME if only its exchanges are shown.
    """
    template = values.pop("template", view)
    text = _environment.get_template(f"{template}.html").render(
        base=context.base,
        title=context.title,
        views=context.views,
        t=context.t,
        run=context.run,
        has_sign_in=context.has_sign_in,
        languages=[texts.load(each) for each in texts.LANGUAGES],
        view=view,
        path=path,
        command=context.commands.get(view, ""),
        **{"names": {}, "pod": "", **values},
    )
    return text.encode("utf-8", "replace")


def render_sign_in(base: str, t: Texts, *, fault: bool) -> bytes:
    """Render the form for administrators."""
    return _environment.get_template("sign-in.html").render(base=base, t=t, fault=fault).encode()


def render_part(context: PageContext, template: str, **values: Any) -> str:
    """Render a part of a page, which htmx inserts."""
    found = _environment.get_template(f"{template}.html")
    return found.render(base=context.base, t=context.t, run=context.run, **{"names": {}, **values})


def stage_rows(timeline: Timeline) -> list[Mapping[str, Any]]:
    """Return the counts of all stages in their order."""
    counts = timeline.counts
    return [
        {
            "name": stage,
            "passed": counts[stage].passed,
            "refused": counts[stage].refused,
            "last": counts[stage].last,
        }
        for stage in STAGES
    ]


def exchange_rows(found: Iterable[ExchangeTrace]) -> list[ExchangeRow]:
    """Return the lines of some exchanges."""
    return [
        ExchangeRow(
            number=each.number,
            hop=each.hop,
            refused=each.hop.result is HopResult.REFUSED,
            who=describe_caller(each.hop),
            pod=each.hop.fact("pod"),
            client=each.hop.fact("client_id"),
            what=each.hop.fact("resource"),
            resources=each.resources,
        )
        for each in found
    ]


def group_refusals(found: Iterable[Refusal], known: KnownObjects, limit: int) -> list[RefusalGroup]:
    """Return equal refusals of one caller as one group; the group with the newest refusal is the first."""
    groups: dict[object, list[Refusal]] = {}
    for each in sorted(found, key=lambda refusal: refusal.number, reverse=True):
        groups.setdefault(_describe_refusal(each), []).append(each)
    return [
        RefusalGroup(
            number=group[0].number,
            hop=group[0].hop,
            who=describe_caller(group[0].caller),
            fix=explain_refusal(group[0].hop, known),
            count=len(group),
            first=group[-1].hop.time,
            pods=list(dict.fromkeys(filter(None, (pod_of(each.caller) for each in group)))),
        )
        for group in islice(groups.values(), limit)
    ]


def _describe_refusal(refusal: Refusal) -> object:
    """Return what equal refusals have in common: stage, code, caller, identity and vault."""
    hop = refusal.hop
    facts = (hop.fact("client_id"), hop.fact("vault"), hop.is_claimed, hop.is_by_doctor)
    return hop.stage, hop.code, describe_caller(refusal.caller), *facts


def hop_values(exchange: ExchangeTrace) -> dict[str, Any]:
    """Return the values of the template of an exchange's hops."""
    return {
        "number": exchange.number,
        "hops": [_hop_row(hop) for hop in exchange.hops],
        "claims": list(claims(exchange)),
    }


def _hop_row(hop: Hop) -> HopRow:
    shown = {name: value for name, value in hop.facts.items() if name not in _HIDDEN}
    return HopRow(
        stage=hop.stage,
        asked=hop.asked,
        checked=hop.checked,
        took_ms=hop.took_ms,
        outcome=hop.outcome,
        refused=hop.result is HopResult.REFUSED,
        cause=hop.cause,
        facts=[(name, _as_text(value)) for name, value in shown.items()],
    )


def describe_caller(hop: Hop) -> str:
    """Return the caller of a hop: the ServiceAccount, another subject, or the client."""
    if (account := account_of(hop)) is not None:
        return "/".join(account)
    return hop.fact("sub") or hop.fact("client_id")


def _as_text(value: Any) -> str:
    if isinstance(value, dict):
        return json.dumps(value)
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
