"""Fetches and unpacks one wheel where neither venv nor pip exist: fetch_wheel.py PROJECT VERSION DIRECTORY.

Reads the index as pip does (PEP 503; PIP_INDEX_URL names another one) and checks the file's SHA-256.
"""

import hashlib
import html.parser
import os
import platform
import re
import sys
import tempfile
import urllib.parse
import urllib.request
import zipfile

INDEX = os.environ.get("PIP_INDEX_URL", "https://pypi.org/simple").rstrip("/")
TIMEOUT_S = 60


class Links(html.parser.HTMLParser):
    """Collects the addresses on an index page."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        address = dict(attrs).get("href")
        if tag == "a" and address:
            self.found.append(address)


def wheel_address(project, version):
    page = f"{INDEX}/{project}/"
    with urllib.request.urlopen(page, timeout=TIMEOUT_S) as answer:
        parser = Links()
        parser.feed(answer.read().decode())
    stem = f"{re.sub('[-_.]+', '_', project)}-{version}-"
    for address in parser.found:
        name = urllib.parse.urlsplit(address).path.rsplit("/", 1)[-1]
        fits = "linux" in name and platform.machine() in name
        if name.startswith(stem) and name.endswith(".whl") and fits:
            return urllib.parse.urljoin(page, address)
    raise LookupError(f"{page} lists no wheel {stem}*{platform.machine()}.whl")


def download(address, file):
    bare, _, fragment = address.partition("#")
    digest = hashlib.sha256()
    with urllib.request.urlopen(bare, timeout=TIMEOUT_S) as answer:
        while chunk := answer.read(1 << 20):
            digest.update(chunk)
            file.write(chunk)
    file.flush()
    if fragment != f"sha256={digest.hexdigest()}":
        raise ValueError(f"{bare} does not have the checksum that the index gives")


def main(project, version, directory):
    with tempfile.NamedTemporaryFile(suffix=".whl") as file:
        download(wheel_address(project, version), file)
        with zipfile.ZipFile(file.name) as wheel:
            wheel.extractall(directory)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except (OSError, LookupError, ValueError, TypeError) as error:
        sys.exit(f"fetch_wheel: {error}")
