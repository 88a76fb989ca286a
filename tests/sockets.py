#!/usr/bin/env python3
"""Listeners of a sidecar on Unix sockets: what comes in there, what becomes of their files, and what a change and a replacement of
the program cost. What is expected of requests was seen at istiod and Envoy, but for names with ports, which Envoy never finds.

    python3 sockets.py --target PATH [--only NAME]
"""
import contextlib
import http.client
import json
import pathlib
import signal
import socket
import socketserver
import stat
import tempfile
import threading
import urllib.request

from blackbox import Answering, Checks, Gateway, need, wait

LISTENER = """  - port: {{number: 0, name: {name}, protocol: {protocol}}}
    bind: unix://{path}
    hosts: [{hosts}]
"""
SERVICES = """
apiVersion: v1
kind: ConfigMap
metadata: {{name: istio, namespace: istio-system}}
data:
  mesh: |
    outboundTrafficPolicy: {{mode: REGISTRY_ONLY}}
    accessLogFile: {log}
    accessLogFormat: "%DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %RESPONSE_CODE%\\n"
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: web}}
spec:
  hosts: [web.example]
  resolution: STATIC
  ports: [{{number: 80, name: http, protocol: HTTP}}, {{number: 8080, name: http-b, protocol: HTTP}}]
  endpoints: [{{address: 127.0.0.1, ports: {{http: {web}, http-b: {web}}}}}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: echo}}
spec:
  hosts: [echo.example]
  resolution: STATIC
  ports: [{{number: 7000, name: tcp, protocol: TCP}}]
  endpoints: [{{address: 127.0.0.1, ports: {{tcp: {echo}}}}}]
"""
SIDECAR = """
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: default}
spec:
  egress:
"""
check = Checks()


class Web(Answering):
    """Answers with what it was asked for."""

    def answer(self):
        return json.dumps({"headers": {name.lower(): value for name, value in self.headers.items()}}).encode()


class Echo(socketserver.BaseRequestHandler):
    """Sends back what it gets."""

    def handle(self):
        while data := self.request.recv(4096):
            self.request.sendall(data)


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = allow_reuse_address = True


