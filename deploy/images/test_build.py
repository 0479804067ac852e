"""What build.py says where something is missing: one sentence, and exit 1."""

import os
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import bom
import build

HAVE_TOOLS = all(shutil.which(tool) for tool in build.TOOLS)


def said(*arguments, path=None):
    """(exit status, what it wrote to its error output)."""
    environment = {**os.environ, "PATH": path or os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, build.__file__, *map(str, arguments)], env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


class Missing(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def refused(self, sentence, *arguments, path=None):
        status, text = said("--to", self.folder / "images", *arguments, path=path)
        self.assertEqual((status, text.count("\n")), (1, 1), text)
        self.assertIn(sentence, text)

    def test_a_tool(self):
        # Only what comes before it is there.
        for number, tool in enumerate(build.TOOLS):
            here = self.folder / str(number)
            here.mkdir()
            for before in list(build.TOOLS)[:number]:
                (here / before).touch(0o755)
            self.refused(f"{tool} is missing: install it (Debian: apt-get install {build.TOOLS[tool]})", path=str(here))

    @unittest.skipUnless(HAVE_TOOLS, "mmdebstrap or umoci is not installed")
    def test_a_release_build(self):
        self.refused("there is no release build at", "--from", self.folder, "filter")
        self.refused("run 'make dist' first", "--from", self.folder, "filter")

    @unittest.skipUnless(HAVE_TOOLS, "mmdebstrap or umoci is not installed")
    def test_a_network(self):
        # Nobody listens there.
        self.refused("Debian's packages could not be had from http://127.0.0.1:9; is there a network?", "--mirror", "http://127.0.0.1:9", "ops")

    @unittest.skipUnless(HAVE_TOOLS, "mmdebstrap or umoci is not installed")
    def test_an_image(self):
        self.refused("there is no image redis; there are control-plane, envoy, envoy-native, ops, filter", "redis")


class Boms(unittest.TestCase):
    def test_two_folders_give_one_document(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "bom.json")
            path.write_text('{"serialNumber": "urn:uuid:1", "metadata": {"timestamp": "now"}, "x": "path+file://%s/filter#1"}' % build.ROOT)
            bom.tidy(path)
            self.assertEqual(path.read_text(), '{\n  "metadata": {},\n  "x": "filter#1"\n}\n')
            path.write_text('{"metadata": {}, "x": "%s"}' % build.ROOT)
            with self.assertRaises(SystemExit):
                bom.tidy(path)


if __name__ == "__main__":
    unittest.main()
