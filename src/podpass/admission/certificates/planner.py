"""What to do next about the certificates, from what was seen. Pure: no I/O, no clock of its own.

    join   the new authority stands beside the old one in every caBundle; nobody serves a leaf of it
    turn   every API server has heard of it: it signs, and replicas serve its leaf as they hear of it
    drop   no replica can serve the old leaf any more: the old authority leaves

What is decided is one step on the Secret, whose version tells whether another replica was quicker. Waits
are counted by each replica for itself, from its own looks: nothing but the Secret is agreed on, so a
replica that starts at any moment goes on from there, at the price of one more wait.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Protocol

from podpass.admission.certificates.model import (
    Authority,
    Drop,
    Held,
    Join,
    Keep,
    Leaf,
    Make,
    Plan,
    Seen,
    Served,
    Sight,
    Sign,
    Step,
    Turn,
)

_FIRST = "there is no serving certificate yet"
_DUE = "the certificate ends soon"


class Maker(Protocol):
    """Whoever makes keys and certificates."""

    def authority(self) -> Authority: ...

    def leaf(self, authority: Authority) -> Leaf: ...


def is_valid(certificate: Authority | Leaf, now: float) -> bool:
    return certificate.not_before <= now < certificate.not_after


def is_due(certificate: Authority | Leaf, now: float, plan: Plan) -> bool:
    """Tell whether a certificate ends so soon that it has to be replaced."""
    return certificate.not_after <= now + plan.look_ahead_seconds


def noted(seen: Seen, sight: Sight, served: Served | None, *, ticks: float, plan: Plan) -> Seen:
    """Remember what a look saw; `ticks` was read after it.

    For an authority that is to sign, any change of a configuration begins the wait anew: between two looks a
    reference's replica, which is slow to hear of the Secret, may have taken it out for a moment.

    An old authority is out of use only while there is another's leaf to go to.

    A silence lasts until what is served here is signed by who signs in the Secret: where that was destroyed
    meanwhile there is nothing to go to, and others may count to the end of what is served here. They cease
    when they see that nobody signs, and whoever has not looked for so long counts anew.
    """
    held = sight.held
    restarts = _may_have_been_out(seen, sight, plan)
    is_silent = ticks - seen.looked >= plan.stale_seconds
    seen = replace(out_of_touch(seen), empty=None) if is_silent else seen
    empty = None if held.current else ticks if seen.empty is None else seen.empty
    is_over = _is_current(held.current, served) or (
        empty is not None and ticks - empty >= plan.stale_seconds
    )
    return Seen(
        looked=ticks,
        after_silence=(is_silent or seen.after_silence) and not is_over,
        in_use=served is not None and (seen.in_use or sight.carries(served.authority.id)),
        version=sight.version,
        empty=empty,
        trusted={
            each.id: ticks if each.id in restarts else seen.trusted.get(each.id, ticks)
            for each in held.authorities
            if sight.carries(each.id)
        },
        old={each.id: seen.old.get(each.id, ticks) for each in held.old if held.leaf},
        met={each.id: seen.met.get(each.id, ticks) for each in held.authorities},
    )


def _may_have_been_out(seen: Seen, sight: Sight, plan: Plan) -> set[str]:
    """List the authorities that are to sign and may have been out of a bundle since the look before.

    A first leaf is not to wait for ever where somebody keeps changing a configuration: for its authority
    that counts only until everybody must have heard of it.
    """
    if seen.version == sight.version:
        return set()
    held, fresh = sight.held, seen.looked - plan.lag_seconds
    found = {held.coming.id} if held.coming else set()
    if held.current and not held.leaf and seen.met.get(held.current.id, seen.looked) >= fresh:
        found.add(held.current.id)
    return found


def _is_current(current: Authority | None, served: Served | None) -> bool:
    return current is not None and served is not None and current.id == served.authority.id


def out_of_touch(seen: Seen) -> Seen:
    """Begin counting anew when an old authority may leave.

    Who could not look cannot know whether others could; and while the API server is away, nobody hears that a
    replica is not ready any more.
    """
    return replace(seen, old={}, in_use=False)


def decide(
    sight: Sight, seen: Seen, served: Served | None, *, now: float, ticks: float, plan: Plan
) -> Step | None:
    """Choose the next step on the Secret; None when there is nothing to do, or something to wait for.

    Units:   `now` in seconds since the epoch, `ticks` by the clock of `seen`.
    """
    held, current = sight.held, sight.held.current
    turns = held.coming is not None and is_valid(held.coming, now)
    if current is None or not (turns or is_valid(current, now)):
        return Make(_still_in_use(sight, seen, served), _why(held, now))
    if served is not None and _thrown_out(sight, served.authority):
        return Keep(served.authority)
    # A first leaf waits until it will be trusted; one in place of another is trusted as that one is.
    if (why := _unsigned(held, now, plan)) and (held.leaf or _known(current, seen, ticks, plan)):
        return Sign(why)
    if turns:
        assert held.coming is not None
        return Turn() if _known(held.coming, seen, ticks, plan) else None
    if is_due(current, now, plan):
        return Join()
    gone = frozenset(_out_of_use(seen, served, ticks, plan))
    return Drop(gone) if gone else None


def changed(held: Held, step: Step, maker: Maker) -> Held:
    """Carry out a step; nothing that is made touches what is there."""
    current = held.current
    match step:
        case Make(old):
            return Held(current=maker.authority(), old=old)
        case Keep(authority):
            return replace(held, old=(replace(authority, key=b""), *held.old))
        case Drop(ids):
            return replace(held, old=tuple(each for each in held.old if each.id not in ids))
    assert current is not None  # every other step is taken from one that works
    match step:
        case Sign():
            return replace(held, leaf=maker.leaf(current))
        case Join():
            # One that came too late to sign has signed nothing, and nobody misses it.
            return replace(held, coming=maker.authority())
        case Turn():
            assert held.coming is not None
            leaf = maker.leaf(held.coming)
            old = (replace(current, key=b""), *held.old)
            return Held(current=held.coming, leaf=leaf, old=old)


def takes(
    sight: Sight, seen: Seen, served: Served | None, *, now: float, ticks: float, plan: Plan
) -> bool:
    """Tell whether to serve the Secret's leaf from now on.

    By its own looks, not by another replica's word: a reference's replica changes authority and leaf in one
    step, and API servers would not know yet whom we serve. After a silence there is no time for that, since
    what is served may be about to leave; and no need, since nobody calls.
    """
    leaf, current = sight.held.leaf, sight.held.current
    if leaf is None or current is None:
        return False
    if served is None:
        return True
    if leaf.chain == served.leaf.chain or (is_valid(served.leaf, now) and not is_valid(leaf, now)):
        return False
    if leaf.authority == served.authority.id or seen.after_silence:
        return True
    if _known(current, seen, ticks, plan):
        return True
    # What is served has lost its trust already; one that is trusted soon is better.
    return sight.carries(current.id) and not sight.carries(served.authority.id)


def wait_seconds(seen: Seen, ticks: float, plan: Plan) -> float | None:
    """Tell how long until one of the waits is over; None when nothing is waited for."""
    ends = [since + plan.lag_seconds for since in seen.trusted.values()]
    ends += [since + plan.linger_seconds for since in seen.old.values()]
    return min((end - ticks for end in ends if end > ticks), default=None)


def is_repair(step: Step) -> bool:
    """Tell a step that a broken Secret calls for, maybe again at once, from those of their time."""
    usual = (_FIRST, _DUE)
    return isinstance(step, Make) or (isinstance(step, Sign) and step.why not in usual)


def _why(held: Held, now: float) -> str:
    if held.faults:
        return "; ".join(held.faults)
    if held.current is None:
        return "the Secret is empty"
    ended = held.current.not_after <= now
    return "the authority has expired" if ended else "the authority is not valid yet"


def _unsigned(held: Held, now: float, plan: Plan) -> str:
    """Say why the current authority has to sign; empty while its leaf, or the coming authority's, will do."""
    assert held.current is not None
    if not is_valid(held.current, now):
        return ""
    if held.leaf is None:
        return "; ".join(held.faults) or _FIRST
    if not is_valid(held.leaf, now):
        ended = held.leaf.not_after <= now
        return "the certificate has expired" if ended else "the certificate is not valid yet"
    renewed_by_turn = is_due(held.current, now, plan)
    return _DUE if is_due(held.leaf, now, plan) and not renewed_by_turn else ""


