"""Foreign text (encodings, labels, file names, messages of libraries) made fit for logs and terminals."""

from __future__ import annotations

LIMIT = 200
"""Longest foreign text in a message, in characters."""


def printable(text: object, limit: int = LIMIT) -> str:
    """Return `text` in one line of at most about `limit` characters without terminal control sequences.

    Characters that do not print (escape, line ends, changes of writing direction, lone surrogates) are shown as
    Python's escapes. What is left out of a long text is counted.
    """
    try:
        full = str(text)
    except Exception as error:  # such as an integer of more digits than Python converts
        full = f"<{type(text).__name__} that cannot be shown: {type(error).__name__}>"
    head = full[:limit]
    shown = head if head.isprintable() else "".join(c if c.isprintable() else _escape(c) for c in head)
    left_out = len(full) - len(head)
    return f"{shown}... ({left_out} more characters)" if left_out else shown


def quoted(text: str, limit: int = 80) -> str:
    """Return `text` in quotes, so that one sees where it ends, and otherwise as `printable`."""
    return printable(repr(text), limit)


def encodable(text: str) -> str:
    """Return `text` with U+FFFD for each lone surrogate, which JSON can hold and neither UTF-8 nor ROS can."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
