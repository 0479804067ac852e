#!/usr/bin/env python3
"""Builds the images of images.json as OCI layouts, without Docker: packages by mmdebstrap, layouts by umoci.

    build.py [--from FOLDER] [--to FOLDER] [--mirror URL] [--snapshot TIME] [NAME ...]

Takes what `make dist` left in dist/ (--from) and writes dist/images/NAME (an OCI layout, tag: the version), NAME.cdx.json (what is in it) and
DIGESTS (digest, size of the compressed layers in bytes, name). The same commit and the same Debian packages give the same digests:
every time in an image is that of the commit. --snapshot takes the packages of another day, from Debian's archive of all of them;
without the options DEBIAN_MIRROR and DEBIAN_SNAPSHOT of the environment are taken.

Exit: 0 done, 1 with one sentence that says what is missing. Standard library only.
"""

import argparse
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import bom

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
TOOLS = {"mmdebstrap": "mmdebstrap", "mmtarfilter": "mmdebstrap", "umoci": "umoci", "dpkg-deb": "dpkg", "apt-get": "apt", "git": "git"}
# Debian's sources by release. `{day}` is empty, or of --snapshot.
SOURCES = [
    "deb {mirror}/debian{day} {release} main",
    "deb {mirror}/debian{day} {release}-updates main",
    "deb {mirror}/debian-security{day} {release}-security main",
]
MIRROR, ARCHIVE = "http://deb.debian.org", "http://snapshot.debian.org/archive"
NETWORK_TIMEOUT_S = 600


class Missing(Exception):
    """What the build cannot go on without, as one sentence."""


def run(arguments, **more):
    done = subprocess.run(list(map(str, arguments)), capture_output=True, check=False, timeout=NETWORK_TIMEOUT_S, **more)
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines() or ["no reason given"]
        told = [line for line in lines if line.startswith(("E:", "Err:"))] or lines
        raise Missing(f"{arguments[0]} failed: {told[0].strip()}")
    return done.stdout


def definitions():
    """images.json, with the layers that several images share in their places."""
    known = json.loads((HERE / "images.json").read_text())
    for image in known["images"].values():
        image["layers"] = [known["layers"][layer] if isinstance(layer, str) else layer for layer in image["layers"]]
    return known


def version():
    """Of the workspace."""
    script = r'/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p'
    return run(["sed", "-n", script, ROOT / "Cargo.toml"]).decode().strip()


