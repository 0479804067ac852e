#!/usr/bin/env python3
"""Writes the notices of third parties: whose code is in what is shipped, under which licence, with the texts that must go with it.

    notices.py >THIRD-PARTY-NOTICES.txt

Asks cargo what is linked into the control plane and into the filter (no tests, nothing that only builds), and takes the texts from the
packages themselves, those of C libraries inside them too. Packages without a text are listed with the licence that they name; exit 1
where one names none. Standard library only.
"""

import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = [
    ("api-optimizer-control-plane", "x86_64-unknown-linux-gnu"),
    ("optimizer-cli", "x86_64-unknown-linux-gnu"),
    ("api-optimizer-filter", "wasm32-wasip1"),
    ("api-optimizer-filter-native", "x86_64-unknown-linux-gnu"),
]
NAMES = ("license", "licence", "copying", "notice", "copyright", "unlicense")


def cargo(*arguments):
    run = subprocess.run(["cargo", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    if run.returncode:
        sys.exit(f"notices.py: cargo {arguments[0]}: {run.stderr.strip()}")
    return run.stdout


def linked():
    """(name, version) of what is in the shipped files, without our own."""
    found = set()
    for package, target in SHIPPED:
        tree = cargo("tree", "--locked", "-p", package, "--target", target, "-e", "normal,no-proc-macro", "--prefix", "none", "--format", "{p}")
        for line in tree.splitlines():
            words = line.split()
            if words and "(/" not in line:
                found.add((words[0], words[1].removeprefix("v")))
    return found


def packages():
    metadata = json.loads(cargo("metadata", "--locked", "--format-version", "1"))
    return {(package["name"], package["version"]): package for package in metadata["packages"]}


def texts(package):
    folder = Path(package["manifest_path"]).parent
    # A C library that is built along has its own, a folder or two below.
    near = [path for depth in ("*", "*/*", "*/*/*") for path in folder.glob(depth)]
    named = [path for path in near if path.is_file() and path.name.lower().startswith(NAMES) and path.suffix in ("", ".txt", ".md")]
    return list(dict.fromkeys(path.read_text(errors="replace").strip() for path in sorted(named)))


def main():
    known, by_text, without, nameless = packages(), defaultdict(list), [], []
    for key in sorted(linked()):
        package = known[key]
        name = f"{key[0]} {key[1]}"
        if not package["license"] and not package["license_file"]:
            nameless.append(name)
        own = texts(package)
        if not own:
            without.append(f"{name}: {package['license']}, {package['repository'] or 'no repository named'}")
        for text in own:
            by_text[text].append(f"{name} ({package['license'] or 'see below'})")
    print("Third parties whose code is in the API Latency Optimizer's control plane or filter.")
    if without:
        print("\nWithout a text of a licence in their package; the licence as they name it:\n")
        print(*(f"  {line}" for line in without), sep="\n")
    for text, names in sorted(by_text.items(), key=lambda item: item[1]):
        print("\n" + "=" * 100, *names, "-" * 100, text, sep="\n")
    if nameless or not by_text:
        sys.exit(f"notices.py: no licence is named by {', '.join(nameless) or 'anything'}")


if __name__ == "__main__":
    main()
