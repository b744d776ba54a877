"""The sections `issuers:` and `pipelines:` of a seed file."""

from pathlib import Path
from typing import cast

import yaml

from podpass.http.fetcher import FetchError, parse_url
from podpass.lab.issuers.fetcher import create_fetcher
from podpass.lab.issuers.registry import ISSUERS, IssuerEntry, IssuerRegistry, NamedIssuer
from podpass.seed.results import Applied
from podpass.seed.section import SeedEntry, SeedPlace, SeedSection
from podpass.seed.yaml_reader import Reader, line_of
from podpass.settings.authority import is_private_network
from podpass.settings.azure import PIPELINES

# No file of this machine is sent to an address of a seed, so there is no token for `server`.
_KEYS = ("url", "server", "folder", "ca_file", "addresses")
_FILES = ("folder", "ca_file")


def _parse_issuer(read: Reader, node: yaml.Node) -> IssuerEntry:
    entry = read.read_mapping(node, "issuer", _KEYS, required=("url",))
    texts = {
        key: read.read_text(entry.get(key), f"issuer: {key}") or ""
        for key in _KEYS
        if key != "addresses"
    }
    where = f"issuer {texts['url']}".rstrip()
    listed = [
        (each, read.read_text(each, f"{where}: addresses") or "")
        for each in read.read_list(entry.get("addresses"), f"{where}: addresses")
    ]

    def report(key: str, text: str) -> None:
        read.add_problem(line_of(entry.get(key, node)), f"{where}: {text}")

    for key in ("url", "server"):
        if texts[key] and not _is_url(texts[key]):
            report(key, f"{key}: want an https URL")
    if texts["server"].endswith("/"):
        report("server", "server: want no final slash")
    for key in _FILES:
        if texts[key] and not Path(texts[key]).is_absolute():
            report(key, f"{key}: want an absolute path")
    for child, text in listed:
        if text and not is_private_network(text):
            problem = f"{text!r}: want a network such as 10.20.0.0/16, without metadata addresses"
            read.add_problem(line_of(child), f"{where}: addresses: {problem}")
    if texts["folder"] and any(entry.get(key) for key in ("server", "ca_file", "addresses")):
        report("folder", "folder: the files are read here; omit server, ca_file and addresses")
    issuer = NamedIssuer(**texts, addresses=tuple(text for _, text in listed))
    return IssuerEntry(line=line_of(node), name=issuer.url, issuer=issuer)


def _is_url(text: str) -> bool:
    try:
        parse_url(text)
    except FetchError:
        return False
    return "?" not in text


def _parse_platform(read: Reader, node: yaml.Node) -> SeedEntry:
    text = read.read_text(node, "pipelines") or ""
    if text and text not in PIPELINES:
        read.add_problem(line_of(node), f"pipelines: {text!r}: want one of {', '.join(PIPELINES)}")
    return SeedEntry(line=line_of(node), name=text)


def _registry(place: SeedPlace) -> IssuerRegistry:
    return cast("IssuerRegistry", place.data[ISSUERS])


async def _find_fault(_place: SeedPlace, wanted: IssuerEntry) -> str:
    try:
        create_fetcher(wanted.issuer)
    except FetchError as exc:
        return exc.message
    if wanted.issuer.folder and not Path(wanted.issuer.folder).is_dir():
        return f"folder: {wanted.issuer.folder} is not a folder"
    return ""


async def _put_issuer(place: SeedPlace, wanted: IssuerEntry) -> list[Applied]:
    change = _registry(place).put(wanted.issuer)
    return [Applied(what="issuer", name=wanted.name, change=change)]


async def _put_platform(place: SeedPlace, wanted: SeedEntry) -> list[Applied]:
    change = _registry(place).put_platform(wanted.name)
    return [Applied(what="pipelines of", name=wanted.name, change=change)]


SECTIONS = (
    SeedSection(
        key="issuers",
        noun="issuer",
        parse=_parse_issuer,
        find_fault=_find_fault,
        put=_put_issuer,
    ),
    SeedSection(key="pipelines", noun="platform", parse=_parse_platform, put=_put_platform),
)
