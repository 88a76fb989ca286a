#!/usr/bin/env python3
"""What is given up as memory runs short, step by step: a gateway is given a limit that it is so much of already. And as descriptors do.

    python3 pressure.py --target PATH
"""
import contextlib
import http.client
import pathlib
import re
import socket
import tempfile
import time
import urllib.request

import h2.connection
import hpack

from blackbox import GATEWAY, POOL, Checks, Gateway, wait

CONFIG = GATEWAY.replace("RULE", "{directResponse: {status: 200, body: {string: served}}}")
FORWARD = GATEWAY.replace("RULE", "{route: [{destination: {host: pool.internal}}], retries: {attempts: 0}}") + POOL
DESCRIPTORS = 160
check = Checks()
# Types of frames.
HEADERS, GOAWAY = 1, 7


class Proxy(Gateway):
    def __init__(self, target, limit):
        super().__init__(target, {"main.yaml": CONFIG}, 80, flags=["--memory-limit", str(limit)])
        self.port = self.ports[80]

    def get_admin(self, path):
        started = time.monotonic()
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}{path}", timeout=2) as answer:
            text = answer.read().decode()
        return answer.status, text, time.monotonic() - started

    def metric(self, name):
        found = re.search(rf"^{name} (\S+)$", self.get_admin("/stats/prometheus")[1], re.M)
        return found and float(found[1])

    def connect(self):
        client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        client.connect()
        return client


@contextlib.contextmanager
def under(target, percent, step):
    """A gateway that is on `step`, since it uses `percent` of its limit."""
    limit = 1 << 30
    for _ in range(10):
        with Proxy(target, limit) as proxy:
            used = wait(lambda: proxy.metric("tidegate_memory_used_bytes"), "a metric of the memory in use")
            time.sleep(0.5)
            if proxy.metric("tidegate_memory_pressure") == step:
                yield proxy
                return
            limit = int(proxy.metric("tidegate_memory_used_bytes") * 100 / percent)
    raise AssertionError(f"step {step} was not met, {used} bytes are in use")


def get(client):
    client.request("GET", "/")
    answer = client.getresponse()
    return answer.status, answer.read().decode(), answer.getheader("connection")


def gone_away(proxy):
    """Whether a connection of HTTP/2 is told to go, and the status of the request on it. Frames are read one by one: a library
    takes nothing any more after a GOAWAY."""
    connection, decoder = h2.connection.H2Connection(), hpack.Decoder()
    connection.initiate_connection()
    connection.send_headers(1, [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/")], end_stream=True)
    status, told = None, False
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as client, client.makefile("rb") as stream:
        client.sendall(connection.data_to_send())
        while not (told and status) and len(head := stream.read(9)) == 9:
            payload = stream.read(int.from_bytes(head[:3], "big"))
            told |= head[3] == GOAWAY
            if head[3] == HEADERS:
                status = dict(decoder.decode(payload))[":status"]
    return told, status


@check
def the_last_descriptors_are_not_for_back_ends(target):
    with tempfile.TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", 0), backlog=512) as silent:
        few = pathlib.Path(folder) / "few"
        few.write_text(f'#!/bin/sh\nulimit -n {DESCRIPTORS}\nexec {target} "$@"\n')
        few.chmod(0o755)
        with Gateway(few, {"main.yaml": FORWARD.replace("PORT", str(silent.getsockname()[1]))}, 80) as gateway, contextlib.ExitStack() as clients:
            for _ in range(2):
                client = clients.enter_context(socket.create_connection(("127.0.0.1", gateway.ports[80]), timeout=5))
                connection = h2.connection.H2Connection()
                connection.initiate_connection()
                for stream in range(1, 200, 2):
                    connection.send_headers(stream, [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/")], end_stream=True)
                client.sendall(connection.data_to_send())
            refused = re.compile(r'istio_requests_total\{.*response_code="503".*response_flags="UF"')
            wait(lambda: refused.search(gateway.ask_admin("/stats/prometheus") or ""), "requests without a descriptor are refused")
            used = len(list(pathlib.Path(f"/proc/{gateway.process.pid}/fd").iterdir()))
            assert DESCRIPTORS // 2 < used < DESCRIPTORS - 16, f"{used} descriptors are in use"
            assert "LIVE" in gateway.ask_admin("/ready")


@check
def with_memory_to_spare_nothing_is_given_up(target):
    with under(target, 50, 0) as proxy:
        client = proxy.connect()
        assert get(client) == (200, "served", None)
        assert get(client) == (200, "served", None), "the connection is kept"
        assert proxy.metric("tidegate_memory_limit_bytes") > proxy.metric("tidegate_memory_used_bytes")


@check
def above_80_percent_idle_connections_close(target):
    with under(target, 85, 1) as proxy:
        idle = proxy.connect()
        assert get(proxy.connect()) == (200, "served", "close")
        assert gone_away(proxy) == (True, "200"), "a connection of HTTP/2 that is idle again is told to go"
        idle.sock.settimeout(4)
        assert idle.sock.recv(1) == b"", "a connection without a request is closed"
        assert "idle connections close" in proxy.logged()


@check
def above_90_percent_requests_are_refused(target):
    with under(target, 92.5, 2) as proxy:
        assert get(proxy.connect()) == (503, "envoy overloaded", "close")
        assert gone_away(proxy) == (True, "503")
        metrics = proxy.get_admin("/stats/prometheus")[1]
        assert re.search(r'istio_requests_total\{.*response_code="503".*response_flags="OM"', metrics)


@check
def above_95_percent_nobody_is_let_in_and_the_admin_answers(target):
    with under(target, 200, 3) as proxy:
        # One may have been waited for already.
        clients = [proxy.connect() for _ in range(3)]
        for client in clients:
            client.request("GET", "/")
        for client in clients[1:]:
            client.sock.settimeout(1)
            try:
                answered = client.sock.recv(1)
            except TimeoutError:
                answered = None
            assert answered is None, "nobody answers"
        status, _, seconds = proxy.get_admin("/ready")
        assert status == 200 and seconds < 0.5


if __name__ == "__main__":
    check.run(__doc__, contextlib.nullcontext)
