#!/usr/bin/env python3
"""Runs every image of dist/images as its manifest has it run: another user than root, a read-only root, no rights; probes, drain, state.

    test_images.py            exit 0: all good, or skipped, with one sentence that says why
    test_images.py --why      says why nothing would be run, and exits 1 then
    IMAGES=FOLDER             other layouts than those in dist/images
    IMAGES_AGAIN=true         builds them once more as well, and compares the digests (needs the network, a minute and a half)

Prints how long each took from the start of the runtime to the first good probe. Nothing is judged by that.
"""

import gzip
import http.server
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import threading
import unittest
from pathlib import Path

import build
import container

LAYOUTS = Path(os.environ.get("IMAGES") or build.ROOT / "dist/images")
KNOWN = build.definitions()
VERSION = build.version()
TOKEN = "0123456789abcdef-operator"
SECRETS = {
    "auth-tokens": json.dumps([{"name": "ops", "role": "admin", "token": TOKEN}]),
    "envoy-token": "0123456789abcdef-envoy",
    "netrc": f"machine 127.0.0.1 login ops password {TOKEN}\n",
}
SHOWN = {"Authorization": f"Bearer {TOKEN}"}


def image(name):
    return f"{LAYOUTS / name}:{VERSION}"


def blob(layout, digest):
    return (layout / "blobs" / digest.replace(":", "/")).read_bytes()


def manifest_and_config(name):
    layout = LAYOUTS / name
    manifest = json.loads(blob(layout, json.loads((layout / "index.json").read_text())["manifests"][0]["digest"]))
    return manifest, json.loads(blob(layout, manifest["config"]["digest"]))