@contextlib.contextmanager
def serving(handler):
    with Server(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def connect(path):
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(5)
    path = str(path)
    client.connect("\0" + path[1:] if path.startswith("@") else path)
    return client


class Client(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost")
        self.path = path

    def connect(self):
        self.sock = connect(self.path)


def get(path, host, client=None):
    """Status and body of an answer."""
    client = client or Client(path)
    client.request("GET", "/", headers={"host": host, "x-forwarded-for": "10.1.2.3"})
    answer = client.getresponse()
    return answer.status, answer.read()


class Sidecar(Gateway):
    """A sidecar with two workers and a folder for sockets beside its own."""

    def __init__(self, target, sockets, web, echo):
        self.sockets = sockets
        self.log_file = sockets / "log"
        services = SERVICES.format(log=self.log_file, web=web, echo=echo)
        files = {"main.yaml": services, "sidecar.yaml": self.listeners("http", "tcp")}
        super().__init__(target, files, role="sidecar", workers=2, flags=["--labels", "app=client", "--drain-delay", "2s"])

    def path(self, name):
        return f"@{self.sockets.name}" if name == "abstract" else str(self.sockets / name)

    def listeners(self, *names):
        def entry(name):
            protocol, hosts = ("TCP", "./echo.example") if name == "tcp" else ("HTTP", "./web.example")
            return LISTENER.format(name=name, protocol=protocol, path=self.path(name), hosts=hosts)
        return SIDECAR + "".join(map(entry, names))

    def listen(self, *names):
        """Puts others in place, and waits until they are in force."""
        old, new = self.version(), self.folder / ".new"
        new.write_text(self.listeners(*names))
        new.rename(self.folder / "sidecar.yaml")
        wait(lambda: self.version() not in (None, old), "the configuration is in force", 20)


@contextlib.contextmanager
def sidecar(target):
    with tempfile.TemporaryDirectory(prefix="tidegate-sockets-") as folder, serving(Web) as web, serving(Echo) as echo:
        with Sidecar(target, pathlib.Path(folder), web, echo) as proxy:
            yield proxy


@contextlib.contextmanager
def asking(path, kept=True):
    """Asks without a pause, each time on a connection of its own, and on one that is `kept` unless that may close meanwhile. None
    of these requests may fail. Yields what has come of them."""
    stop, statuses = threading.Event(), []

    def ask():
        client = Client(path)
        while not stop.is_set():
            try:
                statuses.append(get(path, "web.example")[0])
                if kept:
                    statuses.append(get(path, "web.example", client)[0])
            except OSError as problem:
                statuses.append(repr(problem))
    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield statuses
    finally:
        stop.set()
        thread.join()
    wrong = [status for status in statuses if status != 200]
    need(statuses and not wrong, f"{len(wrong)} of {len(statuses)} failed: {wrong[:3]}")


def is_socket(path):
    return pathlib.Path(path).exists() and stat.S_ISSOCK(pathlib.Path(path).stat().st_mode)


@check
def requests_come_in_by_a_unix_socket(proxy):
    path = proxy.path("http")
    status, body = get(path, "web.example")
    headers = json.loads(body)["headers"]
    need(status == 200 and headers["x-forwarded-for"] == "10.1.2.3", "there is no address to add")
    need(get(path, "web.example:8080")[0] == 200, "every port is known")
    need(get(path, "web.example:81")[0] == 502 and get(path, "other.example")[0] == 502, "and nothing else")
    wait(lambda: proxy.log_file.exists() and proxy.log_file.read_text().count("\n") == 4, "four lines of the log")
    # Each worker writes its own lines when it has time.
    lines = sorted(proxy.log_file.read_text().splitlines())
    need(lines == [f"{path} {path} {status}" for status in (200, 200, 502, 502)], f"both ends are the socket: {lines}")
    need(f"unix://{path}_0::{path}\n" in proxy.ask_admin("/listeners"), "it is told what is bound")


@check
def connections_come_in_by_a_unix_socket_and_are_half_closed(proxy):
    with connect(proxy.path("tcp")) as client:
        client.sendall(b"hello")
        need(client.recv(100) == b"hello", "it is passed on unread")
        client.sendall(b"x" * 300_000)
        client.shutdown(socket.SHUT_WR)
        received = b"".join(iter(lambda: client.recv(65536), b""))
        need(len(received) == 300_000, f"{len(received)} bytes came back")


@check
def listeners_come_and_go_with_their_files_and_no_request_on_others_fails(proxy):
    with asking(proxy.path("http")):
        for _ in range(3):
            proxy.listen("http", "late", "abstract")
            need(is_socket(proxy.path("late")) and not is_socket(proxy.path("tcp")), "one file has come and one has gone")
            for name in ("late", "abstract"):
                need(get(proxy.path(name), "web.example")[0] == 200, name)
            proxy.listen("http", "tcp")
            need(not is_socket(proxy.path("late")), "the file has gone")
        try:
            connect(proxy.path("abstract")).close()
            raise AssertionError("somebody still listens")
        except ConnectionRefusedError:
            pass


@check
def a_file_that_is_in_the_way_stays_and_is_tried_again(proxy):
    path = pathlib.Path(proxy.path("late"))
    path.write_text("mine")
    proxy.listen("http", "late")
    wait(lambda: "no socket: remove it" in proxy.logged(), "it is told")
    need(path.read_text() == "mine" and get(proxy.path("http"), "web.example")[0] == 200, "nothing is harmed")
    path.unlink()
    wait(lambda: is_socket(path), "it is bound once it can be")
    need(get(path, "web.example")[0] == 200, "and serves")


@check
def a_successor_takes_over_and_no_request_fails(proxy):
    try:
        with asking(proxy.path("http"), kept=False) as statuses:
            wait(lambda: len(statuses) > 20, "requests come")
            proxy.process.send_signal(signal.SIGUSR2)
            wait(lambda: proxy.process.poll() == 0, "the predecessor has ended", 30)
            count = len(statuses)
            wait(lambda: len(statuses) > count + 20, "the successor serves")
            proxy.listen("http", "late")
            need(is_socket(proxy.path("http")) and is_socket(proxy.path("late")), "it looks after the files")
    finally:
        # A successor is nobody's child.
        end = urllib.request.Request(f"http://127.0.0.1:{proxy.admin}/quitquitquit", method="POST")
        urllib.request.urlopen(end, timeout=5).close()


@check
def a_sidecar_that_is_told_to_end_serves_its_workload_for_as_long_as_it_was_told(proxy):
    proxy.process.send_signal(signal.SIGTERM)
    wait(lambda: proxy.ask_admin("/ready") is None, "it is not ready any more")
    need(get(proxy.path("http"), "web.example")[0] == 200, "a new connection is served")
    need(proxy.process.wait(10) == 0, "ended otherwise")


@check
def what_was_left_behind_is_taken_over_at_the_start(proxy):
    path = proxy.path("http")
    proxy.process.kill()
    proxy.process.wait()
    need(is_socket(path), "a file without a listener")
    proxy.start()
    need(get(path, "web.example")[0] == 200, "it is served again")


@check
def a_socket_of_a_supervisor_is_taken_and_who_came_before_the_start_is_served(proxy):
    path = proxy.path("http")
    proxy.process.kill()
    proxy.process.wait()
    pathlib.Path(path).unlink()
    with socket.socket(socket.AF_UNIX) as passed:
        passed.bind(path)
        passed.listen(64)
        made, early = pathlib.Path(path).stat().st_ino, Client(path)
        early.connect()
        # As systemd does it: the first socket is descriptor 3, and the process is named by its own id.
        hand_over = f'exec 3<&{passed.fileno()}; LISTEN_FDS=1 LISTEN_PID=$$ exec "$0" "$@"'
        proxy.command = ["sh", "-c", hand_over, *proxy.command]
        proxy.start(pass_fds=[passed.fileno()])
        need(get(path, "web.example", early)[0] == 200, "it waited in the supervisor's socket")
        need(get(path, "web.example")[0] == 200, "and so do others")
        need(pathlib.Path(path).stat().st_ino == made, "the file is the supervisor's")


if __name__ == "__main__":
    check.run(__doc__, sidecar)
