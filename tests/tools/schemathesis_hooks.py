"""Kinds of content that schemathesis does not know."""

import json

import schemathesis


@schemathesis.serializer("application/wasm")
def module(_, value):
    return value if isinstance(value, bytes) else json.dumps(value).encode()


@schemathesis.deserializer("application/x-ndjson")
def lines(_, response):
    documents = [json.loads(line) for line in response.content.splitlines() if line]
    # One line is as described; all of them are looked at by the story of the contract.
    return documents[0] if documents else None
