"""Read the server name from the start of a TLS connection, without terminating TLS. Pure.

Source:  RFC 8446, sections 4.1.2 and 5.1; RFC 6066, section 3.
"""

from podpass.errors import Error

_HANDSHAKE, _CLIENT_HELLO = 22, 1
_SERVER_NAME, _HOST_NAME = 0, 0
_MAX_RECORD = 2**14
HEADER_BYTES = 5
# Fatal alerts, in a plain record of TLS 1.2, which clients of every version read.
UNRECOGNIZED_NAME = b"\x15\x03\x03\x00\x02\x02\x70"
INTERNAL_ERROR = b"\x15\x03\x03\x00\x02\x02\x50"


class BadHello(Error):
    """The data is not a ClientHello with a server name."""

    code = "bad_hello"


class HelloReader:
    """Collects a ClientHello record by record: bytes that arrive one by one are not parsed again each time.

    `data` are the records as received; the message may be split into several.
    """

    def __init__(self) -> None:
        self.data = bytearray()
        self._message = bytearray()

    @property
    def is_complete(self) -> bool:
        """Return whether the whole message has been added."""
        message = self._message
        return len(message) >= 4 and len(message) >= 4 + int.from_bytes(message[1:4])

    def add(self, header: bytes, content: bytes) -> None:
        """Add a record; `record_length` must have accepted its header."""
        self.data += header + content
        self._message += content

    def server_name(self) -> str:
        """Return the server name of the complete message. Raises BadHello."""
        message = bytes(self._message)
        if message[0] != _CLIENT_HELLO:
            raise BadHello("the handshake does not begin with a ClientHello")
        try:
            return _read_extensions(
                _skip_to_extensions(message[4 : 4 + int.from_bytes(message[1:4])])
            )
        except IndexError as exc:
            raise BadHello("the ClientHello is cut off") from exc


def record_length(header: bytes) -> int:
    """Return the length of the content of a record, from its header of `HEADER_BYTES`. Raises BadHello."""
    if header[0] != _HANDSHAKE:
        raise BadHello("the data is not a TLS handshake")
    length = int.from_bytes(header[3:])
    if not 0 < length <= _MAX_RECORD:
        raise BadHello("the record has an invalid length")
    return length


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
