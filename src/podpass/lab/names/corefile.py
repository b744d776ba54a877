"""Edit the configuration of CoreDNS, so that Azure's names are forwarded to the resolver of the cloud. Pure.

The edit is one server block between two marker lines, at the start of the text. So it is removed exactly,
whatever the text was and whatever was changed around the block later. CoreDNS selects the server block with
the longest matching zone, so plugins of the other blocks (`hosts`, `template`, `cache`, `forward`) have no
effect on these names and stay unchanged.

Where a distribution writes the Corefile again (k3s, AKS), the block is a key of the ConfigMap
`coredns-custom`, which the Corefile imports.
"""

import hashlib
import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass

from podpass.lab.names.served_names import find_zone
from podpass.lab.names.server_blocks import (
    Corefile,
    CorefileError,
    CorefileNotUnderstood,
    ServerBlock,
    parse,
)

CUSTOM_KEY = "podpass-cloud.server"
_BEGIN = "# podpass-cloud begin"
_END = "# podpass-cloud end"
_OWNER = re.compile(r"[a-z0-9]([a-z0-9./-]{0,250}[a-z0-9])?")
_ZONE = re.compile(r"([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_BLOCK = re.compile(
    rf"^{_BEGIN}, owner (?P<owner>{_OWNER.pattern}), sha256 (?P<digest>[0-9a-f]{{16}}):"
    rf" do not edit\n(?P<body>(?:(?!{_BEGIN}|{_END}).*\n)*){_END}\n",
    re.MULTILINE,
)
_UNDO = "remove the lines from `# podpass-cloud begin` to `# podpass-cloud end`, then try again"


class BlockEdited(CorefileError):
    """The block of podpass was changed, or is duplicated, so its removal could remove something else."""

    code = "corefile_block_edited"
    hint = _UNDO


class OtherOwner(CorefileError):
    """The block belongs to another installation of podpass."""

    code = "corefile_other_owner"


class ZoneTaken(CorefileError):
    """The Corefile already has a server block for one of the names."""

    code = "corefile_zone_taken"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """The zones that the block forwards, and the resolver that answers for them.

    `zones` are normalized names (`list_zones`); `resolver` is an IP address, port 53; `owner` names the
    installation, as `NAMESPACE/NAME`.
    """

    zones: tuple[str, ...]
    resolver: str
    owner: str

    def __post_init__(self) -> None:
        # These values become configuration: a space or a brace would change its structure.
        if str(ipaddress.ip_address(self.resolver.partition("%")[0])) != self.resolver:
            raise ValueError("the resolver is not an IP address in canonical form")
        if not self.zones or not all(map(_ZONE.fullmatch, self.zones)):
            raise ValueError("the zones are not host names")
        if not _OWNER.fullmatch(self.owner):
            raise ValueError("the owner is not a namespace and a name")


def add_block(corefile: str, answers: Answers) -> str:
    """Return the Corefile with the block; a block of the same owner is replaced.

    Raises CorefileNotUnderstood, BlockEdited, OtherOwner, ZoneTaken.
    """
    rest = remove_block(corefile, owner=answers.owner)
    return _build_block(_check(rest, answers), answers) + rest


def remove_block(corefile: str, *, owner: str | None = None) -> str:
    """Return the Corefile as it was without the block; unchanged if there is none.

    With `owner`, the block of another installation is refused. Raises BlockEdited, OtherOwner.
    """
    found = _find_block(corefile)
    if found is None:
        return corefile
    if owner is not None and found["owner"] != owner:
        raise OtherOwner(
            f"the Corefile has the block of another podpass cloud, {found['owner']}",
            hint="uninstall that one first: `podpass cloud uninstall`",
            owner=found["owner"],
        )
    return corefile[: found.start()] + corefile[found.end() :]


def imports_custom_servers(corefile: str) -> bool:
    """Return whether the Corefile imports server blocks from `coredns-custom`, as that of k3s and AKS does.

    Raises CorefileNotUnderstood.
    """
    return any(pattern.endswith("custom/*.server") for pattern in parse(corefile).imports)


