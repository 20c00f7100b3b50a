"""Forms: what is read, what is refused, and that nothing else can happen."""

from __future__ import annotations

from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftrepo.service.errors import TokenRequestError
from ftrepo.service.tokens import parse_form
from ftrepo.service.tokens.forms import FORM_PARAMETERS_MAX, NAME_LENGTH_MAX, REPEATABLE

FORM = "application/x-www-form-urlencoded"
TEXT = st.text(
    st.characters(exclude_categories=["Cs"], min_codepoint=32, exclude_characters="\x7f")
)
NAMES = st.text("abcdefghijklmnopqrstuvwxyz_-.é ü", min_size=1, max_size=NAME_LENGTH_MAX)


def reason_of(body: bytes, content_type: str | None = FORM) -> str:
    """Why a body is refused."""
    with pytest.raises(TokenRequestError) as caught:
        parse_form(content_type, body)
    assert caught.value.error == "invalid_request"
    return caught.value.reason


@given(st.dictionaries(NAMES, TEXT.filter(bool), max_size=FORM_PARAMETERS_MAX))
def test_reads_what_an_encoder_wrote(parameters: dict[str, str]) -> None:
    """Whatever text a client sends, with either way to write a space, arrives as it was."""
    expected = {name: (value,) for name, value in parameters.items()}
    body = urlencode(parameters)
    assert parse_form(FORM, body.encode()).values == expected
    assert parse_form(FORM, body.replace("+", "%20").encode()).values == expected


@given(st.binary(max_size=200) | st.text("abc=&%+0123\x00é", max_size=60).map(str.encode))
def test_any_body_is_read_or_refused(body: bytes) -> None:
    """No body raises anything but a refusal, and what is read is within the bounds."""
    try:
        form = parse_form(FORM, body)
    except TokenRequestError:
        return
    assert len(form.values) <= FORM_PARAMETERS_MAX
    for name, values in form.values.items():
        assert 0 < len(name) <= NAME_LENGTH_MAX
        assert all(value and "\x00" not in value for value in values)
        assert len(values) == 1 or name in REPEATABLE


@pytest.mark.parametrize(
    "body", [b"scope=a&scope=b", b"scope=&scope=a", b"scope=a&scope=", b"x=1&x=1", b"%78=1&x=2"]
)
def test_a_parameter_given_twice_is_refused(body: bytes) -> None:
    """Also when it is empty once, unknown, the same twice, or encoded differently."""
    assert reason_of(body) == "repeated-parameter"


def test_targets_may_be_repeated() -> None:
    """`audience` and `resource` keep their order, their repetitions, and lose empty values."""
    form = parse_form(FORM, b"audience=b&resource=x:y&audience=&audience=a&audience=b")
    assert form.every("audience") == ("b", "a", "b")
    assert form.every("resource") == ("x:y",)
    assert form.every("scope") == ()


@pytest.mark.parametrize("body", [b"", b"&&", b"scope=", b"scope", b"scope=&other=1"])
def test_an_empty_parameter_counts_as_left_out(body: bytes) -> None:
    """RFC 6749, section 3.2; and the error about a required one names it."""
    form = parse_form(FORM, body)
    assert form.one("scope") is None
    with pytest.raises(TokenRequestError, match="the parameter scope is missing") as caught:
        form.required("scope")
    assert caught.value.reason == "missing-parameter"


@pytest.mark.parametrize(
    "body",
    [
        b"a=%",
        b"a=%4",
        b"a=%zz",
        b"a=%ff",  # Not UTF-8.
        b"a=%C0%80",  # A zero byte, too long an encoding.
        b"a=%ED%A0%80",  # Half a surrogate pair.
        b"a=\xc3\xa9",  # Not encoded at all.
        b"a=b c",
        b"a=%00",
        b"a=b%0d%0ac",
        b"a%00=b",
        b"=b",
        b"a" * (NAME_LENGTH_MAX + 1) + b"=b",
        b'{"grant_type": "x"}',
    ],
)
def test_what_an_encoder_would_not_write_is_refused(body: bytes) -> None:
    """Broken encodings, what is not UTF-8, control characters, and names of no or great length."""
    assert reason_of(body) == "malformed"


def test_a_form_has_a_bound_on_its_parameters() -> None:
    """As many as the bound are read, one more is refused, empty ones count."""
    names = [f"p{i}=1" for i in range(FORM_PARAMETERS_MAX)]
    assert len(parse_form(FORM, "&".join(names).encode()).values) == FORM_PARAMETERS_MAX
    assert reason_of("&".join([*names, "q=1"]).encode()) == "too-many-parameters"
    assert reason_of(b"&" * FORM_PARAMETERS_MAX) == "too-many-parameters"


@pytest.mark.parametrize(
    "content_type",
    [f"{FORM}; charset=utf-8", f"{FORM};charset=UTF-8", f'{FORM}; charset="utf-8"', FORM.upper()],
)
def test_the_usual_ways_to_say_form_are_accepted(content_type: str) -> None:
    """Case and a charset of UTF-8 make no difference."""
    assert parse_form(content_type, b"a=b").one("a") == "b"


@pytest.mark.parametrize(
    "content_type",
    [None, "", "application/json", "multipart/form-data; boundary=x", f"{FORM}; charset=utf-16"],
)
def test_anything_but_a_form_is_refused(content_type: str | None) -> None:
    """By a reason of its own: the answer to it is 415."""
    assert reason_of(b"a=b", content_type) == "unsupported-media-type"


def test_a_form_shows_nothing_of_what_it_holds() -> None:
    """It holds secrets and tokens, also where a name should be."""
    form = parse_form(FORM, b"client_secret=hush&eyJ0b2tlbg=")
    assert repr(form) == str(form) == "Form(1 parameters)"


@pytest.mark.parametrize("body", [b"a=hush%", b"a=hush%ff", b"hush=1&hush=2", b"hush%00=1"])
def test_a_refusal_quotes_nothing(body: bytes) -> None:
    """What was sent may be a secret in the wrong place."""
    with pytest.raises(TokenRequestError) as caught:
        parse_form(FORM, body)
    assert "hush" not in str(caught.value)
