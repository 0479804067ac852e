#!/usr/bin/env python3
"""Judges examples by the CRDs of a cluster or of a product's release, as its API server would: values, required fields, and fields that
it does not know, which a server drops in silence.

    crds.py --crds FILE [--crds FILE ...] EXAMPLE [EXAMPLE ...]

    kubectl get crd -o yaml >crds.yaml; checks/examples/crds.py --crds crds.yaml ../envoy/examples/istio.yaml

Objects whose CRD is in none of the files are named and passed over; it fails when that is all of them. Exit: 0 all fit, 1 some do not.
"""

import argparse
import sys
from pathlib import Path

import jsonschema
import yaml


def definitions(paths):
    """Schemas by group/version and kind."""
    found = {}
    for path in paths:
        for body in yaml.safe_load_all(Path(path).read_text()):
            for crd in (body or {}).get("items") or [body or {}]:
                if crd.get("kind") != "CustomResourceDefinition":
                    continue
                spec = crd["spec"]
                for version in spec["versions"]:
                    if version.get("served", True):
                        schema = version["schema"]["openAPIV3Schema"]
                        found[f"{spec['group']}/{version['name']}", spec["names"]["kind"]] = schema
    return found


def closed(schema):
    """The schema as a server reads it: what is not named is not known. Its own words for numbers or text are put into those of JSON
    Schema; rules in CEL are left out."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    schema = {key: value if key in ("enum", "default") else closed(value) for key, value in schema.items()}
    if schema.get("x-kubernetes-int-or-string"):
        schema.pop("type", None)
    if schema.get("nullable") and isinstance(schema.get("type"), str):
        schema["type"] = [schema["type"], "null"]
    for bound in ("exclusiveMinimum", "exclusiveMaximum", "format"):
        schema.pop(bound, None)
    properties = schema.get("properties")
    open_ended = schema.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in schema
    if isinstance(properties, dict) and schema.get("type") == "object" and not open_ended:
        schema["additionalProperties"] = False
    return schema


def of_object(schema):
    schema = closed(schema)
    properties = schema.setdefault("properties", {})
    properties |= {"apiVersion": {}, "kind": {}, "metadata": {}}
    return schema


def faults(body, schema):
    validator = jsonschema.Draft7Validator(of_object(schema))
    for error in sorted(validator.iter_errors(body), key=lambda error: list(map(str, error.path))):
        yield f"/{'/'.join(map(str, error.path))}: {error.message[:300]}"


def can_fail(body, schema):
    """A field that nobody knows is found."""
    return any("nobodyKnowsThis" in fault for fault in faults({**body, "spec": {**body["spec"], "nobodyKnowsThis": 1}}, schema))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--crds", action="append", required=True, metavar="FILE")
    parser.add_argument("examples", nargs="+", metavar="EXAMPLE")
    arguments = parser.parse_args()
    known, judged, failed = definitions(arguments.crds), 0, False
    for path in arguments.examples:
        for body in yaml.safe_load_all(Path(path).read_text()):
            name = f"{Path(path).name}: {body['kind']} {body['metadata']['name']}"
            schema = known.get((body["apiVersion"], body["kind"]))
            if schema is None:
                print(f"no CRD     {name}")
                continue
            judged += 1
            found = list(faults(body, schema))
            if not can_fail(body, schema):
                found.append("an unknown field is not found")
            print(f"{'FAILED' if found else 'ok':10} {name}", *found, sep="\n             ")
            failed = failed or bool(found)
    sys.exit(1 if failed or not judged else 0)


if __name__ == "__main__":
    main()