def custom_keys(data: Mapping[str, str], corefile: str, answers: Answers) -> dict[str, str]:
    """Return the data of the ConfigMap `coredns-custom` with the block as a key of its own.

    `data` is what the ConfigMap has, `corefile` the main Corefile, which imports it. Raises
    CorefileNotUnderstood, BlockEdited, OtherOwner, ZoneTaken.
    """
    rest = without_custom_keys(data, owner=answers.owner)
    ports = _check(corefile, answers)
    for key, text in sorted(rest.items()):
        if key.endswith(".server"):
            _check_zones(parse(text), answers, f"key {key} of coredns-custom")
    return {**rest, CUSTOM_KEY: _build_block(ports, answers)}


def without_custom_keys(data: Mapping[str, str], *, owner: str | None = None) -> dict[str, str]:
    """Return the data of the ConfigMap `coredns-custom` without the key of podpass.

    Raises BlockEdited, OtherOwner.
    """
    text = data.get(CUSTOM_KEY, "")
    if text and (_find_block(text) is None or remove_block(text, owner=owner)):
        raise BlockEdited(
            f"the key {CUSTOM_KEY} of coredns-custom was edited",
            hint="remove the key, then try again",
        )
    return {key: value for key, value in data.items() if key != CUSTOM_KEY}


def _find_block(corefile: str) -> re.Match[str] | None:
    begins = sum(line.startswith(_BEGIN) for line in corefile.split("\n"))
    ends = sum(line.startswith(_END) for line in corefile.split("\n"))
    if not begins and not ends:
        return None
    found = _BLOCK.search(corefile)
    if found is None or (begins, ends) != (1, 1):
        raise BlockEdited("the block of podpass in the Corefile is incomplete or duplicated")
    if found["digest"] != _digest(found["owner"], found["body"]):
        raise BlockEdited("the block of podpass in the Corefile was edited")
    return found


def _digest(owner: str, body: str) -> str:
    return hashlib.sha256(f"{owner}\n{body}".encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _build_block(ports: tuple[str, ...], answers: Answers) -> str:
    keys = ",\n".join(f"{zone}{port}" for zone in answers.zones for port in ports)
    # Without the plugin `cache`, a new vault has a name at once.
    body = f"{keys} {{\n    errors\n    forward . {answers.resolver}\n}}\n"
    owner = answers.owner
    head = f"{_BEGIN}, owner {owner}, sha256 {_digest(owner, body)}: do not edit\n"
    return f"{head}{body}{_END}\n"


def _check(corefile: str, answers: Answers) -> tuple[str, ...]:
    """Check that the block fits a Corefile; return the ports of its server block for all names.

    Raises CorefileNotUnderstood, ZoneTaken.
    """
    parsed = parse(corefile)
    _check_zones(parsed, answers, "the Corefile")
    roots = [block for block in parsed.blocks if _root_ports(block)]
    if not roots:
        raise CorefileNotUnderstood(
            "the Corefile has no server block for all names, such as `.:53`"
        )
    if any("bind" in block.plugins for block in roots):
        raise CorefileNotUnderstood(
            "the Corefile binds to single addresses, as that of a DNS cache on each node does",
            hint="use `--dns pods`, which does not change the DNS of the cluster",
        )
    return tuple(dict.fromkeys(port for block in roots for port in _root_ports(block)))


def _root_ports(block: ServerBlock) -> list[str]:
    return [key.port for key in block.keys if key.transport == "dns" and not key.zone]


def _check_zones(parsed: Corefile, answers: Answers, where: str) -> None:
    for block in parsed.blocks:
        for key in block.keys:
            if find_zone(key.zone, answers.zones) is not None:
                raise ZoneTaken(
                    f"{where} already has a server block for {key.zone} (line {block.line})",
                    hint="remove that server block, or use `--dns pods`",
                    zone=key.zone,
                )
