"""kubectl's verbs that look at what runs: logs, exec, rollout, describe, top, auth."""

import sys
import time

from . import derived
from .store import Refusal, matches
from .verbs import existing, may, plural_of, split_names

MAX_FOLLOWED = 5


def pods_of(store, args, word):
    """`pod`, `pod/NAME` or `deployment/NAME` as pods; for a Deployment the first of them."""
    kind, slash, name = word.partition("/")
    if not slash:
        return existing(store, args.namespace, "pods", [word], None)
    plural = plural_of(kind)
    if plural == "pods":
        return existing(store, args.namespace, "pods", [name], None)
    existing(store, args.namespace, plural, [name], None)
    found = [item for item in derived.pods(store, args.namespace) if item["metadata"]["name"].startswith(f"{name}-")]
    owned = [item for item in found if item["metadata"]["name"].rsplit("-", 2)[0] == name]
    if not owned:
        raise Refusal(f"error: timed out waiting for the condition: no pods of {word}")
    return owned[:1]


def logs(store, args):
    if args.get("selector"):
        found = existing(store, args.namespace, "pods", None, args.get("selector"))
        tail = int(args.get("tail", 10))
    else:
        found = pods_of(store, args, args.words[1])
        tail = int(args.get("tail", -1))
    limit = int(args.get("max_log_requests", MAX_FOLLOWED))
    if "follow" in args.flags and len(found) > limit:
        raise Refusal(
            f"error: you are attempting to follow {len(found)} log streams, but maximum allowed concurrency is {limit}, "
            "use --max-log-requests to increase the limit"
        )
    # Following ends with what is there: nothing more is ever written.
    return "\n".join(line for item in found for line in pod_lines(store, args, item, tail))


def pod_lines(store, args, item, tail):
    name = item["metadata"]["name"]
    path = store.root / "logs" / f"{name}.log"
    lines = path.read_text().splitlines() if path.exists() else [f'{{"level":"info","message":"line {n}"}}' for n in range(1, 31)]
    containers = [container["name"] for container in item["spec"]["containers"]]
    if "all_containers" not in args.flags:
        containers = containers[:1]
    kept = lines if tail < 0 else lines[len(lines) - min(tail, len(lines)) :]
    return [f"[pod/{name}/{container}] {line}" if "prefix" in args.flags else line for container in containers for line in kept]


def execute(store, args):
    target = pods_of(store, args, args.words[1])[0]
    if not args.after_dashes:
        raise Refusal("error: you must specify at least one command for the container")
    if "tty" in args.flags and not sys.stdin.isatty():
        print("Unable to use a TTY - input is not a terminal or the right kind of file", file=sys.stderr)
    command = args.after_dashes[0]
    if store.refuses("exec", "pods", command):
        raise Refusal(f"command terminated with exit code 1: {target['metadata']['name']}")
    return ""


def rollout(store, args):
    action = args.words.pop(1)
    plural, names = split_names(store, args)
    found = existing(store, args.namespace, plural, names, args.get("selector"))
    if action == "status":
        return status(store, args, plural, found[0]["metadata"]["name"])
    if action == "history":
        return "\n".join(history(item) for item in found)
    if action in ("restart", "undo"):
        may(store, "patch", plural, names[0])
        return f"deployment.apps/{names[0]} {'restarted' if action == 'restart' else 'rolled back'}"
    raise Refusal(f"error: unknown command {action!r}")


def status(store, args, plural, name):
    deadline = time.monotonic() + args.seconds("timeout", 30)
    while True:
        item = existing(store, args.namespace, plural, [name], None)[0]
        wanted = item["spec"].get("replicas", 1)
        available = item["status"].get("availableReplicas", 0)
        if available >= wanted:
            return f'deployment "{name}" successfully rolled out'
        if time.monotonic() >= deadline:
            raise Refusal("error: timed out waiting for the condition")
        time.sleep(0.1)


def history(item):
    cause = (item["metadata"].get("annotations") or {}).get("kubernetes.io/change-cause", "<none>")
    return f"deployment.apps/{item['metadata']['name']}\nREVISION  CHANGE-CAUSE\n1         {cause}\n"


def describe(store, args):
    plural, names = split_names(store, args)
    found = existing(store, args.namespace, plural, names, args.get("selector"))
    return "\n\n".join(described(item) for item in found) or "No resources found in production namespace."


def described(item):
    lines = [f"Name:         {item['metadata']['name']}", f"Namespace:    {item['metadata'].get('namespace', '')}", "Conditions:", "  Type     Status"]
    lines += [f"  {entry['type']}    {entry['status']}" for entry in item.get("status", {}).get("conditions", [])]
    return "\n".join([*lines, "Events:  <none>"])


def top(store, args):
    if any(fault[0] == "no-metrics" for fault in store.faults()):
        raise Refusal("error: Metrics API not available")
    found = [item for item in derived.pods(store, args.namespace) if matches(args.get("selector"), item["metadata"]["labels"])]
    return "\n".join(["NAME   CPU(cores)   MEMORY(bytes)", *(f"{item['metadata']['name']}   12m   48Mi" for item in found)])


def can_i(store, args):
    verb, resource = args.words[2], args.words[3]
    kind, _, name = resource.partition("/")
    if store.refuses(verb, plural_of(kind), name):
        print("no")
        raise SystemExit(1)
    return "yes"
