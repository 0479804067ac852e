"""kubectl's verbs over the store: those that change objects, and `get`."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

from . import derived
from .patching import json_patch, merge_patch, strategic_patch, three_way
from .store import CLUSTER_WIDE, KINDS, LAST_APPLIED, Refusal, group_name, matches, plural_of


def real_kubectl():
    """The one behind this on PATH: it reads YAML, writes YAML and knows --local."""
    own = Path(sys.argv[0]).resolve().parent
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        candidate = Path(folder) / "kubectl"
        if candidate.is_file() and os.access(candidate, os.X_OK) and candidate.resolve().parent != own:
            return str(candidate)
    raise Refusal("error: the kubectl client itself is needed behind this one on PATH (Debian: kubernetes-client)")


def local(words, text=None):
    done = subprocess.run([real_kubectl(), *words], input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Refusal(done.stderr.strip())
    return done.stdout


def as_yaml(thing):
    return local(["patch", "--local", "-f", "-", "--type=merge", "-p", "{}", "-o", "yaml"], json.dumps(thing))


def read_manifests(file):
    """Objects of a file, of a folder's files (not deeper), or of standard input."""
    path = Path(file)
    if file == "-":
        return documents(sys.stdin.read())
    if path.is_dir():
        files = sorted(item for item in path.iterdir() if item.suffix in (".yaml", ".yml", ".json"))
        if not files:
            raise Refusal(f"error: error reading [{file}]: recognized file extensions are [.json .yaml .yml]")
        return [thing for item in files for thing in documents(item.read_text())]
    if not path.exists():
        raise Refusal(f'error: the path "{file}" does not exist')
    return documents(path.read_text())


def as_json(text):
    """What the real kubectl makes of a manifest. Remembered in KUBE_CACHE: the same files are applied again and again."""
    cache = os.environ.get("KUBE_CACHE")
    remembered = Path(cache) / hashlib.sha256(text.encode()).hexdigest() if cache else None
    if remembered and remembered.exists():
        return remembered.read_text()
    answer = local(["patch", "--local", "-f", "-", "--type=merge", "-p", "{}", "-o", "json"], text)
    if remembered:
        beside = remembered.with_suffix(f".{os.getpid()}")
        beside.write_text(answer)
        beside.rename(remembered)
    return answer


def documents(text):
    decoder = json.JSONDecoder()
    answer = as_json(text).strip()
    found = []
    while answer:
        thing, end = decoder.raw_decode(answer)
        found += thing["items"] if thing.get("kind") == "List" else [thing]
        answer = answer[end:].strip()
    return found


def split_names(store, args):
    """`kind name…`, `kind/name…` or `kind` with a selector, as (plural, [names] or None)."""
    if not args.words[1:]:
        raise Refusal("error: You must specify the type of resource to get")
    if "/" in args.words[1]:
        pairs = [word.split("/", 1) for word in args.words[1:]]
        return plural_of(pairs[0][0]), [name for _, name in pairs]
    return plural_of(args.words[1]), args.words[2:] or None


def existing(store, namespace, plural, names, selector):
    items = derived.listing(store, namespace, plural)
    if names is None:
        return [item for item in items if matches(selector, item["metadata"].get("labels") or {})]
    found = []
    for name in names:
        item = next((item for item in items if item["metadata"]["name"] == name), None)
        if item is None:
            raise Refusal(f'Error from server (NotFound): {group_name(plural)} "{name}" not found')
        found.append(item)
    return found


def may(store, verb, plural, name):
    if store.refuses(verb, plural, name):
        raise Refusal(
            f'Error from server (Forbidden): {group_name(plural)} "{name}" is forbidden: User "ops" cannot {verb} resource "{plural}"'
        )


def get(store, args):
    if args.get("raw"):
        return '{"gitVersion":"v1.33.0"}' if args.get("raw") == "/version" else "ok"
    if args.words[1:] and args.words[1] in ("namespace", "namespaces", "ns") and args.words[2:]:
        return get_namespace(store, args)
    plural, names = split_names(store, args)
    may(store, "get", plural, (names or [""])[0])
    found = existing(store, args.namespace, plural, names, args.get("selector"))
    one = names is not None and len(names) == 1
    return show(found[0] if one else found, plural, args.get("output"))


def get_namespace(store, args):
    if not (store.root / args.words[2]).is_dir():
        raise Refusal(f'Error from server (NotFound): namespaces "{args.words[2]}" not found')
    return f"namespace/{args.words[2]}"


def show(found, plural, output):
    kind, version, _ = KINDS[plural]
    items = found if isinstance(found, list) else [found]
    for item in items:
        item.update(kind=kind, apiVersion=version)
    if output in ("json", "yaml"):
        thing = {"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": ""}, "items": found} if isinstance(found, list) else found
        return json.dumps(thing, indent=4) if output == "json" else as_yaml(thing)
    if output == "name":
        return "\n".join(f"{group_name(plural).removesuffix('s') if '.' not in group_name(plural) else plural[:-1]}/{item['metadata']['name']}" for item in items)
    if output not in (None, "wide"):
        raise Refusal(f"error: unable to match a printer suitable for the output format {output!r}")
    return "\n".join(["NAME", *(item["metadata"]["name"] for item in items)]) if items else "No resources found in default namespace."


def word_of(plural):
    group = KINDS[plural][1].split("/")[0] if "/" in KINDS[plural][1] else ""
    singular = plural.removesuffix("ies") + "y" if plural.endswith("ies") else plural.removesuffix("s")
    return f"{singular}.{group}" if group else singular


