"""What Grafana asks of a dashboard's JSON, as a schema.

Source: Grafana's documentation, "Dashboard JSON model" and "Provision dashboards" (10.x and 11.x).
"""

from typing import Any

SOURCE = {
    "type": "object",
    "required": ["type", "uid"],
    "properties": {
        "type": {"enum": ["grafana-postgresql-datasource", "yesoreyeram-infinity-datasource", "prometheus"]},
        "uid": {"enum": ["labsite-postgres", "labsite-api", "labsite-prometheus"]},
    },
}
TARGET = {
    "type": "object",
    "required": ["refId", "datasource"],
    "properties": {"refId": {"type": "string", "pattern": "^[A-Z]$"}, "datasource": SOURCE},
    "allOf": [
        {
            "if": {"properties": {"datasource": {"properties": {"uid": {"const": "labsite-postgres"}}}}},
            "then": {
                "required": ["rawSql", "format", "rawQuery"],
                "properties": {"format": {"enum": ["time_series", "table"]}, "rawQuery": {"const": True}},
            },
        },
        {
            "if": {"properties": {"datasource": {"properties": {"uid": {"const": "labsite-api"}}}}},
            "then": {"required": ["url", "type", "source", "root_selector", "columns", "parser"]},
        },
        {
            "if": {"properties": {"datasource": {"properties": {"uid": {"const": "labsite-prometheus"}}}}},
            "then": {"required": ["expr"]},
        },
    ],
}
PANEL = {
    "type": "object",
    "required": ["id", "type", "title", "gridPos", "datasource", "targets", "fieldConfig", "options"],
    "properties": {
        "id": {"type": "integer", "minimum": 1},
        "type": {"enum": ["timeseries", "table", "stat", "state-timeline"]},
        "title": {"type": "string", "minLength": 1},
        "gridPos": {
            "type": "object",
            "required": ["x", "y", "w", "h"],
            "properties": {
                "x": {"type": "integer", "minimum": 0, "maximum": 23},
                "y": {"type": "integer", "minimum": 0},
                "w": {"type": "integer", "minimum": 1, "maximum": 24},
                "h": {"type": "integer", "minimum": 1},
            },
        },
        "datasource": SOURCE,
        "targets": {"type": "array", "minItems": 1, "items": TARGET},
        "fieldConfig": {
            "type": "object",
            "required": ["defaults", "overrides"],
            "properties": {"defaults": {"type": "object"}, "overrides": {"type": "array"}},
        },
        "options": {"type": "object"},
    },
}
VARIABLE = {
    "type": "object",
    "required": ["name", "type", "hide"],
    "properties": {
        "name": {"type": "string", "pattern": r"^\w+$"},
        "type": {"enum": ["query", "constant", "custom", "textbox", "datasource", "interval"]},
        "hide": {"enum": [0, 1, 2]},
    },
}
DASHBOARD: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "required": ["uid", "title", "schemaVersion", "panels", "time", "templating", "annotations", "tags"],
    "properties": {
        "uid": {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,40}$"},
        "id": {"type": "null"},
        "title": {"type": "string", "minLength": 1},
        "schemaVersion": {"type": "integer", "minimum": 36},
        "tags": {"type": "array", "items": {"type": "string"}, "uniqueItems": True},
        "refresh": {"type": "string", "pattern": r"^\d+[smhd]$"},
        "time": {"type": "object", "required": ["from", "to"]},
        "templating": {
            "type": "object",
            "required": ["list"],
            "properties": {"list": {"type": "array", "items": VARIABLE}},
        },
        "annotations": {"type": "object", "required": ["list"]},
        "panels": {"type": "array", "minItems": 1, "items": PANEL},
    },
}
