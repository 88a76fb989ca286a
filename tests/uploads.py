#!/usr/bin/env python3
"""Bodies of requests over HTTP/1.1, whatever memory they come into: of all lengths around the sizes of our buffers, in whatever parts,
one behind another on a connection, sent again, and copied to a mirror.

    python3 uploads.py --target PATH [--only NAME]
"""
import contextlib
import hashlib
import http.server
import random
import socket
import threading
import time

from blackbox import GATEWAY, POOL, Checks, Gateway, need, wait

CONFIG = GATEWAY.replace("RULE", """
    {match: [{uri: {prefix: /mirrored}}], mirror: {host: mirror.internal}, route: [{destination: {host: pool.internal}}]},
    {retries: {attempts: 2, retryOn: 5xx}, route: [{destination: {host: pool.internal}}]}""")
CONFIG += POOL.replace("PORT", "POOL") + POOL.replace("pool", "mirror").replace("PORT", "MIRROR")
KIB = 1024
# A head takes 8 KiB, and body and head together 72 KiB, without another look for memory.
LENGTHS = [0, 1, KIB, 8 * KIB - 300, 8 * KIB, 8 * KIB + 1, 20 * KIB, 63 * KIB, 64 * KIB, 64 * KIB + 1, 72 * KIB - 300, 72 * KIB, 80 * KIB,
           300 * KIB, 1024 * KIB, 1100 * KIB]
check = Checks()


class BackEnd(http.server.BaseHTTPRequestHandler):
    """Answers with the hash of the body; with 503, and the end of the connection, as often as the request says that it shall."""
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    tries, bodies = {}, {}

    def serve(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        name = self.headers["x-name"]
        tries = self.tries[name] = self.tries.get(name, 0) + 1
        self.bodies.setdefault(name, []).append(hashed(body))
        fails = tries <= int(self.headers.get("x-fails", 0))
        answer = hashed(body).encode()
        self.send_response(503 if fails else 200)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_POST = serve

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        """A connection whose answer was not wanted is broken off."""


def hashed(body):
    return hashlib.sha256(body).hexdigest()


@contextlib.contextmanager
def serving():
    """A back end of its own record; yields its port and the record."""
    handler = type("Own", (BackEnd,), {"tries": {}, "bodies": {}})
    server = Server(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1], handler
    finally:
        server.shutdown()
        server.server_close()


class Run(Gateway):
    """A gateway in front of both back ends."""

    def __init__(self, target, pool, mirror):
        self.pool, self.mirror = pool[1], mirror[1]
        config = CONFIG.replace("POOL", str(pool[0])).replace("MIRROR", str(mirror[0]))
        super().__init__(target, {"main.yaml": config}, 80)


@contextlib.contextmanager
def setting(target):
    with serving() as pool, serving() as mirror, Run(target, pool, mirror) as run:
        yield run


class Client:
    """A connection, and what has been sent on it."""

    def __init__(self, run):
        self.socket = socket.create_connection(("127.0.0.1", run.ports[80]), 20)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.answers = self.socket.makefile("rb")

    def answer(self):
        """Status and body."""
        status = int(self.answers.readline().split()[1])
        length = 0
        while line := self.answers.readline().strip():
            name, _, value = line.partition(b":")
            if name == b"content-length":
                length = int(value)
        return status, self.answers.read(length).decode()

    def expect(self, *bodies):
        for body in bodies:
            need(self.answer() == (200, hashed(body)), f"of {len(body)} bytes something is missing")


def request(name, body, path="/", fails=0):
    method = "POST" if body else "GET"
    length = f"content-length: {len(body)}\r\n" if body else ""
    return f"{method} {path} HTTP/1.1\r\nhost: a.example\r\nx-name: {name}\r\nx-fails: {fails}\r\n{length}\r\n".encode() + body


def bodies(draw):
    return [draw.randbytes(length) for length in LENGTHS]


@check
def a_body_of_any_length_arrives_whole_whatever_came_before_it(run):
    draw = random.Random(1)
    client = Client(run)
    for round_ in range(3):
        mixed = bodies(draw)
        draw.shuffle(mixed)
        for index, body in enumerate(mixed):
            client.socket.sendall(request(f"{round_}-{index}", body))
            client.expect(body)


@check
def a_body_arrives_whole_in_whatever_parts_it_comes(run):
    draw = random.Random(2)
    client = Client(run)
    for round_ in range(2):
        for index, body in enumerate(bodies(draw)):
            text = request(f"{round_}-{index}", body)
            ends = sorted({*draw.sample(range(1, len(text)), 3), len(text)})
            for start, end in zip([0, *ends], ends):
                client.socket.sendall(text[start:end])
                # Parts are to be read one by one: nothing tells when one has been.
                time.sleep(0.005)
            client.expect(body)


@check
def requests_that_come_in_one_go_are_answered_in_order(run):
    draw = random.Random(3)
    client = Client(run)
    for first in (64 * KIB, 20 * KIB, 70 * KIB):
        # The first tells what memory the next is read into.
        all_ = [draw.randbytes(length) for length in (first, 10, *[0] * 400, 64 * KIB, 0, 9 * KIB, 0)]
        threading.Thread(target=client.socket.sendall, args=[b"".join(request("x", body) for body in all_)]).start()
        client.expect(*all_)


@check
def a_request_that_is_sent_again_has_its_body(run):
    draw = random.Random(4)
    client = Client(run)
    for round_ in range(2):
        for index, body in enumerate(body for body in bodies(draw) if len(body) < 1024 * KIB):
            name = f"{round_}-{index}"
            text = request(name, body, fails=2)
            half = len(text) - len(body) // 2
            client.socket.sendall(text[:half])
            client.socket.sendall(text[half:])
            client.expect(body)
            need(run.pool.bodies[name] == [hashed(body)] * 3, f"{len(body)} bytes in {len(run.pool.bodies[name])} tries")


@check
def a_mirror_gets_the_same_body(run):
    draw = random.Random(5)
    client = Client(run)
    for index, body in enumerate(body for body in bodies(draw) if len(body) < 1024 * KIB):
        client.socket.sendall(request(str(index), body, "/mirrored"))
        client.expect(body)
        wait(lambda: run.mirror.bodies.get(str(index)) == [hashed(body)], f"the mirror has {len(body)} bytes")


@check
def an_upload_that_stops_holds_up_nobody_else(run):
    draw = random.Random(6)
    stuck, client = Client(run), Client(run)
    for body in (draw.randbytes(64 * KIB), draw.randbytes(64 * KIB)):
        stuck.socket.sendall(request("whole", body))
        stuck.expect(body)
    text = request("half", body)
    stuck.socket.sendall(text[:300])
    for other in bodies(draw):
        client.socket.sendall(request("other", other))
        client.expect(other)
    stuck.socket.sendall(text[300:])
    stuck.expect(body)


if __name__ == "__main__":
    check.run(__doc__, setting)