def _known(authority: Authority, seen: Seen, ticks: float, plan: Plan) -> bool:
    """Tell whether every API server has heard that this authority is to be trusted."""
    since = seen.trusted.get(authority.id)
    return since is not None and ticks - since >= plan.lag_seconds


def _out_of_use(seen: Seen, served: Served | None, ticks: float, plan: Plan) -> Iterator[str]:
    for authority, since in seen.old.items():
        in_use_here = served is not None and served.authority.id == authority
        if ticks - since >= plan.linger_seconds and not in_use_here:
            yield authority


def _still_in_use(sight: Sight, seen: Seen, served: Served | None) -> tuple[Authority, ...]:
    """List the authorities whose leaf some replica may serve, when the Secret no longer tells.

    Whatever is served is in every bundle, unless somebody has just overwritten those too: then what is served
    here counts. Not after a silence: it may have left in the meantime, and nobody would expect it back.
    """
    mine = (served.authority,) if served is not None and seen.in_use else ()
    found = (each for each in (*sight.held.authorities, *sight.found) if sight.carries(each.id))
    every = {each.id: each for each in (*found, *mine)}
    return tuple(replace(each, key=b"") for each in every.values())


def _thrown_out(sight: Sight, served: Authority) -> bool:
    """Tell whether somebody replaced the authority that is served here, without an overlap."""
    known = {each.id for each in sight.held.authorities}
    return served.id not in known and sight.carries(served.id)