def patch(store, args):
    plural, names = split_names(store, args)
    found = existing(store, args.namespace, plural, names, None)[0]
    may(store, "patch", plural, names[0])
    stored = store.find(args.namespace, plural, names[0]) or found
    try:
        wanted = json.loads(args.get("patch", ""))
    except ValueError as error:
        raise Refusal(f"error: unable to parse {args.get('patch')!r}: {error}") from error
    change = {"json": json_patch, "merge": merge_patch, "strategic": strategic_patch}[args.get("type", "strategic")]
    changed = change(stored, wanted)
    check(plural, changed)
    _, differs = (changed, True) if args.get("dry_run") else store.put(args.namespace, plural, changed)
    return f"{word_of(plural)}/{names[0]} patched{'' if differs else ' (no change)'}"


def check(plural, thing):
    """A few of the rules of the API server, those a script could break."""
    if plural in ("configmaps", "secrets") and not all(isinstance(value, str) for value in (thing.get("data") or {}).values()):
        raise Refusal(f'The request is invalid: {KINDS[plural][0]} in version "v1" cannot be handled: data must be strings')
    if plural == "services" and not isinstance(thing.get("spec", {}).get("ports"), list):
        raise Refusal(f'The Service "{thing["metadata"]["name"]}" is invalid: spec.ports: Required value')


def apply(store, args):
    if not args.files:
        raise Refusal("error: must specify one of -f and -k")
    results = [apply_one(store, args, thing) for file in args.files for thing in read_manifests(file)]
    if args.get("output") == "json":
        things = [thing for _, _, thing, _ in results]
        single = len(things) == 1
        return json.dumps(things[0] if single else {"apiVersion": "v1", "kind": "List", "items": things}, indent=4)
    suffix = {"server": " (server dry run)", "client": " (dry run)"}.get(args.get("dry_run"), "")
    return "\n".join(f"{word_of(plural)}/{name} {verb}{suffix}" for plural, name, _, verb in results)


def apply_one(store, args, wanted):
    plural = plural_of(wanted["kind"])
    name = wanted["metadata"]["name"]
    namespace = wanted["metadata"].get("namespace")
    if namespace and namespace != args.namespace and args.get("namespace"):
        raise Refusal(
            f'error: the namespace from the provided object "{namespace}" does not match the namespace "{args.namespace}". '
            f"You must pass '--namespace={namespace}' to perform this operation."
        )
    namespace = namespace or args.namespace
    if plural not in CLUSTER_WIDE and not (store.root / namespace).is_dir():
        raise Refusal(f'Error from server (NotFound): namespaces "{namespace}" not found')
    live = store.find(namespace, plural, name)
    may(store, "apply", plural, name)
    if args.words[0] == "create" and live is not None:
        raise Refusal(f'Error from server (AlreadyExists): {group_name(plural)} "{name}" already exists')
    merged = merge_applied(plural, name, wanted, live)
    check(plural, merged)
    if args.get("dry_run"):
        return plural, name, merged, "configured" if live else "created"
    stored, differs = store.put(namespace, plural, merged)
    return plural, name, stored, "created" if live is None else "configured" if differs else "unchanged"


def merge_applied(plural, name, wanted, live):
    text = json.dumps(wanted, sort_keys=True)
    version = wanted["metadata"].get("resourceVersion")
    if live is not None and version and version != live["metadata"]["resourceVersion"]:
        raise Refusal(
            f'Error from server (Conflict): error when applying patch: Operation cannot be fulfilled on {group_name(plural)} "{name}": '
            "the object has been modified; please apply your changes to the latest version and try again"
        )
    last = json.loads(((live or {}).get("metadata", {}).get("annotations") or {}).get(LAST_APPLIED, "{}"))
    merged = three_way(last, wanted, live or {})
    merged["metadata"].setdefault("annotations", {})[LAST_APPLIED] = text
    if plural == "deployments":
        merged["spec"].setdefault("replicas", 1)
    return merged


def scale(store, args):
    plural, names = split_names(store, args)
    found = [item["metadata"]["name"] for item in existing(store, args.namespace, plural, names, args.get("selector"))]
    if not found:
        raise Refusal("error: no objects passed to scale")
    for name in found:
        may(store, "scale", plural, name)
        stored = store.find(args.namespace, plural, name)
        stored["spec"]["replicas"] = int(args.get("replicas"))
        store.put(args.namespace, plural, stored)
    return "\n".join(f"{word_of(plural)}/{name} scaled" for name in found)


def set_image(store, args):
    args.words.pop(0)
    pairs = [word for word in args.words[1:] if "=" in word]
    args.words = [word for word in args.words if "=" not in word]
    plural, names = split_names(store, args)
    may(store, "patch", plural, names[0])
    existing(store, args.namespace, plural, names, None)
    stored = store.find(args.namespace, plural, names[0])
    containers = stored["spec"]["template"]["spec"]["containers"]
    for pair in pairs:
        container, _, image = pair.partition("=")
        found = [item for item in containers if item["name"] == container]
        if not found:
            raise Refusal(f'error: unable to find container named "{container}"')
        found[0]["image"] = image
    store.put(args.namespace, plural, stored)
    return f"{word_of(plural)}/{names[0]} image updated"


def mark(store, args):
    """annotate and label."""
    key = {"annotate": "annotations", "label": "labels"}[args.words[0]]
    marks = [word for word in args.words[1:] if "=" in word]
    args.words = [word for word in args.words if "=" not in word]
    plural, names = split_names(store, args)
    existing(store, args.namespace, plural, names, None)
    stored = store.find(args.namespace, plural, names[0])
    stored["metadata"].setdefault(key, {}).update(word.split("=", 1) for word in marks)
    store.put(args.namespace, plural, stored)
    return f"{word_of(plural)}/{names[0]} {'annotated' if key == 'annotations' else 'labeled'}"
