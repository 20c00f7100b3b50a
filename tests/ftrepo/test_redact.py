from __future__ import annotations

import base64
import hashlib
import logging
import re
import re._parser as sre
import string
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import ftrepo.redact as redact_module
from ftrepo.redact import HIDDEN, LENGTH_MAX, describe, one_line, redact

SECRETS = st.text(string.ascii_letters + string.digits + "!#$%&()*+-./:;<=>?@[]^_{|}~", min_size=1)
"""What a password may be made of."""

WORDS = st.text(string.ascii_lowercase + " \n", max_size=40)

PLACES = [
    "postgresql://ftrepo:{}@db.example:5432/ftrepo",
    "postgresql://{}@db.example/ftrepo?sslmode=require",
    "host=db.example password={} user=ftrepo",
    "PGPASSWORD={}",
    'password = "{}"',
    '{{"client_secret": "{}", "host": "db.example"}}',
    "api_key: {}",
    "access-token={}",
    "Authorization: Negotiate {}",
    "authorization: Bearer {}",
    "sent Bearer {}",
    "-----BEGIN PRIVATE KEY-----\nMC4CAQ{}\n-----END PRIVATE KEY-----",
    "-----BEGIN EC PRIVATE KEY-----\n{}",
    '"d": "{}"',
    "DB_PASS={}",
    "dbPass: {}",
    "pass={}",
    "auth={}",
    "passkey={}",
    "ALTER ROLE ftrepo PASSWORD '{}'",
    "psql --password {}",
    "['--db-password', '{}']",
    "[('password', '{}'), ('host', 'db.example')]",
    "password='it''s-{}'",
    "password='it's-{}'",
    'password => "{}"',
    '{{\\"password\\": \\"{}\\", \\"host\\": 1}}',
    '{{\\"d\\": \\"{}\\"}}',
    "secret: |\n  {}",
    "password%3D{}",
    "sent Bearer%20{}",
    "postgresql://ftrepo:one two {}@db.example/ftrepo",
    "alice:{}@db",
    "invalid input: b'{}'",
    "---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----\n{}",
]
"""With `{}` for the secret."""

BASE64URL = string.ascii_letters + string.digits + "-_"


@pytest.mark.parametrize("place", PLACES)
@given(start=SECRETS, end=SECRETS, before=WORDS, after=WORDS)
@example(start="p@ss/w:rd", end="[", before="cannot connect to ", after="")
@example(start="secret=", end="=secret=", before="", after=" ")
def test_a_secret_in_a_usual_place_is_hidden(
    place: str, start: str, end: str, before: str, after: str
) -> None:
    """Whatever the secret and whatever stands around it, nothing from its middle remains."""
    secret = f"{start}Zq7{end}"
    if "sent Bearer" in place:
        secret = secret.replace(",", "x").replace(";", "x")
    text = redact(f"{before} {place.format(secret)} {after}")
    assert "Zq7" not in text
    assert HIDDEN in text


@pytest.mark.parametrize("place", PLACES)
@given(secret=SECRETS, shift=st.integers(0, 200))
def test_a_cut_through_a_secret_shows_no_part_of_it(place: str, secret: str, shift: int) -> None:
    """A text too long to be read whole is cut before the word in which its reading ends."""
    secret = "Zq7" + secret.replace(";", "x").replace(",", "x") + "Zq7"
    lead = "-----BEGIN CERTIFICATE-----" + "M" * 7700 + "-----END CERTIFICATE-----"
    text = redact(f"{lead} {'a ' * shift}{place.format(secret)} " + "tail " * 400)
    assert "Zq7" not in text


@pytest.mark.parametrize(
    "text",
    [
        "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl",
        "\\x302a300506032b65700321009d61b19deffd5a60ba84",
        repr(bytes(range(128, 160))),
        "MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=",
        "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEEVs/o5+uQbTjL3chynL4wXgUg2R9q9UU8I5mEovUf86QZ7k",
        "ab" * 60,
    ],
)
def test_tokens_and_key_material_are_hidden(text: str) -> None:
    """A JWT, bytes as PostgreSQL or Python show them, DER in base64, and long runs of anything."""
    shown = redact(f"bad value {text} here")
    assert shown.startswith("bad value ")
    assert HIDDEN in shown
    assert not any(text[start : start + 12] in shown for start in range(0, len(text) - 12, 4))


