"""The results of applying a seed file, one for each object. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from podpass.directory.model import FederatedCredential, Identity, WriteResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """The result for one object of the file."""

    what: str
    name: str
    change: WriteResult

    def __str__(self) -> str:
        return f"{self.what} {self.name} {self.change.value}"


def identity_results(new: Identity, old: Identity | None) -> Iterable[Applied]:
    """Return the results for an identity and its federated credentials."""
    before = {credential.name: credential for credential in old.credentials} if old else {}
    change = WriteResult.UNCHANGED if old else WriteResult.CREATED
    if old is not None and replace(new, credentials=old.credentials) != old:
        change = WriteResult.UPDATED
    yield Applied(what="identity", name=new.name, change=change)
    for credential in new.credentials:
        change = _change(before.get(credential.name), credential)
        name = f"{new.name}/{credential.name}"
        yield Applied(what="federated credential", name=name, change=change)


def _change(old: FederatedCredential | None, new: FederatedCredential) -> WriteResult:
    if old is None:
        return WriteResult.CREATED
    same = old == replace(new, id=old.id, created=old.created)
    return WriteResult.UNCHANGED if same else WriteResult.UPDATED
