"""The formats that Slack, PagerDuty and Standard Webhooks publish, checked apart from the code that makes them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping
from typing import Any

import orjson
from jsonschema import Draft202012Validator

_TEXT = {
    "type": "object",
    "required": ["type", "text"],
    "properties": {
        "type": {"const": "mrkdwn"},
        "text": {"type": "string", "minLength": 1},
        "verbatim": {"const": True},
    },
    "additionalProperties": False,
}
# https://docs.slack.dev/reference/block-kit/blocks/section-block, /messaging#attachments
_SLACK = {
    "type": "object",
    "required": ["text", "attachments"],
    "additionalProperties": False,
    "properties": {
        "text": {"type": "string", "minLength": 1, "maxLength": 40_000},
        "attachments": {
            "type": "array",
            "minItems": 1,
            "maxItems": 20,
            "items": {
                "type": "object",
                "required": ["color", "blocks"],
                "additionalProperties": False,
                "properties": {
                    "color": {"pattern": "^#[0-9a-f]{6}$"},
                    "blocks": {
                        "type": "array",
                        "minItems": 1,
                        "maxItems": 50,
                        "items": {
                            "type": "object",
                            "required": ["type"],
                            "additionalProperties": False,
                            "properties": {
                                "type": {"const": "section"},
                                "text": {**_TEXT, "properties": {**_TEXT["properties"], "text": {"maxLength": 3000}}},
                                "fields": {
                                    "type": "array",
                                    "minItems": 1,
                                    "maxItems": 10,
                                    "items": {
                                        **_TEXT,
                                        "properties": {**_TEXT["properties"], "text": {"maxLength": 2000}},
                                    },
                                },
                            },
                            "anyOf": [{"required": ["text"]}, {"required": ["fields"]}],
                        },
                    },
                },
            },
        },
    },
}
# https://developer.pagerduty.com/docs/send-alert-event
_PAGERDUTY = {
    "type": "object",
    "required": ["routing_key", "event_action", "dedup_key"],
    "additionalProperties": False,
    "properties": {
        "routing_key": {"type": "string", "minLength": 32, "maxLength": 32},
        "event_action": {"enum": ["trigger", "acknowledge", "resolve"]},
        "dedup_key": {"type": "string", "minLength": 1, "maxLength": 255},
        "client": {"type": "string"},
        "client_url": {"type": "string"},
        "links": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["href"],
                "additionalProperties": False,
                "properties": {"href": {"type": "string"}, "text": {"type": "string"}},
            },
        },
        "payload": {
            "type": "object",
            "required": ["summary", "source", "severity"],
            "additionalProperties": False,
            "properties": {
                "summary": {"type": "string", "minLength": 1, "maxLength": 1024},
                "source": {"type": "string", "minLength": 1},
                "severity": {"enum": ["critical", "error", "warning", "info"]},
                "timestamp": {"pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$"},
                "custom_details": {"type": "object"},
            },
        },
    },
    "if": {"properties": {"event_action": {"const": "trigger"}}},
    "then": {"required": ["payload"]},
}
PAGERDUTY_BYTES = 512 * 1024


def slack(body: bytes) -> dict[str, Any]:
    """A message that Slack would take, with nothing in it that it would make a mention or a link of, but our own."""
    message: dict[str, Any] = orjson.loads(body)
    Draft202012Validator(_SLACK).validate(message)
    for text in slack_texts(message):
        assert re.search(r"&(?!amp;|lt;|gt;)", text) is None, text
        for entity in re.findall(r"<[^>]*>?", text):
            assert re.fullmatch(r"<https?://[^|<>]+\|Open in autoheal>", entity), entity
    return message


def slack_texts(message: Mapping[str, Any]) -> list[str]:
    """All that people read of it."""
    texts = [message["text"]]
    for attachment in message["attachments"]:
        for block in attachment["blocks"]:
            texts += [
                each["text"] for each in (*([block["text"]] if "text" in block else ()), *block.get("fields", ()))
            ]
    return texts


def pagerduty(body: bytes) -> dict[str, Any]:
    """An event that PagerDuty would take."""
    assert len(body) <= PAGERDUTY_BYTES
    event: dict[str, Any] = orjson.loads(body)
    Draft202012Validator(_PAGERDUTY).validate(event)
    return event


def webhook(body: bytes, headers: Mapping[str, str], secret: str, now: float) -> dict[str, Any]:
    """A payload whose signature is right and not five minutes old, as a receiver's library finds it."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    assert re.fullmatch(r"[!-~]+", headers["webhook-id"])
    assert "." not in headers["webhook-timestamp"]
    assert abs(now - int(headers["webhook-timestamp"])) <= 300
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    wanted = base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
    assert f"v1,{wanted}" in headers["webhook-signature"].split(" ")
    payload: dict[str, Any] = orjson.loads(body)
    assert payload.keys() == {"type", "timestamp", "data"}
    assert re.fullmatch(r"[a-zA-Z0-9_]+(\.[a-zA-Z0-9_]+)*", payload["type"])
    return payload