@given(st.binary(min_size=1, max_size=300), st.sampled_from([bytes, bytearray]))
@example(b"hunter2", bytes)
@example(b'it\'s "hunter2" \\', bytes)
def test_bytes_as_python_shows_them_are_hidden(value: bytes, kind: type[bytes | bytearray]) -> None:
    """A driver quotes a wrong argument as it is: nothing of it remains, nested in a text or not."""
    shown = "b'[redacted]'" if kind is bytes else "bytearray(b'[redacted]')"
    plain = f"invalid input for query argument $2: {kind(value)!r} (expected str, got bytes)"
    hidden = plain.replace(repr(kind(value)), shown)
    assert redact(plain) == hidden
    text = redact(repr(OSError(plain)))
    assert text.startswith("OSError(")
    assert "b'[redacted]'" in text
    assert not re.search(r"\\x[0-9a-f]{2}", text)


@given(st.binary(min_size=60, max_size=1_500), st.sampled_from(["\n", "\r\n", "\\n"]))
def test_lines_of_base64_are_hidden_without_armour(value: bytes, line_end: str) -> None:
    """The body of a key, 64 characters a line, its last and shorter line included."""
    body = base64.b64encode(hashlib.sha512(value).digest() + value).decode()
    lines = [body[start : start + 64] for start in range(0, len(body), 64)]
    shown = redact(f"bad key near: {line_end.join(lines)} (line 1)")
    assert shown == f"bad key near: {HIDDEN} (line 1)"


@given(
    before=st.sampled_from(["", "id_", "x", "Authorization%3A%20Bearer%20", "20", "a.b-"]),
    parts=st.lists(st.text(BASE64URL, min_size=8, max_size=60), min_size=2, max_size=4),
)
def test_a_token_is_hidden_whatever_it_is_part_of(before: str, parts: list[str]) -> None:
    """A JWT after a letter or percent-encoded is one too."""
    shown = redact(f"bad value {before}eyJ{'.'.join(parts)} here")
    assert shown.startswith("bad value ")
    assert not any(part in shown for part in parts)


@given(st.binary(min_size=32, max_size=32), st.sampled_from(["'", '"', ""]))
@example(bytes.fromhex("7b2249" * 10 + "7b22"), "'")
def test_the_thumbprint_of_a_key_stays_readable(digest: bytes, quote: str) -> None:
    """Ids of 43 characters of base64url, whatever is in them, and however they are quoted."""
    key_id = base64.urlsafe_b64encode(digest).decode().rstrip("=")
    text = f"key {quote}{key_id}{quote} is not at hand; id={key_id}, and nobody has {key_id}."
    assert redact(text) == text


@pytest.mark.parametrize(
    "text",
    [
        'password authentication failed for user "ftrepo"',
        "[Errno 111] Connect call failed ('127.0.0.1', 5432)",
        "key 'x9JOy0Fzr0rDp0L3dSW5rMNwOlbGf0gWkJ5OVfQ0mGc' is not at hand",
        "cannot open /var/lib/tokens/pending-writes-of-instance-3/journal.sqlite: disk I/O error",
        "GET https://issuer.example:8443/jwks.json?page=2 answered 503",
        "no answer within 0.5 s",
        "bypass=1 compass: north, passed=3 author=me",
        'relation "public_keys" does not exist at character 15',
        "Unexpected token '<' at 1:1",
        "mail operator@db.example or see https://[::1]:8443/help",
        "/srv/ftrepo/venv/lib/python3.11/site-packages/asyncpg/protocol/protocol.py:42 in query",
    ],
)
def test_an_ordinary_error_stays_as_it_is(text: str) -> None:
    """What an operator needs is not hidden: key ids, paths, addresses, names of settings."""
    assert redact(text) == text


def test_the_address_of_the_server_stays_readable() -> None:
    """Of a connection's address only user and password are hidden."""
    shown = redact("postgresql://ftrepo:hunter2@db.example:5432/ftrepo refused")
    assert shown == "postgresql://[redacted]@db.example:5432/ftrepo refused"


