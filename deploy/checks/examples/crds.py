#!/usr/bin/env python3
"""Judges examples by the CRDs of a cluster or of a product's release, as its API server would: values, required fields, and fields that
it does not know, which a server drops in silence.

    crds.py --crds FILE [--crds FILE ...] EXAMPLE [EXAMPLE ...]

    kubectl get crd -o yaml >crds.yaml; checks/examples/crds.py --crds crds.yaml ../envoy/examples/istio.yaml

    crds.py --releases
    crds.py --pack FILE --crds FILE EXAMPLE [EXAMPLE ...]

Objects whose CRD is in none of the files are named and passed over; it fails when that is all of them. --releases judges the examples in
envoy/examples by the oldest and the newest release of Istio and Envoy Gateway that they are for: schemas/ has what these say of the fields
that the examples have, and the names of all others. --pack writes such a file from a release's own; again, where an example gets a new
field ("False schema"). Exit: 0 all fit, 1 some do not.
"""

import argparse
import json
import sys
from pathlib import Path

import jsonschema
import yaml


HERE = Path(__file__).resolve().parent
EXAMPLES = HERE.parent.parent.parent / "envoy/examples"
# Which release judges which examples, and of which kinds its API knows nothing yet or leaves them to another project.
RELEASES = [
    ("istio-1.27.0", ["istio.yaml"], set()),
    ("istio-1.30.0", ["istio.yaml", "istio-traffic-extension.yaml"], set()),
    ("envoy-gateway-1.6.0", ["envoy-gateway.yaml"], {"Gateway"}),
    ("envoy-gateway-1.9.0", ["envoy-gateway.yaml"], {"Gateway"}),
]


def definitions(paths):
    """Schemas by group/version and kind."""
    found = {}
    for path in map(Path, paths):
        if path.suffix == ".json":
            found |= {tuple(key.split(" ")): schema for key, schema in json.loads(path.read_text()).items()}
            continue
        for body in yaml.safe_load_all(path.read_text()):
            for crd in (body or {}).get("items") or [body or {}]:
                if crd.get("kind") != "CustomResourceDefinition":
                    continue
                spec = crd["spec"]
                for version in spec["versions"]:
                    if version.get("served", True):
                        schema = version["schema"]["openAPIV3Schema"]
                        found[f"{spec['group']}/{version['name']}", spec["names"]["kind"]] = schema
    return found


def bare(schema, named=False):
    """A schema without what judges nothing. `named`: its keys are names of fields, not words of the schema."""
    if isinstance(schema, list):
        return [bare(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    unused = () if named else ("description", "x-kubernetes-validations", "x-kubernetes-map-type", "x-kubernetes-list-type", "default", "format")
    return {key: bare(value, key == "properties" and not named) for key, value in schema.items() if key not in unused}


def used(schema, values):
    """A schema without the inside of fields that none of the values has: they are known, and `false` refuses whatever they hold."""
    if not isinstance(schema, dict):
        return schema
    schema = dict(schema)
    if isinstance(schema.get("properties"), dict):
        given = {key: [value[key] for value in values if isinstance(value, dict) and key in value] for key in schema["properties"]}
        schema["properties"] = {key: used(part, given[key]) if given[key] else False for key, part in schema["properties"].items()}
    if isinstance(schema.get("items"), dict):
        schema["items"] = used(schema["items"], [item for value in values if isinstance(value, list) for item in value])
    return schema


def documents(paths):
    return [body for path in paths for body in yaml.safe_load_all(Path(path).read_text()) if body]


def pack(target, crds, examples):
    """Writes what the examples' own kinds are by these definitions."""
    known = definitions(crds)
    wanted = {(body["apiVersion"], body["kind"]) for body in documents(examples)} & known.keys()
    values = {key: [body for body in documents(examples) if (body["apiVersion"], body["kind"]) == key] for key in wanted}
    packed = {" ".join(key): used(bare(known[key]), values[key]) for key in sorted(wanted)}
    Path(target).write_text(json.dumps(packed, separators=(",", ":"), sort_keys=True) + "\n")


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


def judge(crds, examples):
    """The kinds that were judged and those that no file defines, and whether all fit."""
    known, judged, unknown, fit = definitions(crds), set(), set(), True
    for path in examples:
        for body in documents([path]):
            name = f"{Path(path).name}: {body['kind']} {body['metadata']['name']}"
            schema = known.get((body["apiVersion"], body["kind"]))
            if schema is None:
                print(f"no CRD     {name}")
                unknown.add(body["kind"])
                continue
            judged.add(body["kind"])
            found = list(faults(body, schema))
            if not can_fail(body, schema):
                found.append("an unknown field is not found")
            print(f"{'FAILED' if found else 'ok':10} {name}", *found, sep="\n             ")
            fit = fit and not found
    return judged, unknown, fit


def releases():
    """Whether the examples fit every release of RELEASES."""
    good = True
    for release, examples, left in RELEASES:
        print(f"{release}:")
        judged, unknown, fit = judge([HERE / "schemas" / f"{release}.json"], [EXAMPLES / name for name in examples])
        if unknown != left:
            print(f"FAILED     kinds without a CRD: {sorted(unknown)}, expected {sorted(left)}")
        good = good and fit and bool(judged) and unknown == left
    return good


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--releases", action="store_true")
    parser.add_argument("--pack", metavar="FILE")
    parser.add_argument("--crds", action="append", default=[], metavar="FILE")
    parser.add_argument("examples", nargs="*", metavar="EXAMPLE")
    arguments = parser.parse_args()
    if arguments.releases:
        sys.exit(not releases())
    if not arguments.crds or not arguments.examples:
        parser.error("--crds FILE and an EXAMPLE, or --releases")
    if arguments.pack:
        pack(arguments.pack, arguments.crds, arguments.examples)
        return
    judged, _, fit = judge(arguments.crds, arguments.examples)
    sys.exit(0 if fit and judged else 1)


if __name__ == "__main__":
    main()
