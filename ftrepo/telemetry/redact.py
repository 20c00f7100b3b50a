"""Text that others wrote, made fit for a log: without secrets, on one line, and not too long.

The text of a driver's error may hold the address of the database with its password, a row with its
key material, or whatever a caller sent. What looks like a secret is replaced by `[redacted]`; when
in doubt, more is replaced and not less. What does not look like one cannot be found: a password in
plain prose stays.
"""

from __future__ import annotations

import re

HIDDEN = "[redacted]"
"""What stands in place of a secret."""

LENGTH_MAX = 1_000
"""The most characters of one text, as long as nobody asks for another number."""

_READ_MAX = 8_000
"""How much of a text is looked at: it bounds the time, whatever is in the text."""

_NAMES = (
    "pass(?:word|wd|phrase|code)|pwd|secret|token|credential|signature"
    "|(?:api|access|private|signing|secret|encryption)[_ -]?key"
)

_VALUE = r"(?:\"(?:[^\"\\]|\\.)*(?:\"|\\?\Z)|'(?:[^'\\]|\\.)*(?:'|\\?\Z)|[^\s\"']\S*)"

_PATTERNS = tuple(
    (re.compile(pattern, re.DOTALL), replacement)
    for pattern, replacement in (
        # A key in PEM armour, also when it was cut short.
        (r"-----BEGIN [A-Z0-9 ]{1,40}-----.*?(?:-----END [A-Z0-9 ]{1,40}-----|\Z)", HIDDEN),
        # The secret members of a JWK.
        (r'(["\'](?:d|p|q|dp|dq|qi|k|oth)["\']\s{0,9}:\s{0,9})["\'][^"\']*["\']?', rf"\1{HIDDEN}"),
        # The headers that carry a secret, to the end of their line.
        (r"(?i)\b(authorization|cookie)([\"']?\s{0,9}[:=])[^\r\n]*", rf"\1\2 {HIDDEN}"),
        (r"(?i)\b(bearer|basic)\s{1,9}[^\s,;\"']+", rf"\1 {HIDDEN}"),
        # name=value and "name": "value", quoted or up to the next space.
        (
            rf"(?i)((?:{_NAMES})[\w-]{{0,30}}[\"']?\s{{0,9}}[:=]\s{{0,9}}){_VALUE}",
            rf"\1{HIDDEN}",
        ),
        # A JSON web token, signed or encrypted.
        (r"\beyJ[\w-]{4,}(?:\.[\w-]*){1,4}", HIDDEN),
        # Bytes: as PostgreSQL and as Python show them, DER in base64, and anything else so long.
        (r"\\x[0-9a-fA-F]{16,}|(?:\\x[0-9a-fA-F]{2}){8,}", HIDDEN),
        (r"\bM(?:II|C[4o]|F[k0]|H[YcQ]|IG)[\w+/-]{36,}={0,2}", HIDDEN),
        (r"[\w+-]{100,}={0,2}", HIDDEN),
    )
)


def redact(text: str, *, length_max: int = LENGTH_MAX) -> str:
    """Return a text as one printable line without what looks like a secret.

    Args:
        text: any text at all, lone surrogates included.
        length_max: the most characters that are returned, before the note that says how many were
            left out; at least 1.
    """
    left_out = 0
    if len(text) > _READ_MAX:
        # A secret that the cut goes through would no longer look like one: leave its word out.
        kept = _without_last_word(text[:_READ_MAX])
        left_out = len(text) - len(kept)
        text = kept
    # Addresses first: hiding another secret might take the "@" by which one is known.
    if "://" in text:
        text = "".join(map(_without_user, re.split(r"(\s+)", text)))
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    text = one_line(text)
    if len(text) > length_max:
        left_out += len(text) - length_max
        text = text[:length_max]
    return f"{text}… (+{left_out} characters)" if left_out else text


def describe(error: BaseException, *, length_max: int = LENGTH_MAX) -> str:
    """Return what an error says, as `redact` does. Raises nothing, whatever the error does."""
    try:
        return redact(str(error), length_max=length_max)
    except Exception:
        return "(the error cannot say what it is)"


def one_line(text: str) -> str:
    """Return a text with whatever is not printable as its escape, line breaks included.

    So nobody who can get a text into the log can begin a line of it, colour a terminal, or turn
    the direction of writing.
    """
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode("ascii")
        for each in text
    )


def _without_user(word: str) -> str:
    # From the first "://" to the last "@": a password may hold a slash or an "@" of its own.
    start = word.find("://")
    end = word.rfind("@")
    if start < 0 or end < start:
        return word
    return f"{word[: start + 3]}{HIDDEN}{word[end:]}"


def _without_last_word(text: str) -> str:
    words = text.rsplit(maxsplit=1)
    return text if text[-1].isspace() or not words else text[: -len(words[-1])].rstrip()
