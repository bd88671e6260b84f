"""The OpenAPI document of the service."""

from __future__ import annotations

from typing import Any

from .limits import Limits

_ERROR = {"$ref": "#/components/responses/Error"}


def openapi(
    version: str, limits: Limits, default: str, names: list[str], root: str
) -> dict[str, Any]:
    """OpenAPI 3.1; `root` is where the application is mounted."""
    post = {
        "requestBody": {
            "required": True,
            "description": f"One image, at most {limits.max_bytes} bytes and {limits.max_pixels} "
            f"pixels, of the formats {', '.join(limits.formats)}.",
            "content": {
                **{
                    f"image/{name}": {"schema": {"type": "string", "format": "binary"}}
                    for name in limits.formats
                },
                "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
                "multipart/form-data": {
                    "schema": {
                        "type": "object",
                        "properties": {"image": {"type": "string", "format": "binary"}},
                        "required": ["image"],
                    },
                    "encoding": {
                        "image": {
                            "contentType": ", ".join(f"image/{each}" for each in limits.formats)
                        }
                    },
                },
            },
        },
        "responses": {
            "200": _json("The most probable classes.", "Answer"),
            "400": _ERROR,
            "404": _ERROR,
            "408": _ERROR,
            "413": _ERROR,
            "415": _ERROR,
            "422": _ERROR,
            "500": _ERROR,
            "503": {
                **_response("Busy, or the model cannot be read.", "Error"),
                "headers": {"Retry-After": {"schema": {"type": "integer"}}},
            },
        },
    }
    top_k = {
        "name": "top_k",
        "in": "query",
        "description": "How many classes to answer with.",
        "schema": {"type": "integer", "minimum": 1, "maximum": limits.top_k, "default": 5},
    }
    name = {
        "name": "name",
        "in": "path",
        "required": True,
        "schema": {"type": "string", "enum": names},
    }
    paths: dict[str, Any] = {
        "/classify": {
            "post": {
                "summary": f"Classify an image with {default}",
                "operationId": "classify",
                "parameters": [top_k],
                **post,
            }
        },
        "/models/{name}/classify": {
            "post": {
                "summary": "Classify an image with the model of that name",
                "operationId": "classify_with",
                "parameters": [name, top_k],
                **post,
            }
        },
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
            "schemas": _SCHEMAS,
            "responses": {"Error": _response("What was wrong, and what to do.", "Error")},
        },
    }


def _response(description: str, schema: str) -> dict[str, Any]:
    return {
        "description": description,
        "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}},
    }


_json = _response


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
    "Answer": {
        "type": "object",
        "required": ["file", "model", "predictions", "ms"],
        "properties": {
            "file": {"type": ["string", "null"], "description": "As the upload named it."},
            "model": {"type": "string"},
            "predictions": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["label", "index", "probability"],
                    "properties": {
                        "label": {"type": "string"},
                        "index": {"type": "integer", "minimum": 0},
                        "probability": {"type": "number", "minimum": 0, "maximum": 1},
                    },
                },
            },
            "ms": {"type": "number", "description": "From the whole body to the answer."},
        },
    },
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
