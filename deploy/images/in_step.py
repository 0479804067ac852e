#!/usr/bin/env python3
"""images.json and the Dockerfiles say the same: user, entrypoint, command, ports, environment, working directory, what is copied where,
and the packages. Exit 1 with what differs. Shows as well that it can fail.
"""

import copy
import json
import shlex
import sys
from pathlib import PurePosixPath

import build

DOCKER = build.ROOT / "deploy/docker"
# Of Debian's own images, and set by ours where they begin with nothing.
INHERITED = {"PATH": build.PATH}
# Only with Docker: there kubectl is copied from an image of its own.
BUILT = ("{control-plane}", "{filter}", "{module}", "{envoy}")


def instructions(text):
    """(word, rest) of each instruction, with continued lines joined."""
    lines = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    for line in lines.replace("\\\n", " ").splitlines():
        if line.strip():
            word, rest = line.split(None, 1)
            yield word.upper(), rest.strip()


def stages(text):
    """The stages by name; the last one is also `None`. Each begins with a copy of the one it is built on."""
    found, current = {}, []
    for word, rest in instructions(text):
        if word == "FROM":
            words = rest.split()
            current = list(found.get(words[0], []))
            found[words[2] if len(words) > 2 else None] = current
        else:
            current.append((word, rest))
    return found


def copies(rest):
    """(destination, source or None where another stage has it, mode, owner) of one COPY."""
    words = shlex.split(rest)
    flags = dict(word.removeprefix("--").split("=", 1) for word in words if word.startswith("--"))
    *sources, target = [word for word in words if not word.startswith("--")]
    for source in sources:
        path = target + PurePosixPath(source).name if target.endswith("/") else target
        yield path, None if "from" in flags else source, flags.get("chmod"), "chown" in flags


def of_dockerfile(text, stage):
    """What an image is by its Dockerfile."""
    told = {"env": {}, "ports": [], "copied": {}, "packages": set(), "user": None, "entrypoint": None, "cmd": None, "workdir": None}
    known = stages(text)
    for word, rest in known[stage]:
        if word in ("ENTRYPOINT", "CMD"):
            told[word.lower()] = json.loads(rest)
        elif word in ("USER", "WORKDIR"):
            told[word.lower()] = rest
        elif word == "EXPOSE":
            told["ports"] = [int(port) for port in rest.split()]
        elif word == "ENV":
            told["env"] |= dict(pair.split("=", 1) for pair in shlex.split(rest))
        elif word == "COPY" and rest.split()[-1] != "/":
            told["copied"] |= {path: tuple(more) for path, *more in copies(rest)}
    # Those of a stage that a `COPY … /` takes its root from, too.
    roots = [stage, *(rest.split()[0].removeprefix("--from=") for word, rest in known[stage] if word == "COPY" and rest.endswith(" /"))]
    for word, rest in (line for root in roots for line in known[root]):
        if word == "RUN" and "apt-get install" in rest:
            listed = rest.split("apt-get install", 1)[1].split("&&", 1)[0].split()
            told["packages"] |= {package for package in listed if not package.startswith("-")}
    told["env"] = {key: value for key, value in told["env"].items() if INHERITED.get(key) != value}
    return told


def of_definition(image, user):
    """The same by images.json. What is built has no source that both could name."""
    copied = {}
    for layer in image["layers"]:
        for path, told in layer.get("files", {}).items():
            source = told.get("from")
            if source == "{notices}" or told.get("folder"):
                continue
            mode = None if source in BUILT or told.get("link") else told.get("mode")
            copied[path] = (None if source in BUILT or told.get("link") else source, mode, bool(told.get("owned")))
    return {
        "env": image.get("env", {}),
        "ports": image.get("ports", []),
        "copied": copied,
        "packages": {package for layer in image["layers"] for package in layer.get("packages", [])},
        "user": None if image.get("empty") else f"{user}:{user}",
        "entrypoint": image.get("entrypoint"),
        "cmd": image.get("cmd"),
        "workdir": image.get("workdir"),
    }


def differences(known):
    """Sentences about what differs."""
    for name, image in known["images"].items():
        docker = of_dockerfile((DOCKER / image["dockerfile"]).read_text(), image.get("stage"))
        own = of_definition(image, known["user"]["id"])
        # Debian's image has the essential packages already, and names fewer.
        missing = docker.pop("packages") - own.pop("packages")
        if missing:
            yield f"{name}: images.json lacks the packages {', '.join(sorted(missing))}"
        for key, value in own.items():
            if docker[key] != value:
                yield f"{name}: {key} is {value!r}, in {image['dockerfile']} {docker[key]!r}"


SPOILT = {
    "user": lambda known: known["user"].update(id=10002),
    "ports": lambda known: known["images"]["envoy"]["ports"].append(1),
    "env": lambda known: known["images"]["ops"]["env"].clear(),
    "entrypoint": lambda known: known["images"]["control-plane"]["entrypoint"].append("--version"),
    "cmd": lambda known: known["images"]["ops"].update(cmd=["true"]),
    "workdir": lambda known: known["images"]["ops"].update(workdir="/"),
    "copied": lambda known: known["images"]["envoy"]["layers"][2]["files"]["/etc/envoy/static.yaml"].update({"from": "envoy/native.yaml"}),
    "copied'": lambda known: known["images"]["envoy"]["layers"][2]["files"].pop("/usr/local/bin/drain"),
    "packages": lambda known: known["images"]["ops"]["layers"][0]["packages"].remove("jq"),
}


def main():
    known = build.definitions()
    faults = list(differences(known))
    for what, spoil in SPOILT.items():
        spoilt = copy.deepcopy(known)
        spoil(spoilt)
        if not any(what.rstrip("'") in fault for fault in set(differences(spoilt)) - set(faults)):
            faults.append(f"another {what} is not found")
    print(*faults, sep="\n", file=sys.stderr)
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