class Builder:
    """One run: where things come from, and the layers that were made already."""

    def __init__(self, known, arguments):
        self.known, self.dist, self.to = known, arguments.dist.resolve(), arguments.to.resolve()
        self.mirror = (arguments.mirror or (ARCHIVE if arguments.snapshot else MIRROR)).rstrip("/")
        self.day = f"/{arguments.snapshot}" if arguments.snapshot else ""
        self.version = version()
        self.commit, seconds = run(["git", "-C", ROOT, "log", "-1", "--format=%H %ct"]).decode().split()
        self.epoch = int(seconds)
        self.created = run(["date", "-u", "-d", f"@{self.epoch}", "+%Y-%m-%dT%H:%M:%SZ"]).decode().strip()
        self.architecture = run(["dpkg", "--print-architecture"]).decode().strip()
        self.made = {}

    def source(self, name):
        """The file that stands for `{name}` in images.json."""
        if not name.startswith("{"):
            return ROOT / name
        if name == "{envoy}":
            own = run(["sed", "-n", "s/^OWN_VERSION=//p", ROOT / "envoy/install.sh"]).decode().strip()
            path = Path(os.environ.get("ENVOY_BIN") or ROOT / f".envoy/envoy-{own}").resolve()
            return existing(path, "Envoy", "make deps")
        pattern = {
            "{control-plane}": f"api-optimizer-control-plane-{self.version}-*-linux-gnu",
            "{filter}": f"api-optimizer-filter-{self.version}.wasm",
            "{module}": f"api-optimizer-filter-{self.version}-*.so",
        }[name]
        found = sorted(self.dist.glob(pattern))
        return existing(found[0] if found else self.dist / pattern, "release build", "make dist")

    def debian(self, layer):
        """The uncompressed layer of Debian packages, without what is not named to be kept, or named to be dropped."""
        release = layer["debian"]
        sources = [line.format(mirror=self.mirror, day=self.day, release=release) for line in SOURCES]
        environment = {
            **os.environ,
            "SOURCE_DATE_EPOCH": str(self.epoch),
            "PACKAGES": " ".join(layer["packages"]),
            "DEPENDENCIES": "yes" if layer.get("dependencies") else "",
            "WITHOUT": " ".join(layer.get("without", [])),
        }
        hook = f'"{HERE}/unpack-packages" "$1"'
        # What was signed for a day in the past is past its time.
        old = ['--aptopt=Acquire::Check-Valid-Until "false"'] if self.day else []
        arguments = ["mmdebstrap", "--quiet", "--variant=custom", f"--customize-hook={hook}", *old, "--format=tar", release, "-", *sources]
        try:
            whole = run(arguments, env=environment, stdin=subprocess.DEVNULL)
        except (Missing, subprocess.TimeoutExpired) as error:
            raise Missing(f"Debian's packages could not be had from {self.mirror}; is there a network? ({error})") from error
        rules = [f"--path-exclude={pattern}" for pattern in layer.get("drop") or ["/*"]]
        rules += [f"--path-include={pattern}" for pattern in [*layer["keep"], *self.known["always"]]]
        return run(["mmtarfilter", *rules], input=whole)

    def files(self, layer):
        """The uncompressed layer of files of ours, in order of their names."""
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as archive:
            for target, told in sorted(layer["files"].items()):
                for path, file, mode in self.entries(target, told):
                    self.add(archive, path, file, mode, told)
        return out.getvalue()

    def entries(self, target, told):
        """(path in the image, file or None, mode) of one line of images.json."""
        if told.get("link") or told.get("folder"):
            yield target, None, 0o755
        elif told["from"] == "{notices}":
            yield target, None, 0o755
            for name in ("LICENSE", "NOTICE", "THIRD-PARTY-NOTICES.txt"):
                yield f"{target}/{name}", existing(self.dist / name, "release build", "make dist"), 0o644
        elif (ROOT / told["from"]).is_dir():
            listed = run(["git", "-C", ROOT, "ls-files", "-z", told["from"]]).decode().split("\0")
            files = [Path(name) for name in sorted(listed) if name and (ROOT / name).is_file()]
            folders = {parent for file in files for parent in file.parents if parent.is_relative_to(told["from"])}
            for path in sorted(folders | set(files)):
                inside = f"{target}/{path.relative_to(told['from'])}".removesuffix("/.")
                executable = path in files and os.access(ROOT / path, os.X_OK)
                yield inside, None if path in folders else ROOT / path, 0o755 if executable or path in folders else 0o644
        else:
            yield target, self.source(told["from"]), int(told.get("mode", "0644"), 8)

    def add(self, archive, path, file, mode, told):
        entry = tarfile.TarInfo(path.removeprefix("/"))
        entry.mtime, entry.mode = self.epoch, mode
        entry.uid = entry.gid = self.known["user"]["id"] if told.get("owned") else 0
        if told.get("link"):
            entry.type, entry.linkname, entry.mode = tarfile.SYMTYPE, told["link"], 0o777
            archive.addfile(entry)
        elif file is None:
            entry.type = tarfile.DIRTYPE
            archive.addfile(entry)
        else:
            entry.size = file.stat().st_size
            with file.open("rb") as content:
                archive.addfile(entry, content)

    def accounts(self, image):
        """The first layer's users: nobody but root and ours, and how names are looked up."""
        name, number = self.known["user"]["name"], self.known["user"]["id"]
        home, shell = image.get("home", "/"), image.get("shell", "/usr/sbin/nologin")
        texts = {
            "etc/passwd": f"root:x:0:0:root:/root:/usr/sbin/nologin\n{name}:x:{number}:{number}::{home}:{shell}\n",
            "etc/group": f"root:x:0:\n{name}:x:{number}:\n",
            "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
        }
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as archive:
            for path, text in texts.items():
                entry = tarfile.TarInfo(path)
                entry.mtime, entry.mode, entry.size = self.epoch, 0o644, len(text)
                archive.addfile(entry, io.BytesIO(text.encode()))
        return out.getvalue()

    def layers(self, image):
        """(what it is, its bytes) from the lowest on. A layer that several images have is made once."""
        for layer in image["layers"]:
            key = json.dumps(layer, sort_keys=True)
            if key not in self.made:
                self.made[key] = self.debian(layer) if "debian" in layer else self.files(layer)
            yield f"Debian {layer['debian']}" if "debian" in layer else " ".join(layer["files"]), self.made[key]
        if not image.get("empty"):
            yield "users", self.accounts(image)

    def build(self, name):
        image, layout = self.known["images"][name], self.to / name
        shutil.rmtree(layout, ignore_errors=True)
        tag = f"{layout}:{self.version}"
        run(["umoci", "init", "--layout", layout])
        run(["umoci", "new", "--image", tag])
        contents = []
        with tempfile.NamedTemporaryFile(suffix=".tar") as file:
            for what, content in self.layers(image):
                contents.append(content)
                file.seek(0)
                file.truncate()
                file.write(content)
                file.flush()
                history = [f"--history.created={self.created}", f"--history.created_by={what}"]
                run(["umoci", "raw", "add-layer", "--image", tag, *history, file.name])
        run(["umoci", "config", "--image", tag, "--no-history", *self.config(image)])
        run(["umoci", "gc", "--layout", layout])
        (self.to / f"{name}.cdx.json").write_text(self.bom(name, image, contents))

    def config(self, image):
        labels = {"title": image["title"], "version": self.version, "revision": self.commit, "licenses": "Apache-2.0"}
        yield from (f"--config.label=org.opencontainers.image.{key}={value}" for key, value in labels.items())
        yield from ("--created", self.created, "--architecture", self.architecture, "--os", "linux")
        if image.get("empty"):
            return
        number = self.known["user"]["id"]
        yield f"--config.user={number}:{number}"
        yield from (f"--config.env={key}={value}" for key, value in {"PATH": PATH, **image.get("env", {})}.items())
        yield from (f"--config.exposedports={port}/tcp" for port in image.get("ports", []))
        yield from (f"--config.{key}={word}" for key in ("entrypoint", "cmd") for word in image.get(key, []))
        yield f"--config.workingdir={image.get('workdir', '/')}"

    def bom(self, name, image, contents):
        parts = [part for content in contents for part in bom.debian_packages(content, self.architecture)]
        sources = [told.get("from") for layer in image["layers"] for told in layer.get("files", {}).values()]
        if "{envoy}" in sources:
            banner = run([self.source("{envoy}"), "--version"]).decode()
            parts.append(bom.envoy(banner))
        own = Path(f"{self.source(image['bom'])}.cdx.json") if "bom" in image else None
        return bom.of_image(name, self.version, own, parts)


