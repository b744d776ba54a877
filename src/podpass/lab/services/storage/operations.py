"""Find the operation of a request, and the permissions that it needs. Pure.

An operation that is not in these tables is refused, because no permission for it is known.

Source: https://learn.microsoft.com/rest/api/storageservices/authorize-with-azure-active-directory
"""

from collections.abc import Iterator, Mapping

from podpass.lab.services.storage.errors import InvalidUri, StorageNotSupported
from podpass.lab.services.storage.model import (
    ACCOUNTS,
    RoleAction,
    RoleRequirement,
    StorageOperation,
    StorageRequest,
    StorageService,
)
from podpass.lab.services.storage.wire import fixed_parameters

_BLOBS = f"{ACCOUNTS}/blobServices"
_CONTAINERS = f"{_BLOBS}/containers"
_QUEUES = f"{ACCOUNTS}/queueServices"
_TABLES = f"{ACCOUNTS}/tableServices"

Alternatives = tuple[tuple[RoleAction, ...], ...]


def _manage(action: str) -> Alternatives:
    return ((RoleAction(action, data=False),),)


def _data(*actions: str) -> Alternatives:
    """Return one alternative that needs all of the data actions."""
    return (tuple(map(RoleAction, actions)),)


_READ_BLOB = _data(f"{_CONTAINERS}/blobs/read")
_WRITE_BLOB = _data(f"{_CONTAINERS}/blobs/write")
_DELETE_BLOB = _data(f"{_CONTAINERS}/blobs/delete")
# Azurite finds the operation by query and headers together. With the action of blobs, a mistake about the
# operation gives no more than that action.
_READ_TAGS = _data(f"{_CONTAINERS}/blobs/tags/read", f"{_CONTAINERS}/blobs/read")
_WRITE_TAGS = _data(f"{_CONTAINERS}/blobs/tags/write", f"{_CONTAINERS}/blobs/write")
_FIND_BLOBS = _data(f"{_CONTAINERS}/blobs/filter/action", f"{_CONTAINERS}/blobs/read")
_READ_CONTAINER = _manage(f"{_CONTAINERS}/read")
_WRITE_CONTAINER = _manage(f"{_CONTAINERS}/write")
_READ_QUEUE = _manage(f"{_QUEUES}/queues/read")
_WRITE_QUEUE = _manage(f"{_QUEUES}/queues/write")
_MESSAGES = f"{_QUEUES}/queues/messages"
_PEEK = _data(f"{_MESSAGES}/read")
_ADD_MESSAGE = (*_data(f"{_MESSAGES}/write"), *_data(f"{_MESSAGES}/add/action"))
_RECEIVE = (
    *_data(f"{_MESSAGES}/process/action"),
    *_data(f"{_MESSAGES}/delete", f"{_MESSAGES}/read"),
)
_DELETE_MESSAGE = (*_data(f"{_MESSAGES}/delete"), *_data(f"{_MESSAGES}/process/action"))
_ENTITIES = f"{_TABLES}/tables/entities"
_READ_ENTITY = _data(f"{_ENTITIES}/read")
_ADD_ENTITY = (*_data(f"{_ENTITIES}/write"), *_data(f"{_ENTITIES}/add/action"))
_CHANGE_ENTITY = (
    *_data(f"{_ENTITIES}/write"),
    *_data(f"{_ENTITIES}/add/action", f"{_ENTITIES}/update/action"),
)
# A batch may contain any operation on any table, and its body is not read here.
_BATCH = _data(f"{_ENTITIES}/read", f"{_ENTITIES}/write", f"{_ENTITIES}/delete")

# By method and the parameters `restype` and `comp`. GET stands for HEAD too.
_Key = tuple[str, str, str]
_Table = Mapping[_Key, tuple[str, Alternatives]]


def _service_properties(prefix: str) -> dict[_Key, tuple[str, Alternatives]]:
    return {
        ("GET", "service", "properties"): ("get service properties", _manage(f"{prefix}/read")),
        ("PUT", "service", "properties"): ("set service properties", _manage(f"{prefix}/write")),
        ("GET", "service", "stats"): ("get service stats", _manage(f"{prefix}/read")),
    }


