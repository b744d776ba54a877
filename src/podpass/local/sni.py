"""Read the server name from the start of a TLS connection, without terminating TLS. Pure.

Source:  RFC 8446, sections 4.1.2 and 5.1; RFC 6066, section 3.
"""

from podpass.errors import Error

_HANDSHAKE, _CLIENT_HELLO = 22, 1
_SERVER_NAME, _HOST_NAME = 0, 0
_MAX_RECORD = 2**14
# A fatal alert, in a plain record of TLS 1.2, which clients of every version read.
UNRECOGNIZED_NAME = b"\x15\x03\x03\x00\x02\x02\x70"


class IncompleteHello(Error):
    """The ClientHello has not arrived completely."""

    code = "incomplete_hello"


class BadHello(Error):
    """The data is not a ClientHello with a server name."""

    code = "bad_hello"


def read_server_name(data: bytes) -> str:
    """Return the server name of a ClientHello.

    Errors:  IncompleteHello if more data is needed; BadHello.
    """
    try:
        return _read_extensions(_skip_to_extensions(_join_records(data)))
    except IndexError as exc:
        raise BadHello("the ClientHello is cut off") from exc


def _join_records(data: bytes) -> bytes:
    """Return the complete ClientHello message, which may be split into several records."""
    message = b""
    while len(message) < 4 or len(message) < 4 + int.from_bytes(message[1:4]):
        if data and data[0] != _HANDSHAKE:
            raise BadHello("the data is not a TLS handshake")
        if len(data) < 5:
            raise IncompleteHello("the record header is incomplete")
        length = int.from_bytes(data[3:5])
        if not 0 < length <= _MAX_RECORD:
            raise BadHello("the record has an invalid length")
        if len(data) < 5 + length:
            raise IncompleteHello("the record is incomplete")
        message += data[5 : 5 + length]
        data = data[5 + length :]
    if message[0] != _CLIENT_HELLO:
        raise BadHello("the handshake does not begin with a ClientHello")
    return message[4 : 4 + int.from_bytes(message[1:4])]


class _VectorReader:
    """Reads vectors with a length prefix; IndexError at the end of the data."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    @property
    def is_empty(self) -> bool:
        return self._at >= len(self._data)

    def take(self, count: int) -> bytes:
        if self._at + count > len(self._data):
            raise IndexError
        self._at += count
        return self._data[self._at - count : self._at]

    def vector(self, prefix: int) -> bytes:
        return self.take(int.from_bytes(self.take(prefix)))


def _skip_to_extensions(hello: bytes) -> bytes:
    reader = _VectorReader(hello)
    reader.take(2 + 32)  # version and random
    reader.vector(1)  # session id
    reader.vector(2)  # cipher suites
    reader.vector(1)  # compression methods
    return b"" if reader.is_empty else reader.vector(2)


def _read_extensions(data: bytes) -> str:
    reader = _VectorReader(data)
    while not reader.is_empty:
        kind, content = int.from_bytes(reader.take(2)), reader.vector(2)
        if kind == _SERVER_NAME:
            names = _VectorReader(_VectorReader(content).vector(2))
            if names.take(1)[0] == _HOST_NAME:
                return names.vector(2).decode("ascii", "replace")
    raise BadHello("the ClientHello has no server name")