@given(st.text(st.characters(categories=None)), st.integers(1, 300))
@example("\n2026-01-01 CRITICAL all is lost\x1b[31m", 300)
@example("\ud800\u202e\u2028", 300)
def test_any_text_becomes_one_printable_line(text: str, length_max: int) -> None:
    """Nobody can begin a line of the log, colour the terminal, or break its encoding."""
    shown = redact(text, length_max=length_max)
    assert shown.isprintable()
    assert len(shown.splitlines()) <= 1
    assert shown.encode().decode() == shown
    assert len(shown) <= length_max + 40


def test_a_long_text_says_how_much_is_left_out() -> None:
    """Cut texts end in a note, and the numbers add up."""
    assert redact("word " * 3, length_max=4) == "word… (+11 characters)"
    shown = redact("word " * 100_000)
    assert shown.startswith("word word")
    assert shown.endswith(f"… (+{500_000 - LENGTH_MAX} characters)")


HOSTILE = [
    *("://", "a", '"d":', "password", "-----BEGIN A-----", "\\", "eyJ.", "eyJa", "password='\\"),
    *(
        "://a:b c",
        "a:@",
        "@",
        "b'",
        "\\\\'",
        "--",
        "--pass ",
        "\\x00",
        "Aa1/",
        "Aa1/\n",
        "MII",
        "%3D",
    ),
    *("pass=", "''", '\\"', 'password=\\"\\\\', "-----BEGIN A----------END ", "('password','x')"),
]


@pytest.mark.parametrize("part", HOSTILE)
def test_no_text_takes_long(part: str) -> None:
    """What is looked at is bounded, so a hostile text costs about as much as any long one."""
    from time import process_time

    def cost_s(text: str) -> float:
        start = process_time()
        redact(text)
        return process_time() - start

    hostile = part * (200_000 // len(part))
    plain = "word " * 40_000
    assert min(cost_s(hostile) for _ in range(3)) < 100 * min(cost_s(plain) for _ in range(3))


@pytest.mark.parametrize("part", HOSTILE)
def test_no_text_is_looked_at_beyond_a_bound(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 100 kB all patterns together are shown a bounded number of characters."""
    shown = 0

    class Counting:
        def __init__(self, pattern: re.Pattern[str]) -> None:
            self._pattern = pattern

        def sub(self, replacement: str, text: str) -> str:
            nonlocal shown
            shown += len(text)
            return self._pattern.sub(replacement, text)

    patterns = [(Counting(pattern), hidden) for pattern, hidden in redact_module._PATTERNS]
    monkeypatch.setattr(redact_module, "_PATTERNS", patterns)
    redact(part * (100_000 // len(part)))
    # What stands in place of a short secret may be longer than it.
    assert shown <= len(patterns) * 8_000 * 4


def test_no_pattern_can_go_back() -> None:
    """A repetition without a bound gives nothing back, and none is within another of its kind."""

    def unbounded(parsed: Any) -> Iterator[tuple[Any, Any]]:
        for operation, argument in parsed:
            if operation in (sre.MAX_REPEAT, sre.MIN_REPEAT, sre.POSSESSIVE_REPEAT):
                if argument[1] is sre.MAXREPEAT:
                    yield operation, argument[2]
                yield from unbounded(argument[2])
            elif operation is sre.BRANCH:
                for branch in argument[1]:
                    yield from unbounded(branch)
            elif operation in (sre.ASSERT, sre.ASSERT_NOT, sre.SUBPATTERN):
                yield from unbounded(argument[-1])
            elif operation is sre.ATOMIC_GROUP:
                yield from unbounded(argument)

    patterns = [pattern for pattern, _ in redact_module._PATTERNS]
    patterns += [redact_module._RUN, redact_module._USER_IN_ADDRESS]
    found = [each for p in patterns for each in unbounded(sre.parse(p.pattern, p.flags))]
    assert len(found) > len(patterns)
    for operation, inner in found:
        assert operation is sre.POSSESSIVE_REPEAT
        assert not list(unbounded(inner))


def test_an_error_that_cannot_be_shown_is_no_error() -> None:
    """A driver's error with a broken `__str__` costs its text, not the log line."""

    class BrokenError(Exception):
        def __str__(self) -> str:
            raise logging.Handler

    assert describe(BrokenError()) == "(the error cannot say what it is)"
    assert describe(OSError("dsn postgres://a:b@c")) == "dsn postgres://[redacted]@c"


def test_one_line_hides_nothing() -> None:
    """Names keep every character that can be shown."""
    assert one_line("tenant-ä\npassword=x") == "tenant-ä\\npassword=x"
