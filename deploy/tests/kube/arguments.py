"""kubectl's command line, as far as it is used here."""

from .store import Refusal

WITH_VALUE = {
    "-n": "namespace", "--namespace": "namespace", "-l": "selector", "--selector": "selector", "-o": "output", "--output": "output",
    "-f": "file", "--filename": "file", "-p": "patch", "--patch": "patch", "--type": "type", "--replicas": "replicas",
    "--tail": "tail", "--since": "since", "--timeout": "timeout", "--request-timeout": "request_timeout", "--raw": "raw",
    "--field-selector": "field_selector", "--max-log-requests": "max_log_requests", "-c": "container", "--container": "container",
    "--context": "context", "--kubeconfig": "kubeconfig", "--for": "for_", "--revision": "revision", "--field-manager": "field_manager",
}  # fmt: skip
FLAGS = {
    "-i": "stdin", "-t": "tty", "-it": "tty", "-ti": "tty", "--previous": "previous", "--all-containers": "all_containers",
    "--prefix": "prefix", "--timestamps": "timestamps", "--local": "local", "--no-headers": "no_headers", "--overwrite": "overwrite",
    "--follow": "follow", "-A": "all_namespaces", "--all-namespaces": "all_namespaces", "--server-side": "server_side", "--client": "client",
    "--show-labels": "show_labels", "--ignore-not-found": "ignore_not_found",
}  # fmt: skip


class Arguments:
    def __init__(self, words):
        self.words = []
        self.files = []
        self.after_dashes = None
        self.values = {}
        self.flags = set()
        self.parse(list(words))

    def parse(self, words):
        while words:
            word = words.pop(0)
            if word == "--":
                self.after_dashes = words
                return
            name, equals, value = word.partition("=")
            if word == "-f" and self.words[:1] == ["logs"]:
                self.flags.add("follow")
            elif name == "--dry-run":
                self.values["dry_run"] = value or "client"
            elif name in WITH_VALUE:
                self.set(name, value if equals else words.pop(0) if words else "")
            elif name in FLAGS and value in ("", "true"):
                self.flags.add(FLAGS[name])
            elif name in FLAGS:
                continue
            elif word.startswith("-") and word != "-":
                raise Refusal(f"error: unknown flag: {word}")
            else:
                self.words.append(word)

    def set(self, name, value):
        key = WITH_VALUE[name]
        if key == "file":
            self.files.append(value)
        else:
            self.values[key] = value

    def get(self, key, default=None):
        return self.values.get(key, default)

    def seconds(self, key, default):
        text = str(self.get(key, default)).removesuffix("s")
        return int(text) if text.isdigit() else default

    @property
    def namespace(self):
        return self.get("namespace", "production")
