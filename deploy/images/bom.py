"""CycloneDX: what is in an image, from the SBOM of our own program and the packages that its layers name.

    bom.py tidy FILE   takes the folder of the build, and whatever else differs from one build to the next, out of an SBOM
"""

import email.parser
import io
import json
import re
import sys
import tarfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
STATUS = "var/lib/dpkg/status.d/"


def debian_packages(layer, architecture):
    """The components that a layer's status files name."""
    with tarfile.open(fileobj=io.BytesIO(layer)) as archive:
        for entry in archive:
            path = entry.name.removeprefix("./")
            if not path.startswith(STATUS) or not entry.isfile():
                continue
            fields = email.parser.Parser().parsestr(archive.extractfile(entry).read().decode(), headersonly=True)
            name, version = fields["Package"], fields["Version"]
            locator = f"pkg:deb/debian/{name}@{version.replace(':', '%3A').replace('+', '%2B')}?arch={fields['Architecture'] or architecture}"
            yield {"type": "library", "bom-ref": locator, "name": name, "version": version, "purl": locator}


def envoy(banner):
    """Envoy itself, by what `envoy --version` says: commit/version/…"""
    commit, version = re.search(r"version: ([0-9a-f]+)/([0-9.]+)/", banner).groups()
    locator = f"pkg:github/envoyproxy/envoy@v{version}"
    licence = [{"license": {"id": "Apache-2.0"}}]
    properties = [{"name": "commit", "value": commit}]
    return {"type": "application", "bom-ref": locator, "name": "envoy", "version": version, "purl": locator, "licenses": licence, "properties": properties}


def of_image(name, version, own, parts):
    """The SBOM of an image; `own` is that of our program, which becomes one of its components with all of its own below."""
    reference = f"{name}@{version}"
    body = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": {"type": "container", "bom-ref": reference, "name": name, "version": version}},
        "components": list({part["bom-ref"]: part for part in parts}.values()),
        "dependencies": [],
    }
    below = [part["bom-ref"] for part in body["components"]]
    if own and own.is_file():
        program = json.loads(own.read_text())
        body["components"] += [program["metadata"]["component"], *program["components"]]
        body["dependencies"] = program["dependencies"]
        below.append(program["metadata"]["component"]["bom-ref"])
    body["dependencies"] = [{"ref": reference, "dependsOn": below}, *body["dependencies"]]
    return json.dumps(body, indent=2) + "\n"


def tidy(path):
    """Without the folder that was built in, the number of the document and its time: the same commit gives the same SBOM."""
    text = path.read_text().replace(f"path+file://{ROOT}/", "").replace(f"path+file://{ROOT}", "workspace")
    body = json.loads(text)
    body.pop("serialNumber", None)
    body["metadata"].pop("timestamp", None)
    text = json.dumps(body, indent=2) + "\n"
    if str(ROOT) in text:
        sys.exit(f"bom.py: {path} still names the folder of the build")
    path.write_text(text)


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] != "tidy":
        sys.exit("usage: bom.py tidy FILE")
    tidy(Path(sys.argv[2]))
