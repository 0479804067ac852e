"""RFC 6902, RFC 7396, the strategic merge as far as containers need it, and the three-way merge of `apply`."""

import copy

from .store import Refusal


def pointer(path):
    if not path.startswith("/"):
        raise Refusal(f"error: unable to parse {path!r} as a JSON pointer")
    return [part.replace("~1", "/").replace("~0", "~") for part in path[1:].split("/")]


def json_patch(document, operations):
    document = copy.deepcopy(document)
    for operation in operations:
        apply_operation(document, operation)
    return document


def apply_operation(document, operation):
    *parents, last = pointer(operation["path"])
    place = document
    for part in parents:
        try:
            place = place[int(part)] if isinstance(place, list) else place[part]
        except (KeyError, IndexError, ValueError):
            raise Refusal(f"The request is invalid: the server rejected our request due to an error in our request: {operation['path']}")
    kind = operation["op"]
    if isinstance(place, list):
        change_list(place, last, kind, operation)
    elif kind in ("add", "replace"):
        # As the API server does it: replacing what is absent adds it.
        place[last] = operation["value"]
    elif kind == "remove":
        if last not in place:
            raise Refusal(f"The request is invalid: no value at {operation['path']}")
        del place[last]
    elif kind == "test":
        if place.get(last) != operation["value"]:
            raise Refusal(f"The request is invalid: testing value {operation['path']} failed")
    else:
        raise Refusal(f"error: unexpected kind of operation {kind!r}")


def change_list(place, last, kind, operation):
    index = len(place) if last == "-" else int(last)
    if kind == "add":
        place.insert(index, operation["value"])
    elif kind == "replace":
        place[index] = operation["value"]
    elif kind == "remove":
        del place[index]


def merge_patch(document, patch):
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result = dict(document) if isinstance(document, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge_patch(result.get(key), value)
    return result


def strategic_patch(document, patch):
    """Like a merge patch, but lists of named things are merged by name."""
    if isinstance(patch, list) and isinstance(document, list) and all(isinstance(item, dict) and "name" in item for item in patch + document):
        result = copy.deepcopy(document)
        for item in patch:
            present = next((known for known in result if known["name"] == item["name"]), None)
            if present is None:
                result.append(item)
            else:
                result[result.index(present)] = strategic_patch(present, item)
        return result
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result = dict(document) if isinstance(document, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = strategic_patch(result.get(key), value)
    return result


def three_way(last, wanted, live):
    """What was applied before and is not wanted any more goes; what others wrote stays."""
    if not isinstance(wanted, dict) or not isinstance(live, dict):
        return copy.deepcopy(wanted)
    last = last if isinstance(last, dict) else {}
    result = {key: value for key, value in live.items() if key in wanted or key not in last}
    for key, value in wanted.items():
        result[key] = three_way(last.get(key), value, live.get(key))
    return result
