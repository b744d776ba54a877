"""The section `policies:` of a seed file: assignments of policies, which `podpass lint` reads."""

from dataclasses import dataclass
from typing import Any

import yaml

from podpass.diagnose.lint.policies import DEFINITIONS, EFFECTS, IssuerPolicy
from podpass.seed.section import SeedEntry, SeedSection
from podpass.seed.yaml_reader import Reader, line_of

KEY = "policies"


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyEntry(SeedEntry):
    """An assignment of a policy in a seed file."""

    policy: IssuerPolicy


def _parse(read: Reader, node: yaml.Node) -> PolicyEntry:
    entry = read.read_mapping(
        node, "policy", ("definition", "parameters"), required=("definition",)
    )
    name = (read.read_text(entry.get("definition"), "policy: definition") or "").lower()
    known = DEFINITIONS.get(name)
    parameters: dict[str, Any] = {}
    if name and known is None:
        wanted = ", ".join(DEFINITIONS)
        read.add_problem(
            line_of(entry["definition"]), f"policy: definition {name!r}: want one of {wanted}"
        )
    elif known is not None and "parameters" in entry:
        where = f"policy {name}: parameters"
        names = (*known.switches, *known.lists, "effect")
        for key, child in read.read_mapping(entry["parameters"], where, names).items():
            if key in known.lists:
                texts = [
                    read.read_text(each, f"{where}: {key}") for each in read.read_list(child, key)
                ]
                parameters[key] = tuple(text for text in texts if text is not None)
                continue
            if key in known.switches:
                parameters[key] = read.read_flag(child, f"{where}: {key}")
                continue
            parameters[key] = effect = read.read_text(child, f"{where}: {key}")
            if effect is not None and effect not in EFFECTS:
                read.add_problem(
                    line_of(child), f"{where}: effect {effect!r}: want one of {', '.join(EFFECTS)}"
                )
    return PolicyEntry(
        line=line_of(node), name=name, policy=IssuerPolicy(definition=name, parameters=parameters)
    )


SECTION = SeedSection(key=KEY, noun="policy", parse=_parse)
