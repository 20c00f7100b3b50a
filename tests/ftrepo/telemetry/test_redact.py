from __future__ import annotations

import logging
import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ftrepo.telemetry.redact import HIDDEN, LENGTH_MAX, describe, one_line, redact

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
]


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


@pytest.mark.parametrize(
    "text",
    [
        'password authentication failed for user "ftrepo"',
        "[Errno 111] Connect call failed ('127.0.0.1', 5432)",
        "key 'x9JOy0Fzr0rDp0L3dSW5rMNwOlbGf0gWkJ5OVfQ0mGc' is not at hand",
        "cannot open /var/lib/tokens/pending-writes-of-instance-3/journal.sqlite: disk I/O error",
        "GET https://issuer.example:8443/jwks.json?page=2 answered 503",
        "no answer within 0.5 s",
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


@pytest.mark.parametrize(
    "part", ["://", "a", '"d":', "password", "-----BEGIN A-----", "\\", "eyJ."]
)
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
