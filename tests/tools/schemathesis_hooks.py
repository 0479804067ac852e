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


@schemathesis.hook
def before_load_schema(_, raw_schema):
    """Leaves what a list or an object among the settings consists of open, as each of hundreds of fields would be tried by itself.

    That reader and schema agree about all of them is held by proto/tests/settings_schema.rs.
    """
    schemas = raw_schema["components"]["schemas"]
    for name in ("SettingsDocument", "SettingsPatch"):
        fields = schemas[name]["properties"]
        for field, schema in fields.items():
            text = json.dumps(schema)
            if '"properties"' in text or '"items"' in text:
                fields[field] = {}
