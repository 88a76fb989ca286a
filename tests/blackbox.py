"""What the suites beside it share that run a whole gateway: its configuration, the gateway itself, waiting, and the run of their checks."""
import argparse
import http.server
import pathlib
import random
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

# A gateway of one rule, and what that may forward to.
GATEWAY = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: web, namespace: default}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: v, namespace: default}
spec:
  hosts: ["*"]
  gateways: [web]
  http: [RULE]
"""
POOL = """---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: pool, namespace: default}
spec:
  hosts: [pool.internal]
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints: [{address: 127.0.0.1, ports: {http: PORT}}]
"""


class Skip(Exception):
    """A check can't be made here."""


def need(condition, message):
    if not condition:
        raise AssertionError(message)


def listen():
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", 0))
    listener.listen(64)
    return listener


def free_port():
    """A port that nobody listens on. Not one that connections get by themselves: who asks it before anybody listens could be connected
    to itself, and hold it."""
    lowest = int(pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", random.randrange(10_000, lowest if lowest > 20_000 else 60_000)))
                return probe.getsockname()[1]
            except OSError:
                pass


def wait(condition, what, seconds=10):
    """What `condition` yields, when that is something."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        need(time.monotonic() < end, f"not within {seconds} s: {what}")
        time.sleep(0.02)
    return found


class Answering(http.server.BaseHTTPRequestHandler):
    """Answers each GET with what `answer` says."""
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = self.answer()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Gateway:
    """A gateway, or whatever `role` says, with one worker and a folder of its own, until it is left. `files` are those of the
    folder, by name; each of the `ports` of its Gateways is bound on one that is free."""

    def __init__(self, target, files, *ports, flags=(), role="gateway", workers=1):
        self.temporary = tempfile.TemporaryDirectory(prefix="tidegate-")
        self.folder = pathlib.Path(self.temporary.name)
        for name, text in files.items():
            (self.folder / name).write_text(text)
        self.ports, self.admin = {port: free_port() for port in ports}, free_port()
        maps = [word for port, bound in self.ports.items() for word in ("--port-map", f"{port}:{bound}")]
        self.log = tempfile.TemporaryFile()
        self.command = [target, role, "--config", self.folder, "--workers", str(workers), "--access-log", "off",
                        "--admin", f"127.0.0.1:{self.admin}", *maps, *flags]
        self.start()

    def start(self, **options):
        self.process = subprocess.Popen(self.command, stderr=self.log, **options)
        try:
            wait(self.is_ready, "it is ready", 20)
        except AssertionError:
            self.end()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()

    def end(self):
        self.process.kill()
        self.process.wait()
        self.temporary.cleanup()

    def ask_admin(self, path):
        """The text at `path`, or nothing."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}{path}", timeout=5) as answer:
                return answer.read().decode()
        except OSError:
            return None

    def is_ready(self):
        need(self.process.poll() is None, f"the gateway has ended: {self.logged()[-500:]}")
        return self.ask_admin("/ready")

    def version(self):
        found = re.search(r'"version(?:_info)?": ?"([^"]*)"', self.ask_admin("/config_dump") or "")
        return found and found[1]

    def reload(self, name="main.yaml"):
        """Changes a comment in a file, and waits until the gateway has taken note of it."""
        old, file = self.version(), self.folder / name
        file.write_text(re.sub(r"  # .*", "", file.read_text()).rstrip() + f"  # {time.monotonic()}\n")
        wait(lambda: self.is_ready() and self.version() not in (None, old), "the configuration is in force", 20)

    def logged(self):
        self.log.seek(0)
        return self.log.read().decode()


class Checks(list):
    """Checks, in order; a decorator adds one."""

    def __call__(self, function):
        self.append(function)
        return function

    def run(self, doc, setting):
        """Makes each of them in a setting of its own: of the program's path `setting` makes a context manager, whose value the
        check is given. Ends the process after one line of counts."""
        parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
        parser.add_argument("--target", required=True, help="the program")
        parser.add_argument("--only", default="", help="a part of the names of the checks to be made")
        arguments = parser.parse_args()
        target = pathlib.Path(arguments.target).resolve()
        counts = {"passed": 0, "failed": 0, "skipped": 0}
        for function in self:
            if arguments.only not in function.__name__:
                continue
            given, verdict, why = None, "passed", ""
            try:
                with setting(target) as given:
                    try:
                        function(given)
                    except Exception:
                        if isinstance(given, Gateway):
                            why = given.logged()[-3000:]
                        raise
            except Skip as reason:
                verdict, why = "skipped", str(reason)
            except Exception as problem:  # Whatever it is, the others are made.
                verdict, why = "failed", f"{problem!r} {getattr(problem, 'stderr', '') or ''}\n{why}"
            counts[verdict] += 1
            print(f"{verdict:8}{function.__name__.replace('_', ' ')} {why}".rstrip(), flush=True)
        print(", ".join(f"{count} {verdict}" for verdict, count in counts.items()))
        sys.exit(counts["failed"] > 0)
