"""The OpenAPI document, with what the framework leaves out and without what it makes up."""

from __future__ import annotations

from typing import Any, TypeAlias

from pydantic.json_schema import models_json_schema

from ftrepo.service.http.documents import SECURITY_SCHEMES, SHOWN_BESIDES

OpenApi: TypeAlias = dict[str, Any]
"""An OpenAPI document, version 3.1."""

_REF = "#/components/schemas/{model}"


def openapi_document(made: OpenApi) -> OpenApi:
    """Return the document that the framework made, completed.

    Args:
        made: by the framework; is not changed.
    """
    _, definitions = models_json_schema(
        [(model, "serialization") for model in SHOWN_BESIDES], ref_template=_REF
    )
    components = made.get("components", {})
    schemas = components.get("schemas", {}) | definitions["$defs"]
    return made | {
        "components": components | {"schemas": schemas, "securitySchemes": SECURITY_SCHEMES}
    }
