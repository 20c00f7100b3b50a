"""Text that others wrote, made fit for a log: without secrets, on one line, and not too long.

The text of a driver's error may hold the address of the database with its password, a row with its
key material, or whatever a caller sent. What looks like a secret is replaced by `[redacted]`; when
in doubt, more is replaced and not less. What does not look like one cannot be found: a password in
plain prose stays, and `docs/telemetry.md` lists what does look like one.

The time is linear in what is read: every repetition without a bound takes whatever it can and gives
nothing back, and what follows it cannot fail.
"""

from __future__ import annotations

import re

HIDDEN = "[redacted]"
"""What stands in place of a secret."""

LENGTH_MAX = 1_000
"""The most characters of one text, as long as nobody asks for another number."""

_READ_MAX = 8_000
"""How much of a text is looked at: it bounds the time, whatever is in the text."""

_UNSIGNED = "pass(?:word|wd|phrase|code|key)|pwd|secret"
"""They name a secret even if nothing but a space stands before its value, when that is quoted."""

_NAMES = (
    f"{_UNSIGNED}|token|credential|signature"
    "|(?:api|access|private|signing|secret|encryption)[_ -]?key"
)
"""They name a secret wherever they stand in a word, as in `PGPASSWORD_FILE`."""

_WORDS = r"(?:(?<![^\W_])(?:pass|auth)|(?-i:(?<=[a-z])(?:Pass|Auth)))(?![^\W_])"
"""They name one only as a word or a part of one, as in `DB_PASS` or `dbPass`, not in `bypass`."""

_NAMED = rf"(?:(?:{_NAMES})[\w-]{{0,30}}|{_WORDS})"

_QUOTE = r"\\{0,7}[\"']"
"""Around a name. Within JSON that is a string of other JSON, quotes have backslashes."""

_QUOTED = (
    # Doubled quotes as in SQL and backslashes as in JSON belong to the value; so does a word that
    # begins right behind it, for then a quote within was not written as either would have it.
    r"(?:"
    r"\"(?:[^\"\\]|\\.|\"\")*+(?:\"|\\?\Z)"
    r"|'(?:[^'\\]|\\.|'')*+(?:'|\\?\Z)"
    # Quotes with one backslash end at the next that has just one, and not three.
    r"|\\[\"'](?:[^\\]|\\[^\"'\\]|\\\\(?:\\.|[^\\]))*+(?:\\[\"']|\\{0,3}\Z)"
    # Those with more are written by nobody that is known; so they hide all that follows.
    r"|\\{2,7}[\"'].*+"
    r")(?:\w\S*+)?"
)

_VALUE = rf"(?:[a-zA-Z&]{{0,2}}{_QUOTED}|[^\s\"']\S*+)"
"""Quoted, after what a language may put before quotes, or up to the next space."""

_IS = r"\s{0,9}(?:[:=]{1,2}>?|%3[ADad])\s{0,9}(?:[|>][+-]?\s{1,9})?"
"""What stands between a name and its value; the last part begins a block of YAML."""

