"""The resource group a path names, looked up."""

from podpass.directory.resource_manager import refusals
from podpass.directory.resource_manager.model import Call


async def group(call: Call) -> str:
    """Give the path's resource group as it is named, or refuse because there is none.

    Errors:  ManagerRefusal, ResourceGroupNotFound.
    """
    found = await call.directory.groups.get(call.subscription, call.group)
    if found is None:
        raise refusals.group_not_found(call.group)
    return found.name
