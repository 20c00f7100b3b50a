"""The documents that are sent and taken, as the OpenAPI document shows them."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from ftrepo.keys import KEY_ID_LENGTH_MAX
from ftrepo.service.http.problems import INSTANCE_PREFIX, MEDIA_TYPE, TYPE_PREFIX

KEY_SET_TYPE = "application/jwk-set+json"
"""Source: RFC 7517, section 8.5.2."""

KEY_TYPE = "application/jwk+json"
"""Source: RFC 7517, section 8.5.1."""


class _Document(BaseModel):
    model_config = ConfigDict(extra="allow")


class Problem(_Document):
    """Why a request was not granted: problem details of RFC 9457."""

    type: str = Field(examples=[f"{TYPE_PREFIX}key-not-found"])
    title: str
    status: int
    detail: str | None = None
    instance: str = Field(examples=[f"{INSTANCE_PREFIX}0b1c2d"])


class TokenProblem(Problem):
    """Why a token was refused: a problem with the members of OAuth 2.0 (RFC 6749, section 5.2)."""

    error: str = Field(examples=["invalid_request"])
    error_description: str
    reason: str = Field(examples=["expired"])


class Token(_Document):
    """A token and what its holder has to know (RFC 6749, section 5.1; RFC 8693, section 2.2.1)."""

    access_token: str
    token_type: str
    expires_in: int = Field(ge=1)
    issued_token_type: str | None = None
    scope: str | None = None


class Key(_Document):
    """A JSON Web Key (RFC 7517), with the times between which it is valid."""

    kty: str
    kid: str = Field(max_length=KEY_ID_LENGTH_MAX)
    alg: str
    use: str
    iat: int
    exp: int


class KeySet(_Document):
    """Every valid key (RFC 7517, section 5)."""

    keys: list[Key]


class PeerKey(_Document):
    """A key, as instances tell each other."""

    kid: str
    jwk: dict[str, str]
    created: str
    expires: str


class PeerKeys(_Document):
    """Every key that an instance has in memory."""

    keys: list[PeerKey]


SHOWN_BESIDES: tuple[type[BaseModel], ...] = (Problem, TokenProblem)
"""Documents that the framework does not meet as the answer of a route."""

SECURITY_SCHEMES: dict[str, Any] = {
    "client": {"type": "http", "scheme": "basic", "description": "A client's id and secret."},
    "peer": {"type": "http", "scheme": "bearer", "description": "The secret of all instances."},
}

_RETRY_AFTER = {
    "Retry-After": {
        "description": "Seconds until it is worth asking again.",
        "required": True,
        "schema": {"type": "integer", "minimum": 1},
    }
}
_CHALLENGE = {
    "WWW-Authenticate": {
        "description": "How to say who asks.",
        "required": True,
        "schema": {"type": "string"},
    }
}
_DESCRIPTIONS = {
    400: "The request is refused, and would be refused again.",
    401: "Who asks is not who it must be.",
    404: "There is no such thing.",
    408: "The body did not come in time.",
    413: "The body is too large.",
    415: "The body is of another type than it must be.",
    429: "Too many requests, by this caller or altogether.",
    431: "The headers are too large.",
    503: "This cannot be served now.",
}
_HEADERS = {401: _CHALLENGE, 429: _RETRY_AFTER, 503: _RETRY_AFTER}

KEY_ID_PARAMETER: dict[str, Any] = {
    "parameters": [
        {
            "name": "key_id",
            "in": "path",
            "required": True,
            "description": "The id of the key. One that no key can have is answered 404.",
            "schema": {
                "type": "string",
                "pattern": r"^[A-Za-z0-9._~-]+$",
                "minLength": 1,
                "maxLength": KEY_ID_LENGTH_MAX,
            },
        }
    ]
}

CACHE_HEADERS: dict[str, Any] = {
    "ETag": {"description": "Of exactly these bytes.", "schema": {"type": "string"}},
    "Cache-Control": {"description": "For how long to keep it.", "schema": {"type": "string"}},
}


def problem_answers(*statuses: int, document: type[Problem] = Problem) -> dict[int | str, Any]:
    """Return answers of a route that are problems, in the form of `responses`."""
    schema = {"$ref": f"#/components/schemas/{document.__name__}"}
    return {
        status: {
            "description": _DESCRIPTIONS[status],
            "content": {MEDIA_TYPE: {"schema": schema}},
            "headers": _HEADERS.get(status, {}),
        }
        for status in statuses
    }


def token_refusals() -> dict[int | str, Any]:
    """Return the answers of a token endpoint that have the members of OAuth."""
    return problem_answers(400, 401, 415, document=TokenProblem)


NOT_MODIFIED: dict[int | str, Any] = {
    304: {"description": "What the caller has is still right.", "headers": CACHE_HEADERS}
}
"""The answer to `If-None-Match`."""


def _texts(*names: str) -> dict[str, Any]:
    return {name: {"type": "string"} for name in names}


def form_body(schema: dict[str, Any]) -> dict[str, Any]:
    """Return what makes a form the body of a route, in the form of `openapi_extra`."""
    content = {"application/x-www-form-urlencoded": {"schema": schema}}
    return {
        "requestBody": {"required": True, "content": content},
        "security": [{}, {"client": []}],
    }


_SEVERAL = {"type": "array", "items": {"type": "string"}}

EXCHANGE_FORM: dict[str, Any] = {
    "type": "object",
    "required": ["grant_type", "subject_token", "subject_token_type"],
    "properties": {
        "grant_type": {"const": "urn:ietf:params:oauth:grant-type:token-exchange"},
        "audience": _SEVERAL,
        "resource": _SEVERAL,
        **_texts(
            "subject_token",
            "subject_token_type",
            "actor_token",
            "actor_token_type",
            "requested_token_type",
            "scope",
            "client_id",
            "client_secret",
        ),
    },
}

SERVICE_FORM: dict[str, Any] = {
    "type": "object",
    "required": ["grant_type"],
    "properties": {
        "grant_type": {"const": "client_credentials"},
        "audience": _SEVERAL,
        "resource": _SEVERAL,
        **_texts("scope", "client_id", "client_secret"),
    },
}