_PATTERNS = tuple(
    (re.compile(pattern, re.DOTALL), replacement)
    for pattern, replacement in (
        # A key in PEM armour, or in that of SSH, also when it was cut short.
        (
            (
                r"-{4,5} ?BEGIN [A-Z0-9 ]{1,40}-{4,5}"
                r"(?:[^-]|-(?!-{3,4} ?END ))*+(?:-{4,5} ?END [A-Z0-9 ]{1,40}-{0,5})?"
            ),
            HIDDEN,
        ),
        # The secret members of a JWK.
        (
            (
                rf"({_QUOTE}(?:d|p|q|dp|dq|qi|k|oth){_QUOTE}\s{{0,9}}[:,]\s{{0,9}})"
                rf"[a-zA-Z&]{{0,2}}{_QUOTED}"
            ),
            rf"\1{HIDDEN}",
        ),
        # The headers that carry a secret, to the end of their line.
        (
            (
                rf"(?i)(?<![a-z])(authorization|cookie)((?:{_QUOTE})?\s{{0,9}}(?:[:=]|%3A)|{_QUOTE},)"
                r"[^\r\n]*+"
            ),
            rf"\1\2 {HIDDEN}",
        ),
        (r"(?i)(?<![a-z])(bearer|basic)(?:\s{1,9}|%20|\+)[^\s,;\"']++", rf"\1 {HIDDEN}"),
        # name=value and "name": "value".
        (rf"(?i)({_NAMED}(?:{_QUOTE})?{_IS}){_VALUE}", rf"\1{HIDDEN}"),
        # ('name', 'value'), as in a list of pairs or of arguments.
        (
            rf"(?i)({_NAMED}{_QUOTE}\s{{0,9}},\s{{0,9}})[a-z&]{{0,2}}{_QUOTED}",
            rf"\1{HIDDEN}",
        ),
        # --name value, and PASSWORD 'value' as in SQL.
        (rf"(?i)(--[\w-]{{0,30}}?{_NAMED}\s{{1,9}}){_VALUE}", rf"\1{HIDDEN}"),
        (
            rf"(?i)((?:{_UNSIGNED}|identified\s{{1,9}}by)\s{{1,9}})[a-z&]{{0,2}}{_QUOTED}",
            rf"\1{HIDDEN}",
        ),
        # Bytes: as Python and as PostgreSQL show them, DER in base64, and anything else so long.
        (rf"(?<![^\W_])b{_QUOTED}", f"b'{HIDDEN}'"),
        (r"\\x[0-9a-fA-F]{16,}+|(?:\\{1,4}x[0-9a-fA-F]{2}[^\s\\]{0,16}){4,}+", HIDDEN),
        (r"\bM(?:II|C[4o]|F[k0]|H[YcQ]|IG)[\w+/-]{36,}+={0,2}", HIDDEN),
        (r"(?<![\w+-])[\w+-]{100,}+={0,2}", HIDDEN),
        # Base64 that is long enough to be a line of it, and the lines that follow.
        (
            (
                r"(?<![\w+/])(?=[a-z0-9+/]{0,99}[A-Z])(?=[A-Z0-9+/]{0,99}[a-z])(?=[A-Za-z+/]{0,99}\d)"
                r"[A-Za-z0-9+/]{60,}+={0,2}"
                r"(?:(?:\s{0,2}(?<=\n)|\\{1,2}n)[A-Za-z0-9+/]{1,76}={0,2}(?![^\s\\\"']))*+"
            ),
            HIDDEN,
        ),
    )
)

_RUN = re.compile(r"[\w.%-]{12,}+")
"""Whatever a JSON web token may be part of, at its full length."""

_USER_IN_ADDRESS = re.compile(
    r"://[^\s/:@\[]{1,100}:(?!\d{1,5}(?![\w@]))(?:[^@]{0,200}@(?:[^\s@]{0,200}@)*+|\S*+)"
)
"""The user and the password of an address that has a space where it should be encoded."""


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
    text = _hide(text)
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


def _hide(text: str) -> str:
    # Addresses first: hiding another secret might take the "@" by which one is known.
    if "://" in text:
        text = "".join(map(_without_user, re.split(r"(\s+)", text)))
        text = _USER_IN_ADDRESS.sub(_address_without_user, text)
    if "@" in text:
        text = "".join(map(_without_password, re.split(r"([\s\"']+)", text)))
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return _RUN.sub(_without_token, text)


def _without_user(word: str) -> str:
    # From the first "://" to the last "@": a password may hold a slash or an "@" of its own.
    start = word.find("://")
    end = word.rfind("@")
    if start < 0 or end < start:
        return word
    return f"{word[: start + 3]}{HIDDEN}{word[end:]}"


def _address_without_user(match: re.Match[str]) -> str:
    return f"://{HIDDEN}{'@' if match[0].endswith('@') else ''}"


def _without_password(word: str) -> str:
    # user:password@host, from the first ":" to the last "@".
    start = word.find(":")
    end = word.rfind("@")
    if not 0 < start < end - 1 or end == len(word) - 1 or word.startswith("://", start):
        return word
    return f"{word[: start + 1]}{HIDDEN}{word[end:]}"


def _without_token(match: re.Match[str]) -> str:
    """Leave a JSON web token out, signed or encrypted, whatever it is part of."""
    run = match[0]
    start = run.find("eyJ")
    if start < 0 or not run[start:].partition(".")[2].strip("."):
        return run
    return run[:start] + HIDDEN


def _without_last_word(text: str) -> str:
    words = text.rsplit(maxsplit=1)
    return text if text[-1].isspace() or not words else text[: -len(words[-1])].rstrip()
