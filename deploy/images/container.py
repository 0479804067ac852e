"""An image run as its manifest has it run: unpacked by umoci, started by runc; user, environment, volumes and rights of the pod.

Of a volume only its kind counts: an emptyDir or a claim is a folder of the test, a Secret or ConfigMap such a folder, read-only. The
network is the machine's own, so ports and hosts are overridden.
"""

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

try:
    import yaml
except ImportError:
    sys.exit("container.py: python3 has no yaml: install it (Debian: apt-get install python3-yaml)")

DEPLOY = Path(__file__).resolve().parent.parent
# For a start on a busy machine; nothing is judged by it.
PATIENCE_S = 60


def unavailable():
    """Why no image can be run here, as one sentence, or None."""
    for tool in ("umoci", "runc"):
        if not shutil.which(tool):
            return f"{tool} is missing (Debian: apt-get install {tool})"
    if os.geteuid():
        return "runc gives a container a user of its own only when root starts it"
    return None


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def until(what, condition):
    """Waits for a condition, and gives what it returned."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.01)
    raise AssertionError(f"{what}: not within {PATIENCE_S} s")


def ask(port, path, method="GET", body=None, **fields):
    """(status, fields, content), or None where nobody answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    try:
        connection.request(method, path, body, fields)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def pod_of(file, kind="Deployment"):
    """The pod's template in a manifest, and its only container."""
    bodies = yaml.safe_load_all((DEPLOY / file).read_text())
    pod = next(body for body in bodies if body["kind"] == kind)["spec"]["template"]["spec"]
    return pod, pod["containers"][0]


class Container:
    """A running container. `secrets` are what the volumes from Secrets hold; `folders` keeps the others by name."""

    home, images = tempfile.TemporaryDirectory(prefix="images-"), {}

    def __init__(self, image, name, file, scratch, overrides, secrets=None, command=None):
        self.name, self.pod, self.told = name, *pod_of(file)
        self.state, self.folders = scratch / "runc", scratch / "volumes"
        bundle = scratch / name
        unpacked = self.unpacked(image)
        bundle.mkdir(exist_ok=True)
        self.environment = {item["name"]: item.get("value", name) for item in self.told.get("env", [])} | overrides
        self.configure(unpacked, bundle, secrets or {}, command)
        self.log = (scratch / f"{name}.log").open("wb")
        self.began = time.monotonic()
        self.process = subprocess.Popen(
            ["runc", "--root", self.state, "run", "--bundle", bundle, name], stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log
        )

    @classmethod
    def unpacked(cls, image):
        """The folder of an image, unpacked once: nobody can write into it."""
        if image not in cls.images:
            folder = Path(cls.home.name) / Path(image).name.replace(":", "-")
            subprocess.run(["umoci", "unpack", "--image", image, folder], check=True, capture_output=True)
            cls.images[image] = folder
        return cls.images[image]

    def configure(self, unpacked, bundle, secrets, command):
        config = json.loads((unpacked / "config.json").read_text())
        config["root"]["path"] = str(unpacked / "rootfs")
        process, context = config["process"], self.told["securityContext"]
        process["terminal"] = False
        self.entrypoint = process["args"]
        process["args"] = command or process["args"]
        given = dict(line.split("=", 1) for line in process["env"]) | self.environment
        process["env"] = [f"{name}={value}" for name, value in given.items()]
        process["noNewPrivileges"] = not context["allowPrivilegeEscalation"]
        if context["capabilities"] != {"drop": ["ALL"]}:
            raise AssertionError(f"{self.name}: the manifest leaves capabilities")
        process["capabilities"] = {}
        process.pop("rlimits", None)
        self.user = process["user"]["uid"]
        config["root"]["readonly"] = context["readOnlyRootFilesystem"]
        config["linux"]["namespaces"] = [space for space in config["linux"]["namespaces"] if space["type"] != "network"]
        group = self.pod["securityContext"]["fsGroup"]
        process["user"]["additionalGids"] = [group]
        kinds = {volume["name"]: volume for volume in self.pod["volumes"]}
        for mount in self.told["volumeMounts"]:
            volume, folder = kinds[mount["name"]], self.folders / f"{self.name}-{mount['name']}"
            folder.mkdir(parents=True, exist_ok=True)
            if "secret" in volume:
                items = volume["secret"].get("items") or [{"key": key, "path": key} for key in secrets]
                for item in items:
                    self.give(folder / item["path"], secrets[item["key"]], group)
            os.chown(folder, 0, group)
            folder.chmod(0o2770)
            options = ["rbind", "ro" if mount.get("readOnly") else "rw"]
            config["mounts"].append({"destination": mount["mountPath"], "type": "bind", "source": str(folder), "options": options})
        (bundle / "config.json").write_text(json.dumps(config))

    @staticmethod
    def give(path, text, group):
        path.write_text(text)
        os.chown(path, 0, group)
        path.chmod(0o440)

    def probe(self, name, ports):
        """The status of one of the manifest's probes; `ports` by the names of the container's ports."""
        told = self.told[f"{name}Probe"]["httpGet"]
        answer = ask(ports[told["port"]], told["path"])
        return answer and answer[0]

    def ready(self, ports):
        """Waits for the readiness probe; gives the seconds since the start of the runtime."""

        def good():
            if self.process.poll() is not None:
                raise AssertionError(f"{self.name} ended with {self.process.returncode}: {self.tail()}")
            return self.probe("readiness", ports) == 200

        until(f"{self.name} ready: {self.tail()}", good)
        return self.age()

    def age(self):
        """Seconds since the start of the runtime."""
        return time.monotonic() - self.began

    def execute(self, *command):
        """What `kubectl exec` does."""
        return subprocess.run(["runc", "--root", self.state, "exec", self.name, *command], capture_output=True, text=True, check=False, timeout=PATIENCE_S)

    def rights(self):
        """(uid, effective capabilities, whether the root is read-only) of the first process."""
        number = json.loads(subprocess.run(["runc", "--root", self.state, "state", self.name], capture_output=True, check=True).stdout)["pid"]
        status = dict(line.split(":\t", 1) for line in Path(f"/proc/{number}/status").read_text().splitlines() if ":\t" in line)
        mounts = [line.split() for line in Path(f"/proc/{number}/mountinfo").read_text().splitlines()]
        root = next(words for words in mounts if words[4] == "/")
        return int(status["Uid"].split()[0]), int(status["CapEff"], 16), "ro" in root[5].split(",")

    def terminate(self):
        subprocess.run(["runc", "--root", self.state, "kill", self.name, "TERM"], check=True, capture_output=True)

    def ended(self):
        return self.process.wait(PATIENCE_S)

    def tail(self):
        return Path(self.log.name).read_text(errors="replace")[-600:]

    def close(self):
        if self.process.poll() is None:
            subprocess.run(["runc", "--root", self.state, "kill", self.name, "KILL"], check=False, capture_output=True)
            try:
                self.process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                self.process.send_signal(signal.SIGKILL)
        subprocess.run(["runc", "--root", self.state, "delete", "--force", self.name], check=False, capture_output=True)
        self.log.close()