def existing(path, what, command):
    if not path.is_file():
        raise Missing(f"there is no {what} at {path.relative_to(ROOT) if path.is_relative_to(ROOT) else path}: run '{command}' first")
    return path


def digest_and_size(layout):
    """Of the manifest, as a registry names it, and of everything that is pulled."""
    manifest = json.loads((layout / "index.json").read_text())["manifests"][0]
    body = json.loads((layout / "blobs" / manifest["digest"].replace(":", "/")).read_text())
    return manifest["digest"], sum(layer["size"] for layer in body["layers"])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--from", dest="dist", type=Path, default=ROOT / "dist", metavar="FOLDER")
    parser.add_argument("--to", type=Path, default=ROOT / "dist/images", metavar="FOLDER")
    parser.add_argument("--mirror", default=os.environ.get("DEBIAN_MIRROR"), metavar="URL")
    parser.add_argument("--snapshot", default=os.environ.get("DEBIAN_SNAPSHOT"), metavar="TIME", help="such as 20261130T000000Z")
    parser.add_argument("names", nargs="*", metavar="NAME")
    arguments = parser.parse_args()
    known = definitions()
    for tool, package in TOOLS.items():
        if not shutil.which(tool):
            raise Missing(f"{tool} is missing: install it (Debian: apt-get install {package})")
    for name in arguments.names:
        if name not in known["images"]:
            raise Missing(f"there is no image {name}; there are {', '.join(known['images'])}")
    builder = Builder(known, arguments)
    arguments.to.mkdir(parents=True, exist_ok=True)
    for name in arguments.names or known["images"]:
        builder.build(name)
    lines = []
    for name in known["images"]:
        if (arguments.to / name / "index.json").is_file():
            digest, size = digest_and_size(arguments.to / name)
            lines.append(f"{digest} {size:>10} {name}:{builder.version}\n")
    (arguments.to / "DIGESTS").write_text("".join(lines))
    print("".join(lines), end="")


if __name__ == "__main__":
    try:
        main()
    except (Missing, OSError, subprocess.TimeoutExpired) as error:
        sys.exit(f"build.py: {error}")
