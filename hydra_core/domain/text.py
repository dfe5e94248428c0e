"""Untrusted text made harmless: what a feed or a model wrote, as one plain line."""

from __future__ import annotations

import html
import re
from typing import Final

LONGEST: Final = 200
_TAG = re.compile(r"<[^>]*>")
_SCRIPT = re.compile(r"<(script|style)\b.*?(</\1\s*>|$)", re.IGNORECASE | re.DOTALL)


def cleaned(line: str, longest: int = LONGEST) -> str:
    """Untrusted text without control characters, markup and delimiters, at most ``longest`` characters."""
    plain = "".join(ch if ch.isprintable() and ch not in "<>{}[]`\\|" else " " for ch in line)
    return " ".join(plain.split())[:longest]


def neutralised(text: str, longest: int = LONGEST) -> str:
    """A title out of a feed as plain text: scripts, tags and entities gone, then :func:`cleaned`.

    Entities are undone twice, because a script that was escaped twice is a script again after the first time; whatever
    still looks like markup then loses its delimiters.
    """
    for _ in range(2):
        text = _TAG.sub(" ", _SCRIPT.sub(" ", html.unescape(text)))
    return cleaned(text, longest)
