"""What all parts of one local instance share."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from podpass.cloud.context import CloudContext

if TYPE_CHECKING:
    from podpass.settings import LocalSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceContext(CloudContext):
    """The context of a local instance, which also has a cluster half."""

    settings: "LocalSettings"
    environ: Mapping[str, str]