_BLOB_ACCOUNT: _Table = {
    **_service_properties(_BLOBS),
    ("GET", "", "list"): ("list containers", _READ_CONTAINER),
    ("GET", "", "blobs"): ("find blobs by tags", _FIND_BLOBS),
}
_CONTAINER: _Table = {
    ("PUT", "container", ""): ("create container", _WRITE_CONTAINER),
    ("GET", "container", ""): ("get container", _READ_CONTAINER),
    ("GET", "container", "metadata"): ("get container metadata", _READ_CONTAINER),
    ("PUT", "container", "metadata"): ("set container metadata", _WRITE_CONTAINER),
    ("PUT", "container", "lease"): ("lease container", _WRITE_CONTAINER),
    ("DELETE", "container", ""): ("delete container", _manage(f"{_CONTAINERS}/delete")),
    ("GET", "container", "list"): ("list blobs", _READ_BLOB),
    ("GET", "container", "blobs"): ("find blobs by tags", _FIND_BLOBS),
}
_BLOB: _Table = {
    ("GET", "", ""): ("get blob", _READ_BLOB),
    **{
        ("GET", "", comp): (f"get blob {comp}", _READ_BLOB)
        for comp in ("metadata", "blocklist", "pagelist")
    },
    ("GET", "", "tags"): ("get blob tags", _READ_TAGS),
    ("PUT", "", ""): ("put blob", _WRITE_BLOB),
    **{
        ("PUT", "", comp): (f"put blob {comp}", _WRITE_BLOB)
        for comp in (
            *("metadata", "properties", "lease", "snapshot", "tier", "undelete"),
            *("block", "blocklist", "page", "appendblock", "seal", "copy"),
        )
    },
    ("PUT", "", "tags"): ("set blob tags", _WRITE_TAGS),
    ("DELETE", "", ""): ("delete blob", _DELETE_BLOB),
}
_QUEUE_ACCOUNT: _Table = {
    **_service_properties(_QUEUES),
    ("GET", "", "list"): ("list queues", _READ_QUEUE),
}
_QUEUE: _Table = {
    ("PUT", "", ""): ("create queue", _WRITE_QUEUE),
    ("DELETE", "", ""): ("delete queue", _manage(f"{_QUEUES}/queues/delete")),
    ("GET", "", "metadata"): ("get queue metadata", _READ_QUEUE),
    ("PUT", "", "metadata"): ("set queue metadata", _WRITE_QUEUE),
}
_MESSAGES_OF_QUEUE: _Table = {
    ("GET", "", ""): ("receive messages", _RECEIVE),
    ("POST", "", ""): ("send message", _ADD_MESSAGE),
    ("DELETE", "", ""): ("clear messages", _data(f"{_MESSAGES}/delete")),
}
_MESSAGE: _Table = {
    ("PUT", "", ""): ("update message", _data(f"{_MESSAGES}/write")),
    ("DELETE", "", ""): ("delete message", _DELETE_MESSAGE),
}
_TABLE_ACCOUNT: _Table = _service_properties(_TABLES)
_LIST_OF_TABLES: _Table = {
    ("GET", "", ""): ("list tables", _manage(f"{_TABLES}/tables/read")),
    ("POST", "", ""): ("create table", _manage(f"{_TABLES}/tables/write")),
}
_ONE_TABLE: _Table = {
    # Azurite answers with the entities of the table.
    ("GET", "", ""): ("get table", _READ_ENTITY),
    ("DELETE", "", ""): ("delete table", _manage(f"{_TABLES}/tables/delete")),
}
_ENTITIES_OF_TABLE: _Table = {
    ("GET", "", ""): ("query entities", _READ_ENTITY),
    ("POST", "", ""): ("insert entity", _ADD_ENTITY),
}
_ENTITY: _Table = {
    ("GET", "", ""): ("get entity", _READ_ENTITY),
    **{(method, "", ""): ("update entity", _CHANGE_ENTITY) for method in ("PUT", "PATCH", "MERGE")},
    ("DELETE", "", ""): ("delete entity", _data(f"{_ENTITIES}/delete")),
}
_BATCHES: _Table = {("POST", "", ""): ("batch of entities", _BATCH)}
_WITH_BODY = frozenset(("PUT", "POST", "PATCH", "MERGE"))
# The content of blobs is streamed. Azurite keeps the body of every other operation in memory.
_STREAMED = frozenset(f"put blob{part}" for part in ("", " block", " page", " appendblock"))
_BLOCK_LIST = "put blob blocklist"
MAX_BLOCKS = 50_000
# A block's longest ID has 88 characters, and its element 25 more.
_MAX_BLOCK_LIST_BYTES = MAX_BLOCKS * 128
# The largest batch of Azure's tables; other documents are smaller.
_MAX_DOCUMENT_BYTES = 4 * 1024 * 1024