class Origin(http.server.ThreadingHTTPServer):
    """Counts requests. What is below /held waits until it is released, and is not stored."""

    daemon_threads = True

    def __init__(self):
        self.requests, self.released = [], threading.Event()
        super().__init__(("127.0.0.1", 0), Answers)
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Answers(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.requests.append(self.path)
        held = self.path.startswith("/held")
        if held:
            self.server.released.wait(container.PATIENCE_S)
        self.send_response(200)
        self.send_header("Cache-Control", "no-store" if held else "max-age=600")
        self.send_header("Content-Length", "7")
        self.end_headers()
        self.wfile.write(b"content")

    def log_message(self, *_):
        pass


class Running(unittest.TestCase):
    """Starts containers, and ends them whatever happens."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="images-")
        self.addCleanup(folder.cleanup)
        self.scratch = Path(folder.name)
        self.scratch.chmod(0o755)

    def start(self, what, name, file, overrides, **more):
        started = container.Container(image(what), name, file, self.scratch, overrides, SECRETS, **more)
        self.addCleanup(started.close)
        return started

    def control_plane(self):
        ports = {"rest": container.free_port(), "grpc": container.free_port()}
        overrides = {"REST_PORT": str(ports["rest"]), "GRPC_PORT": str(ports["grpc"])}
        return self.start("control-plane", "control", "kustomize/base/control-plane.yaml", overrides), ports

    def envoy(self, what, name, control, origin):
        ports = {"http": container.free_port(), "observe": container.free_port()}
        overrides = {
            "LISTEN_PORT": str(ports["http"]),
            "OBSERVE_PORT": str(ports["observe"]),
            "ADMIN_PORT": str(container.free_port()),
            "CONTROL_HOST": "127.0.0.1",
            "GRPC_PORT": str(control["grpc"]),
            "ORIGIN_HOST": "127.0.0.1",
            "ORIGIN_PORT": str(origin.server_port),
            "DRAIN_SECONDS": "1",
            "DRAIN_LIMIT": str(container.PATIENCE_S),
        }
        return self.start(what, name, "kustomize/base/data-plane.yaml", overrides), ports

    def judge(self, running, ports, what):
        """Whether it came up as a pod must; says how soon."""
        seconds = running.ready(ports)
        print(f"{what}: ready {seconds:.2f} s after the start of the runtime", flush=True)
        self.assertEqual([running.probe(probe, ports) for probe in ("startup", "readiness", "liveness")], [200, 200, 200])
        wanted = running.pod["securityContext"]["runAsUser"]
        self.assertEqual(running.user, wanted, "the image's user is not the manifest's")
        self.assertEqual(running.rights(), (wanted, 0, True))


class Images(Running):
    def test_the_control_plane_keeps_its_state_over_a_restart(self):
        control, ports = self.control_plane()
        self.judge(control, ports, "control-plane")
        self.assertEqual(container.ask(ports["rest"], "/settings")[0], 401)
        patch = json.dumps({"default_ttl": "7m"})
        self.assertEqual(container.ask(ports["rest"], "/settings", "PATCH", patch, **SHOWN)[0], 200)
        # The hook before the end, with a shorter wait.
        hook = control.told["lifecycle"]["preStop"]["exec"]["command"]
        self.assertEqual(control.execute(hook[0], "0").returncode, 0, hook)
        control.terminate()
        self.assertEqual(control.ended(), 0, control.tail())
        control.close()
        again, ports = self.control_plane()
        again.ready(ports)
        settings = json.loads(container.ask(ports["rest"], "/settings", **SHOWN)[2])
        self.assertEqual(settings["default_ttl"], "7m")

    def test_the_control_plane_trusts_public_authorities_and_finds_hosts(self):
        manifest, _ = manifest_and_config("control-plane")
        names = [entry for layer in manifest["layers"] for entry in entries("control-plane", layer)]
        self.assertIn("etc/ssl/certs/ca-certificates.crt", names)
        self.assertEqual([name for name in names if name.endswith(("/bash", "/dash", "/sh", "/busybox", "/apt", "/dpkg"))], [])

    def with_envoy(self, what):
        origin = Origin()
        self.addCleanup(origin.server_close)
        self.addCleanup(origin.shutdown)
        control, control_ports = self.control_plane()
        control.ready(control_ports)
        envoy, ports = self.envoy(what, "first", control_ports, origin)
        self.judge(envoy, ports, what)
        rest = control_ports["rest"]
        container.until("the control plane knows the Envoy", lambda: connected(rest, "first"))
        self.assertEqual(container.ask(ports["http"], "/page")[2], b"content")
        container.until("a hit", lambda: "hit" in container.ask(ports["http"], "/page")[1].get("cache-status", ""))
        status, _, snapshot = container.ask(rest, "/cache/snapshot", "POST", **SHOWN)
        self.assertEqual(status, 200, snapshot)
        # A request in flight ends before Envoy does, though the signal came.
        held = []
        client = threading.Thread(target=lambda: held.append(container.ask(ports["http"], "/held")))
        client.start()
        container.until("the request in flight", lambda: "/held" in origin.requests)
        envoy.terminate()
        container.until("readiness gone", lambda: envoy.probe("readiness", ports) != 200)
        self.assertEqual(envoy.probe("liveness", ports), 200)
        container.until("no new connection taken", lambda: container.ask(ports["http"], "/page") is None)
        # Only what is in flight keeps it now.
        self.assertIsNone(envoy.process.poll(), envoy.tail())
        origin.released.set()
        client.join(container.PATIENCE_S)
        self.assertEqual(held[0] and held[0][0], 200, envoy.tail())
        self.assertEqual(envoy.ended(), 0, envoy.tail())
        envoy.close()
        # Another pod starts cold, and gets back what was stored.
        origin.requests.clear()
        second, ports = self.envoy(what, "second", control_ports, origin)
        second.ready(ports)
        container.until("the control plane knows the second Envoy", lambda: connected(rest, "second"))
        status, _, told = container.ask(rest, "/cache/restore", "POST", snapshot, **{"Content-Type": "application/json"}, **SHOWN)
        self.assertEqual(status, 200, told)
        restored = container.ask(ports["http"], "/page", Host=f"127.0.0.1:{first_port(snapshot)}")
        self.assertIn("hit", restored[1].get("cache-status", ""), (restored, told))
        self.assertEqual(origin.requests, [])
        # The hook of the manifest, with a shorter wait, and the rotation of logs that the runbook asks for.
        self.assertEqual(second.execute("logrotate", "/etc/logrotate.conf").returncode, 0)
        hook = second.told["lifecycle"]["preStop"]["exec"]["command"]
        self.assertEqual(second.execute(hook[0], "0").returncode, 0, hook)
        second.terminate()
        self.assertEqual(second.ended(), 0, second.tail())

    def test_envoy_with_the_wasm_filter(self):
        self.with_envoy("envoy")

    def test_envoy_with_the_dynamic_module(self):
        self.with_envoy("envoy-native")

    def test_envoy_says_in_a_sentence_what_is_missing(self):
        bad = self.start("envoy", "bad", "kustomize/base/data-plane.yaml", {"ORIGIN_HOST": ""})
        self.assertEqual(bad.ended(), 2)
        self.assertIn("start-envoy: ORIGIN_HOST is not set", bad.tail())

    def test_ops_has_what_the_runbook_needs(self):
        control, ports = self.control_plane()
        control.ready(ports)
        ops = self.start("ops", "ops", "options/ops-pod.yaml", {"API_OPTIMIZER_URL": f"http://127.0.0.1:{ports['rest']}"})
        container.until("a shell", lambda: ops.execute("bash", "-c", "true").returncode == 0)
        print(f"ops: a shell {ops.age():.2f} s after the start of the runtime", flush=True)
        self.assertEqual(ops.rights(), (ops.pod["securityContext"]["runAsUser"], 0, True))
        for command in (
            # The token comes by the netrc file that the image's .curlrc names.
            'curl -fsS "$API_OPTIMIZER_URL/settings" | jq -e .default_ttl',
            "kubectl version --client",
            "for script in ./scripts/[!l]*.sh; do $script --help >/dev/null || { echo $script; exit 1; }; done",
            "python3 -c 'import json, ssl, sqlite3, urllib.request, zlib'",
            "./generate.py --check",
            "echo '1 + 1' | bc | grep -q 2 && date -d @0 && timeout 1 true && mktemp && find . -name generate.py | xargs sha256sum",
            "touch backups/new && ! touch /opt/api-optimizer/deploy/README.md 2>/dev/null",
        ):
            done = ops.execute("bash", "-euc", command)
            self.assertEqual(done.returncode, 0, (command, done.stdout, done.stderr))


class Layouts(unittest.TestCase):
    def test_configurations_are_those_of_images_json(self):
        user = f"{KNOWN['user']['id']}:{KNOWN['user']['id']}"
        for name, told in KNOWN["images"].items():
            config = manifest_and_config(name)[1]["config"]
            empty = bool(told.get("empty"))
            wanted = {
                "User": None if empty else user,
                "Entrypoint": told.get("entrypoint"),
                "Cmd": told.get("cmd"),
                "ExposedPorts": {f"{port}/tcp" for port in told.get("ports", [])} or None,
                "Env": None if empty else {f"{key}={value}" for key, value in {"PATH": build.PATH, **told.get("env", {})}.items()},
                "WorkingDir": None if empty else told.get("workdir", "/"),
            }
            got = {key: config.get(key) or None for key in wanted}
            got |= {key: set(got[key]) for key in ("ExposedPorts", "Env") if got[key]}
            self.assertEqual(got, wanted, name)

    def test_the_filter_is_what_istio_and_envoy_gateway_unpack(self):
        """One layer of OCI's own type with plugin.wasm: their "compat" variant."""
        manifest, _ = manifest_and_config("filter")
        self.assertEqual([layer["mediaType"] for layer in manifest["layers"]], ["application/vnd.oci.image.layer.v1.tar+gzip"])
        with tarfile.open(fileobj=io.BytesIO(gzip.decompress(blob(LAYOUTS / "filter", manifest["layers"][0]["digest"])))) as layer:
            content = layer.extractfile("plugin.wasm").read()
        self.assertEqual(content[:8], b"\0asm\1\0\0\0")
        built = build.ROOT / "dist" / f"api-optimizer-filter-{VERSION}.wasm"
        self.assertEqual(content, built.read_bytes())

    def test_boms_name_what_is_inside(self):
        for name in KNOWN["images"]:
            text = (LAYOUTS / f"{name}.cdx.json").read_text()
            self.assertNotIn(str(build.ROOT), text)
            names = {part["name"] for part in json.loads(text)["components"]}
            manifest, _ = manifest_and_config(name)
            packages = {entry.rsplit("/", 1)[1] for layer in manifest["layers"] for entry in entries(name, layer) if "status.d/" in entry}
            self.assertEqual({package for package in packages if package} - names, set(), name)

    @unittest.skipUnless(os.environ.get("IMAGES_AGAIN") == "true", "IMAGES_AGAIN=true builds them once more")
    def test_another_build_gives_the_same_digests(self):
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run([sys.executable, Path(build.__file__), "--to", folder], check=True, stdout=subprocess.DEVNULL)
            self.assertEqual(Path(folder, "DIGESTS").read_text(), (LAYOUTS / "DIGESTS").read_text())


def entries(name, layer):
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(blob(LAYOUTS / name, layer["digest"])))) as archive:
        return [entry.name.removeprefix("./") for entry in archive if not entry.isdir()]


def connected(rest, name):
    """Whether the control plane has the stream of that Envoy."""
    envoys = json.loads(container.ask(rest, "/fleet", **SHOWN)[2])
    return any(envoy["node_id"] == name and envoy["connected"] for envoy in envoys)


def first_port(snapshot):
    """Of the host in the snapshot's only entry: keys hold it, so the second Envoy must be asked for the same."""
    text = snapshot.decode()
    start = text.index("http://127.0.0.1:") + len("http://127.0.0.1:")
    return text[start : text.index("/", start)]


def why_not():
    """Why no image can be run, as one sentence, or None."""
    if not (LAYOUTS / "DIGESTS").is_file():
        return f"there are none in {LAYOUTS} ('make images' builds them)"
    return container.unavailable()


def main():
    why = why_not()
    if sys.argv[1:] == ["--why"]:
        print(why or "")
        sys.exit(bool(why))
    if why:
        print(f"skipped: {why}")
        return
    print((LAYOUTS / "DIGESTS").read_text(), end="")
    unittest.main(argv=["test_images.py"], verbosity=1)


if __name__ == "__main__":
    main()
