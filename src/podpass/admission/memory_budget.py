"""How many bytes of requests' bodies are held at a time, by all requests together.

Whoever reaches the port may open thousands of connections and send three megabytes on each, as slowly as is
borne: the process would be ended for its memory, and every labelled pod refused until it is back. Bodies of
everyday pods need none of this room, so they are read while strangers fill it.
"""

from podpass.errors import Error

FREE_BYTES = 16 * 1024
MOST_BYTES = 16 * 1024 * 1024


class TooMuchAtOnce(Error):
    """So many large reviews are under way that there is no room for another."""

    code = "too_much_at_once"
    status = 503
    hint = "create the pod again in a moment; if that does not help, see who sends so much to the webhook"


class Room:
    """The bytes that are left."""

    def __init__(self, most: int = MOST_BYTES) -> None:
        self.left = most


class Hold:
    """What one request has of the room; release it when the request is answered."""

    __slots__ = ("_room", "_taken")

    def __init__(self, room: Room) -> None:
        self._room, self._taken = room, 0

    def grow(self, size: int) -> None:
        """Take what a body of this size needs by now.

        Errors:  TooMuchAtOnce.
        """
        more = size - FREE_BYTES - self._taken
        if more <= 0:
            return
        if more > self._room.left:
            raise TooMuchAtOnce("there is no room for so large a pod at the moment")
        self._room.left -= more
        self._taken += more

    def release(self) -> None:
        """Give everything back."""
        self._room.left += self._taken
        self._taken = 0
