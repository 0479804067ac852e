#!/usr/bin/env python3
"""Writes the release folders, the emergency policies, the Kustomize base and the Helm chart from base/ and options/.

    generate.py                     write what differs
    generate.py --check             exit 1, with the names, if anything differs
    generate.py --release 0.2.0     first make 0.2.0 the new release
    generate.py --promote           first make the present new release the stable one

Standard library only: it runs on an ops pod and in CI alike.
"""

import argparse
import json
import re
import string
import sys
from pathlib import Path

import packaging_files

DEPLOY = Path(__file__).resolve().parent
BASE = DEPLOY / "base"
RELEASE_FILE = BASE / "release.json"
VERSIONS = ("new", "stable", "emergency")
TAG = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?")
SECRET = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?")
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
HEADER = "# Written by generate.py from base/: edit there, then run it again.\n"

# Which folder holds what, in the order in which kubectl applies it: the Service first, so that traffic is on the stable release
# before the new one is replaced.
FOLDERS = {
    "production": {
        "10-service.yaml": [("service", "stable")],
        "20-stable.yaml": [("version", "stable")],
        "30-new.yaml": [("version", "new")],
    },
    # What is tested in staging is the new release.
    "staging": {
        "10-service.yaml": [("service", "new")],
        "30-new.yaml": [("version", "new")],
    },
    # Not the Service api-optimizer: the switch is a step of its own.
    "emergency": {
        "30-emergency.yaml": [("version", "emergency")],
    },
}
PARTS_OF_A_VERSION = ("version-service", "control-plane", "data-plane", "disruption-budget")

STATE_CLAIM = """\
          persistentVolumeClaim: { claimName: api-optimizer-state-$version }"""
# An emergency release must not wait for a volume: it starts from the ConfigMap.
STATE_EMPTY = """\
          emptyDir: { sizeLimit: 128Mi }"""


# Lines between which a chart puts its own (packaging_files.py): plain manifests are without these two.
HOOK = re.compile(r"^ *# (?:>>>|<<<) [a-z-]+\n", re.MULTILINE)


class Fault(Exception):
    """What the caller did wrong, in one sentence."""


def load_release(path=RELEASE_FILE):
    try:
        release = json.loads(path.read_text())
        releases = {version: release["releases"][version] for version in VERSIONS}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Fault(f"{path.name} cannot be used: {error!r}") from error
    for version, tag in releases.items():
        check_tag(version, tag)
    for image, digest in release.get("digests", {}).items():
        if not DIGEST.fullmatch(digest):
            raise Fault(f"digest of {image} is {digest!r}, expected sha256: and 64 hexadecimal digits")
    for name in release.get("pull_secrets", []):
        if not isinstance(name, str) or not SECRET.fullmatch(name):
            raise Fault(f"pull secret {name!r} is no name of a Secret")
    return release


def check_tag(version, tag):
    if not isinstance(tag, str) or not TAG.fullmatch(tag):
        raise Fault(f"release {version!r} is {tag!r}, expected a version such as 0.2.0")


def image(release, name, tag):
    """`registry/name:tag`, with the digest where release.json knows it: a digest cannot be moved, a tag can."""
    digest = release.get("digests", {}).get(f"{name}:{tag}")
    return f"{release['registry']}/{name}:{tag}" + (f"@{digest}" if digest else "")


def values(release, version):
    tag = release["releases"][version]
    suffix = "" if version == "new" else f"-{version}"
    state = STATE_EMPTY if version == "emergency" else string.Template(STATE_CLAIM).substitute(version=version)
    pull_secrets = "".join(f"{{ name: {name} }}, " for name in release.get("pull_secrets", []))
    return {
        "recommended": f'app.kubernetes.io/name: api-optimizer, app.kubernetes.io/part-of: api-optimizer, app.kubernetes.io/version: "{tag}"',
        "pull_secrets": f"      imagePullSecrets: [{pull_secrets.removesuffix(', ')}]" if pull_secrets else "",
        "secret": "api-optimizer-secrets",
        "version": version,
        "release": tag,
        "data_plane": f"api-optimizer{suffix}",
        "control_plane": f"api-optimizer-control{suffix}",
        "envoy_image": image(release, "envoy", tag),
        "control_plane_image": image(release, "control-plane", tag),
        "state_volume": state,
    }