def find_operation(request: StorageRequest) -> StorageOperation:
    """Return the operation of a request. Raises StorageNotSupported; InvalidUri."""
    method = "GET" if request.method == "HEAD" else request.method
    if request.method == "HEAD" and request.host.service is StorageService.TABLE:
        raise StorageNotSupported("Tables have no HEAD requests.")
    table = _table(request)
    found = table.get((method, *fixed_parameters(request.query)))
    if found is None:
        raise StorageNotSupported(
            f"podpass does not pass on this operation of {request.host.service} storage:"
            f" {_describe(request)}."
        )
    title, alternatives = found
    if method == "DELETE" and "deletetype" in {name.lower() for name in request.query}:
        raise StorageNotSupported("podpass does not pass on permanent deletions of blobs.")
    # Another value than `true` makes Azurite receive the message.
    if title == "receive messages" and request.query.get("peekonly") == "true":
        title, alternatives = "peek messages", _PEEK
    container = request.target.container
    requirements = [RoleRequirement(alternatives=alternatives, container=container)]
    if request.copy_source:
        if table is not _BLOB or method != "PUT":
            raise InvalidUri("Only a blob can be a copy of another blob.")
        requirements.append(RoleRequirement(alternatives=_READ_BLOB, container=request.copy_source))
        if request.copies_tags:
            requirements.append(
                RoleRequirement(alternatives=_READ_TAGS, container=request.copy_source)
            )
    requirements += [
        RoleRequirement(alternatives=each, container=container)
        for each in _list_tag_permissions(request, method, title)
    ]
    return StorageOperation(
        title=title,
        requirements=tuple(requirements),
        max_body_bytes=_limit_body(title) if method in _WITH_BODY else 0,
        is_batch=table is _BATCHES,
        is_block_list=title == _BLOCK_LIST,
    )


def _list_tag_permissions(
    request: StorageRequest, method: str, title: str
) -> Iterator[Alternatives]:
    """Return the permissions for the tags that a request about something else writes or reads."""
    if (request.sets_tags or request.copies_tags) and method == "PUT":
        yield _WRITE_TAGS
    included = [value for name, value in request.query.items() if name.lower() == "include"]
    if title == "list blobs" and any("tags" in value.lower().split(",") for value in included):
        yield _READ_TAGS


def _limit_body(title: str) -> int | None:
    if title in _STREAMED:
        return None
    return _MAX_BLOCK_LIST_BYTES if title == _BLOCK_LIST else _MAX_DOCUMENT_BYTES


def _table(request: StorageRequest) -> _Table:
    container, item = request.target.container, request.target.item
    match request.host.service:
        case StorageService.BLOB:
            return _BLOB if item else _CONTAINER if container else _BLOB_ACCOUNT
        case StorageService.QUEUE:
            return _queue_table(container, item)
    if item == "Tables":
        return _ONE_TABLE if container else _LIST_OF_TABLES
    if item == "$batch":
        return _BATCHES
    if container:
        return _ENTITY if item else _ENTITIES_OF_TABLE
    return _TABLE_ACCOUNT


def _queue_table(container: str, item: str) -> _Table:
    if not container:
        return _QUEUE_ACCOUNT
    if not item:
        return _QUEUE
    folder, _, message = item.partition("/")
    if folder != "messages" or "/" in message:
        return {}
    return _MESSAGE if message else _MESSAGES_OF_QUEUE


def _describe(request: StorageRequest) -> str:
    restype, comp = fixed_parameters(request.query)
    parts = [request.method[:10]]
    parts += [f"restype={restype[:32]!r}"] if restype else []
    parts += [f"comp={comp[:32]!r}"] if comp else []
    return " ".join(parts)
