"""What a soak looks for."""


class Wrong(Exception):
    """Something that must not happen has happened; the message says what."""