def render(part, version, release):
    template = string.Template((BASE / "templates" / f"{part}.yaml").read_text())
    text = HOOK.sub("", template.substitute(values(release, version)))
    # Where nothing was put in.
    return re.sub(r"\n\n+", "\n", text)


def release_file(pieces, release):
    rendered = []
    for kind, version in pieces:
        parts = PARTS_OF_A_VERSION if kind == "version" else (kind,)
        rendered += [render(part, version, release) for part in parts]
    return HEADER + "---\n".join(rendered)


def emergency_policies():
    """Closed policies under the names of the ordinary ones: only by replacing them is their permission taken away."""
    text = (BASE / "cluster" / "network-policies.yaml").read_text()
    names = re.findall(r"^kind: NetworkPolicy\nmetadata:\n  name: (\S+)$", text, re.MULTILINE)
    if not names:
        raise Fault("base/cluster/network-policies.yaml names no policies")
    template = string.Template((BASE / "templates" / "emergency-network-policy.yaml").read_text())
    head = (BASE / "templates" / "emergency-network-policy.head").read_text()
    return HEADER + head + "---\n".join(template.substitute(name=name) for name in names)


def outputs(release):
    files = {
        DEPLOY / "deployment" / folder / name: release_file(pieces, release)
        for folder, content in FOLDERS.items()
        for name, pieces in content.items()
    }
    files[DEPLOY / "security" / "emergency-network-policies.yaml"] = emergency_policies()
    try:
        files |= packaging_files.kustomize(HEADER, lambda part: render(part, "new", release))
        files |= packaging_files.chart(HEADER, release)
    except packaging_files.Missing as fault:
        raise Fault(str(fault)) from fault
    return files


def strangers(files):
    """Files that kubectl would apply along with the release, or fail on."""
    return [path for folder in FOLDERS for path in sorted((DEPLOY / "deployment" / folder).glob("*")) if path not in files]


def differing(files):
    return [path for path, text in files.items() if not path.is_file() or path.read_text() != text]


def change_release(release, arguments):
    releases = release["releases"]
    if arguments.promote:
        releases["stable"] = releases["new"]
    if arguments.release:
        check_tag("new", arguments.release)
        releases["new"] = arguments.release
    if arguments.promote or arguments.release:
        RELEASE_FILE.write_text(json.dumps(release, indent=2) + "\n")


def check(files):
    wrong = [f"differs: {path.relative_to(DEPLOY)}" for path in differing(files)]
    wrong += [f"not from base/: {path.relative_to(DEPLOY)}" for path in strangers(files)]
    for line in wrong:
        print(line, file=sys.stderr)
    if wrong:
        raise Fault("run generate.py and commit the result")


def write(files):
    for path in differing(files):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(files[path])
        print(f"wrote {path.relative_to(DEPLOY)}")
    for path in strangers(files):
        print(f"not from base/, remove it: {path.relative_to(DEPLOY)}", file=sys.stderr)


def main():
    parser = argparse.ArgumentParser(description="Writes the release folders, the Kustomize base and the Helm chart from base/.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if anything differs")
    parser.add_argument("--release", metavar="X.Y.Z", help="the new release")
    parser.add_argument("--promote", action="store_true", help="the present new release becomes the stable one")
    arguments = parser.parse_args()
    if arguments.check and (arguments.release or arguments.promote):
        parser.error("--check changes nothing: it goes with no other option")
    release = load_release()
    change_release(release, arguments)
    files = outputs(release)
    (check if arguments.check else write)(files)


if __name__ == "__main__":
    try:
        main()
    except Fault as fault:
        sys.exit(f"generate.py: {fault}")
