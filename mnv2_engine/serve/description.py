"""The OpenAPI document of the service."""

from __future__ import annotations

from typing import Any

from .endpoints import ENDPOINTS, Endpoint
from .limits import Limits

_ERROR = {"$ref": "#/components/responses/Error"}


def openapi(
    version: str, limits: Limits, default: str, names: list[str], root: str
) -> dict[str, Any]:
    """OpenAPI 3.1; `root` is where the application is mounted."""
    name = {
        "name": "name",
        "in": "path",
        "required": True,
        "schema": {"type": "string", "enum": names},
    }
    paths: dict[str, Any] = {}
    for each, endpoint in ENDPOINTS.items():
        post = _post(each, endpoint, limits)
        summary = f"{endpoint.summary} with {default}"
        paths[f"/{each}"] = {"post": {"summary": summary, "operationId": each, **post}}
        post = {**post, "parameters": [name, *post["parameters"]]}
        summary = f"{endpoint.summary} with the model of that name"
        named = {"summary": summary, "operationId": f"{each}_with", **post}
        paths[f"/models/{{name}}/{each}"] = {"post": named}
    paths |= {
        "/models": {
            "get": {
                "summary": "The models",
                "operationId": "models",
                "responses": {"200": _json("All models, the default first.", "Models")},
            }
        },
        "/healthz": _text("Whether the process answers", "healthz", ["200"]),
        "/readyz": _text("Whether requests are let in", "readyz", ["200", "503"]),
        "/metrics": _text("Prometheus metrics", "metrics", ["200"]),
        "/openapi.json": {
            "get": {
                "summary": "This document",
                "operationId": "openapi",
                "responses": {
                    "200": {
                        "description": "OpenAPI 3.1",
                        "content": {"application/json": {"schema": {"type": "object"}}},
                    }
                },
            }
        },
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "mnv2_engine", "version": version},
        "servers": [{"url": root or "/"}],
        "paths": paths,
        "components": {
            "schemas": {
                **_SCHEMAS,
                **{_answer(each): _schema(found) for each, found in ENDPOINTS.items()},
            },
            "responses": {"Error": _json("What was wrong, and what to do.", "Error")},
        },
    }


def _answer(endpoint: str) -> str:
    """The name of the schema of an endpoint's answer."""
    return f"{endpoint.capitalize()}Answer"


def _schema(endpoint: Endpoint) -> dict[str, Any]:
    properties = {
        "file": {"type": ["string", "null"], "description": "As the upload named it."},
        "model": {"type": "string"},
        **endpoint.answer,
        "ms": {"type": "number", "description": "From the whole body to the answer."},
    }
    return {"type": "object", "required": list(properties), "properties": properties}


def _post(name: str, endpoint: Endpoint, limits: Limits) -> dict[str, Any]:
    binary = {"type": "string", "format": "binary"}
    types = [f"image/{each}" for each in limits.formats]
    return {
        "parameters": [
            {"name": each.name, "in": "query", "description": each.what, "schema": schema}
            for each in endpoint.parameters
            for schema in [each.schema(limits)]
        ],
        "requestBody": {
            "required": True,
            "description": f"One image, at most {limits.max_bytes} bytes and {limits.max_pixels} "
            f"pixels, of the formats {', '.join(limits.formats)}.",
            "content": {
                **{each: {"schema": binary} for each in [*types, "application/octet-stream"]},
                "multipart/form-data": {
                    "schema": {
                        "type": "object",
                        "properties": {"image": binary},
                        "required": ["image"],
                    },
                    "encoding": {"image": {"contentType": ", ".join(types)}},
                },
            },
        },
        "responses": {
            "200": _json("What was found.", _answer(name)),
            **dict.fromkeys(("400", "404", "408", "413", "415", "422", "500"), _ERROR),
            "503": {
                **_json("Busy, or the model cannot be read.", "Error"),
                "headers": {"Retry-After": {"schema": {"type": "integer"}}},
            },
        },
    }


def _json(description: str, schema: str) -> dict[str, Any]:
    return {
        "description": description,
        "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}},
    }


def _text(summary: str, operation: str, codes: list[str]) -> dict[str, Any]:
    content = {"text/plain": {"schema": {"type": "string"}}}
    return {
        "get": {
            "summary": summary,
            "operationId": operation,
            "responses": {code: {"description": summary, "content": content} for code in codes},
        }
    }


_SCHEMAS: dict[str, Any] = {
    "Models": {
        "type": "object",
        "required": ["models"],
        "properties": {
            "models": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["name", "architecture", "classes", "dtype", "identity"],
                    "properties": {
                        "name": {"type": "string"},
                        "architecture": {"type": "string"},
                        "classes": {"type": "integer"},
                        "dtype": {"type": "string"},
                        "identity": {"type": "string"},
                    },
                },
            }
        },
    },
    "Error": {
        "type": "object",
        "required": ["error", "kind"],
        "properties": {"error": {"type": "string"}, "kind": {"type": "string"}},
    },
}
