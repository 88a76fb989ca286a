#!/usr/bin/env python3
"""HTTP/2 both ways, against peers of another make: h2spec towards us, Python's h2 as client and as back end.

    python3 http2.py --target PATH [--only NAME]

h2spec is taken from H2SPEC or PATH, or else built by Go in a temporary folder; without either its check is skipped.
"""
import http.server
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
import time

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings
import hyperframe.frame

from blackbox import Checks, Gateway, Skip, listen, need, wait

CONFIG = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: web, namespace: default}}
spec:
  selector: {{istio: ingressgateway}}
  servers:
  - {{port: {{number: 80, name: http, protocol: HTTP}}, hosts: ["*"]}}
  - {{port: {{number: 443, name: https, protocol: HTTPS}}, hosts: ["*"], tls: {{mode: SIMPLE, serverCertificate: {keys}/c.pem, privateKey: {keys}/k.pem}}}}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: s, namespace: default}}
spec:
  hosts: [s.internal]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{{number: 80, name: grpc, protocol: GRPC}}, {{number: 81, name: http, protocol: HTTP}}, {{number: 82, name: few, protocol: HTTP2}}, {{number: 83, name: plain, protocol: HTTP}}, {{number: 84, name: old, protocol: HTTP2}}, {{number: 85, name: pinged, protocol: HTTP2}}, {{number: 86, name: limited, protocol: HTTP2}}]
  endpoints: [{{address: 127.0.0.1, ports: {{grpc: {http2}, http: {http1}, few: {http2}, plain: {plain}, old: {http1}, pinged: {http2}, limited: {http2}}}}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: s, namespace: default}}
spec:
  host: s.internal
  trafficPolicy: {{portLevelSettings: [{{port: {{number: 82}}, connectionPool: {{http: {{maxConcurrentStreams: 2}}}}}},
    {{port: {{number: 85}}, connectionPool: {{http: {{http2KeepAlive: {{interval: 0.3s, timeout: 0.5s}}}}}}}},
    {{port: {{number: 86}}, connectionPool: {{http: {{maxRequestsPerConnection: 3}}}}}}]}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: v, namespace: default}}
spec:
  hosts: ["*"]
  gateways: [web]
  http:
  - {{match: [{{uri: {{prefix: /h2spec}}}}, {{uri: {{prefix: /old/hints}}}}], route: [{{destination: {{host: s.internal, port: {{number: 83}}}}}}]}}
  - {{match: [{{uri: {{prefix: /chat}}, method: {{exact: CONNECT}}}}], route: [{{destination: {{host: s.internal, port: {{number: 81}}}}}}]}}
  - {{match: [{{uri: {{prefix: /tunnel}}, method: {{exact: CONNECT}}}}, {{uri: {{prefix: /tunnel}}, method: {{exact: GET}}}}], route: [{{destination: {{host: s.internal, port: {{number: 80}}}}}}]}}
  - {{match: [{{uri: {{prefix: /old}}, method: {{exact: CONNECT}}}}], route: [{{destination: {{host: s.internal, port: {{number: 84}}}}}}]}}
  - {{match: [{{uri: {{prefix: /pinged}}}}], route: [{{destination: {{host: s.internal, port: {{number: 85}}}}}}]}}
  - {{match: [{{uri: {{prefix: /limited}}}}], route: [{{destination: {{host: s.internal, port: {{number: 86}}}}}}]}}
  - {{match: [{{uri: {{prefix: /few}}}}], route: [{{destination: {{host: s.internal, port: {{number: 82}}}}}}]}}
  - {{match: [{{uri: {{prefix: /moved}}}}], redirect: {{uri: /}}}}
  - {{match: [{{uri: {{prefix: /told}}}}], directResponse: {{status: 200, body: {{string: told}}}}}}
  - {{route: [{{destination: {{host: s.internal, port: {{number: 80}}}}}}]}}
"""
check = Checks()


class BackEnd:
    """An HTTP/2 back end that does what the path says."""

    def __init__(self):
        self.listener = listen()
        self.port = self.listener.getsockname()[1]
        self.changed = threading.Condition()
        self.clear()
        threading.Thread(target=self.accept, daemon=True).start()

    def clear(self):
        self.connections, self.requests, self.resets, self.goodbyes = 0, [], [], 1
        self.answered, self.pings, self.is_mute, self.downloads = [], 0, False, {}

    def accept(self):
        while True:
            connection, _ = self.listener.accept()
            with self.changed:
                self.connections += 1
                self.changed.notify_all()
            threading.Thread(target=self.try_to_serve, args=(connection,), daemon=True).start()

    def until(self, condition, seconds=5):
        with self.changed:
            need(self.changed.wait_for(condition, seconds), f"not within {seconds} s: {self.connections} {self.requests} {self.resets}")

    def try_to_serve(self, connection):
        try:
            self.serve(connection)
        except OSError:
            pass  # Whoever was connected has gone.

    def serve(self, connection):
        http = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
        http.local_settings = h2.settings.Settings(client=False, initial_values={h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL: 1, h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: 100})
        http.initiate_connection()
        tunnels = set()
        http.downloads = self.downloads = {}
        connection.sendall(http.data_to_send())
        served = 0
        while data := connection.recv(65536):
            for event in http.receive_data(data):
                if isinstance(event, h2.events.RequestReceived) and dict(event.headers)[":path"].startswith("/rolling"):
                    # Ten requests on each connection; those that come behind its goodbye are not looked at.
                    served += 1
                    if served <= 10:
                        self.roll(http, connection, event.stream_id, dict(event.headers)[":path"], served)
                    continue
                with self.changed:
                    if isinstance(event, h2.events.RequestReceived):
                        head = dict(event.headers)
                        self.requests.append(head)
                        if head.get(":protocol") == "websocket" and not head[":path"].endswith("/refused"):
                            tunnels.add(event.stream_id)
                        if not self.answer(http, event.stream_id, head[":path"]):
                            connection.sendall(http.data_to_send())
                            connection.close()
                            return
                    elif isinstance(event, h2.events.PingReceived):
                        self.pings += 1
                        if self.is_mute:
                            http.clear_outbound_data_buffer()
                    elif isinstance(event, h2.events.StreamReset):
                        self.resets.append(int(event.error_code))
                        http.downloads.pop(event.stream_id, None)
                    elif isinstance(event, h2.events.WindowUpdated):
                        for stream, left in list(http.downloads.items()):
                            self.download(http, stream, left)
                    elif isinstance(event, h2.events.DataReceived):
                        http.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                        if event.stream_id in tunnels:
                            http.send_data(event.stream_id, event.data)
                    elif isinstance(event, h2.events.StreamEnded) and event.stream_id in tunnels:
                        http.end_stream(event.stream_id)
                    self.changed.notify_all()
            connection.sendall(http.data_to_send())

    def roll(self, http, connection, stream, path, served):
        """Answers, and says goodbye as servers do that are rolled: first that nothing more should come, then what has been taken."""
        connection.sendall(http.data_to_send())
        if served in (8, 10):
            goodbye = hyperframe.frame.GoAwayFrame(0, last_stream_id=2**31 - 1 if served == 8 else stream)
            connection.sendall(goodbye.serialize())
        with self.changed:
            self.answered.append(path)
        http.send_headers(stream, [(":status", "200")])
        http.send_data(stream, b"whole", end_stream=True)
        connection.sendall(http.data_to_send())

    def download(self, http, stream, length):
        """Sends what it may, and the rest when it may."""
        if stream not in http.downloads:
            http.send_headers(stream, [(":status", "200")])
        while (size := min(length, http.local_flow_control_window(stream), 16384)) > 0:
            length -= size
            http.send_data(stream, bytes(size), end_stream=length == 0)
        http.downloads[stream] = length

    def answer(self, http, stream, path):
        """False if the connection ends with it."""
        if path == "/goodbye" and self.goodbyes > 0:
            self.goodbyes -= 1
            http.close_connection(last_stream_id=0)
            return False
        if path.startswith("/broken/"):
            http.send_headers(stream, [(":status", "200"), ("content-length", "1000")])
            http.send_data(stream, b"half")
            http.reset_stream(stream, int(path.removeprefix("/broken/")))
        elif path.startswith("/bodiless/"):
            # What has no body has one all the same, which looks like another answer.
            http.send_headers(stream, [(":status", path.removeprefix("/bodiless/"))])
            http.send_data(stream, b"HTTP/1.1 200 OK\r\nx-poison: 1\r\ncontent-length: 4\r\n\r\nEVIL", end_stream=True)
        elif path == "/endless":
            for _ in range(200):
                http.send_headers(stream, [(":status", "103"), ("link", "</a.css>; rel=preload")])
            http.send_headers(stream, [(":status", "200")], end_stream=True)
        elif path == "/hints":
            http.send_headers(stream, [(":status", "100")])
            http.send_headers(stream, [(":status", "103"), ("link", "</a.css>; rel=preload")])
            http.send_headers(stream, [(":status", "103"), ("link", "</b.css>; rel=preload")])
            http.send_headers(stream, [(":status", "200")], end_stream=True)
        elif path.startswith("/big/"):
            self.download(http, stream, int(path.removeprefix("/big/")))
        elif path.startswith("/tunnel"):
            http.send_headers(stream, [(":status", "403" if path.endswith("/refused") else "200")], end_stream=path.endswith("/refused"))
        elif not path.endswith("/silent"):
            http.send_headers(stream, [(":status", "200")], end_stream=True)
        return True


def chat(listener):
    """An HTTP/1.1 back end that agrees to every upgrade and sends back what it gets."""
    while True:
        connection, _ = listener.accept()
        head = b""
        while b"\r\n\r\n" not in head:
            head += connection.recv(65536)
        fine = head.startswith(b"GET ") and re.search(rb"\r\nsec-websocket-key: [A-Za-z0-9+/]{22}==\r\n", head)
        connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n" if fine else
                           b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
        while data := connection.recv(65536):
            connection.sendall(data)
        connection.close()


class Plain(http.server.BaseHTTPRequestHandler):
    """An HTTP/1.1 back end that answers when it has the whole request: h2spec judges what comes behind heads."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path == "/old/hints":
            for name in ("a", "b"):
                self.wfile.write(f"HTTP/1.1 103 Early Hints\r\nlink: </{name}.css>; rel=preload\r\nconnection: close\r\n\r\n".encode())
        if self.path == "/old/hints/endless":
            self.wfile.write(b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\n\r\n" * 200)
        if self.headers.get("transfer-encoding"):
            while (size := int(self.rfile.readline() or b"0", 16)) > 0:
                self.rfile.read(size + 2)
            self.rfile.readline()
        else:
            self.rfile.read(int(self.headers.get("content-length", 0)))
        self.send_response(200)
        self.send_header("content-length", "11")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(b"hello world")

    do_HEAD = do_POST = do_GET

    def log_message(self, *_):
        pass


class Client:
    """One HTTP/2 connection to the gateway."""

    def __init__(self, run):
        self.socket = socket.create_connection(("127.0.0.1", run.port), 5)
        self.http = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.http.initiate_connection()
        self.events = []
        self.flush()

    def flush(self):
        self.socket.sendall(self.http.data_to_send())

    def begin(self, path, *more, ends=True, method="GET"):
        stream = self.http.get_next_available_stream_id()
        self.http.send_headers(stream, [(":method", method), (":scheme", "http"), (":authority", "a.example"), (":path", path), *more], end_stream=ends)
        self.flush()
        return stream

    def wait(self, kind, stream=None, seconds=5):
        """The next event of that kind, perhaps one of those that have come."""
        self.socket.settimeout(seconds)
        while True:
            for event in self.events:
                if isinstance(event, kind) and stream in (None, getattr(event, "stream_id", None)):
                    self.events.remove(event)
                    return event
            data = self.socket.recv(65536)
            need(data, f"closed while waiting for {kind.__name__}")
            self.events += self.http.receive_data(data)
            self.flush()

    def head(self, stream):
        return dict(self.wait(h2.events.ResponseReceived, stream).headers)


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def frame(kind, flags=0, stream=0, payload=b""):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def literal(*fields):
    """A head in HPACK without its tables."""
    return b"".join(b"\0" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode() for name, value in fields)


def fields(path, *more, method="GET", authority=(":authority", "a.example")):
    return (":method", method), (":scheme", "http"), *([authority] if authority else []), (":path", path), *more


def head(stream, path, *more, ends=True, **said):
    return frame(1, 5 if ends else 4, stream, literal(*fields(path, *more, **said)))


def reset(stream):
    return frame(3, 0, stream, bytes([0, 0, 0, 8]))


class Frames:
    """A connection of which every byte is told, and what has come of it."""

    def __init__(self, run, settings=b"", first=PREFACE):
        self.socket = socket.create_connection(("127.0.0.1", run.port), 5)
        self.began, self.buffer, self.frames, self.has_ended = time.monotonic(), b"", [], False
        if first:
            self.send(first + frame(4, 0, 0, settings))

    def send(self, data):
        try:
            self.socket.sendall(data)
        except OSError:
            self.has_ended = True

    def read(self, seconds):
        """What comes within that time, or until the end; all frames so far."""
        end = time.monotonic() + seconds
        while not self.has_ended and (left := end - time.monotonic()) > 0:
            self.socket.settimeout(left)
            try:
                data = self.socket.recv(65536)
            except TimeoutError:
                break
            except ConnectionError:
                data = b""
            self.has_ended = not data
            self.buffer += data
            while len(self.buffer) >= 9 and len(self.buffer) >= (whole := 9 + int.from_bytes(self.buffer[:3], "big")):
                taken, self.buffer = self.buffer[:whole], self.buffer[whole:]
                self.frames.append((taken[3], taken[4], int.from_bytes(taken[5:9], "big"), taken[9:]))
        return self.frames

    def until(self, condition, seconds=5):
        """Reads until that is so."""
        end = time.monotonic() + seconds
        while not condition():
            need(not self.has_ended and time.monotonic() < end, f"not so: {self.frames[-3:]}")
            self.read(0.05)

    def goodbyes(self):
        """Codes of GOAWAY."""
        return [int.from_bytes(payload[4:8], "big") for kind, _, _, payload in self.frames if kind == 7]

    def resets(self):
        """Codes of RST_STREAM by stream."""
        return {stream: int.from_bytes(payload, "big") for kind, _, stream, payload in self.frames if kind == 3}

    def count(self, kind):
        return sum(kind == this for this, *_ in self.frames)

    def length(self, stream):
        """Bytes of DATA."""
        return sum(len(payload) for kind, _, this, payload in self.frames if (kind, this) == (0, stream))


def dismissed(client):
    client.read(3)
    return client.has_ended and client.goodbyes() == [11]


@check
def an_answer_of_our_own_tells_a_length_if_it_has_a_body(run):
    client = Client(run)
    lengths = {path: client.head(client.begin(path)).get("content-length") for path in ("/moved", "/told")}
    need(lengths == {"/moved": None, "/told": "4"}, lengths)


@check
def frames_that_ask_for_nothing_end_the_connection(run):
    nothing = {"PING": frame(6, 0, 0, bytes(8)), "its answer": frame(6, 1, 0, bytes(8)), "SETTINGS": frame(4), "PRIORITY": frame(2, 0, 1, bytes(5)),
               "WINDOW_UPDATE": frame(8, 0, 0, b"\0\0\0\1"), "an empty DATA": frame(0, 0, 1), "an unknown one": frame(99, 0, 0, b"x")}
    for name, data in nothing.items():
        client = Frames(run)
        client.send(head(1, "/silent", ends=False, method="POST"))
        for batch in range(9):
            client.send(data * 100)
            client.read(0.01)
        # The library is stricter with these.
        need(not client.has_ended or name == "an empty DATA", f"{name}: ended after 900")
        client.send(data * 200)
        need(dismissed(client), f"{name}: {client.goodbyes()}")


@check
def requests_and_answers_between_frames_that_ask_for_nothing_keep_the_connection(run):
    client = Frames(run)
    for stream in range(1, 9, 2):
        client.send(head(stream, "/h2spec") + frame(6, 0, 0, bytes(8)) * 900)
        client.read(0.2)
    need(not client.goodbyes() and client.count(1) == 4, client.goodbyes())


@check
def a_download_in_small_steps_is_no_flood(run):
    client = Frames(run)
    client.send(head(1, "/big/300000"))
    while client.length(1) < 300_000:
        before = client.length(1)
        client.read(0.1)
        need(not client.has_ended, f"{client.goodbyes()} after {client.length(1)} bytes")
        # Byte by byte, to the stream and to the connection.
        taken = client.length(1) - before
        client.send((frame(8, 0, 1, b"\0\0\0\1") + frame(8, 0, 0, b"\0\0\0\1")) * taken if client.length(1) < 300_000 else b"")


@check
def streams_that_end_early_are_a_hundred_and_a_tenth_of_all(run):
    client = Frames(run)
    for wave in range(7):
        streams = [40 * wave + 2 * count + 1 for count in range(20)]
        if wave == 5:
            need(not client.has_ended and not client.goodbyes(), "ended after 100")
        client.send(b"".join(head(stream, "/silent") for stream in streams))
        client.read(0.05)
        client.send(b"".join(map(reset, streams)))
    need(dismissed(client), client.goodbyes())
    # Those that we reset are as many.
    client = Frames(run)
    for count in range(115):
        client.send(head(2 * count + 1, "/silent") + frame(8, 0, 2 * count + 1, b"\x7f\xff\xff\xff"))
        # So that none is one too many at once, and refused.
        client.read(0.05 if count % 40 == 39 else 0)
    need(dismissed(client), client.goodbyes())
    # What is reset behind its answer has not ended early, nor has what a back end breaks off.
    client = Frames(run)
    for count in range(300):
        client.send(head(2 * count + 1, "/broken/8" if count % 2 else "/h2spec"))
        while not any(kind in (0, 3) and stream == 2 * count + 1 for kind, _, stream, _ in client.read(0.002)):
            need(not client.has_ended, client.goodbyes())
        client.send(reset(2 * count + 1))
    need(not client.has_ended and not client.goodbyes(), client.goodbyes())


@check
def an_answer_that_waits_for_room_is_whole_when_the_gateway_ends_meanwhile(run):
    client = Frames(run, settings=b"\0\4" + (1000).to_bytes(4, "big"))
    client.send(head(1, "/big/10000"))
    client.until(lambda: client.length(1) == 1000)
    run.process.send_signal(signal.SIGTERM)
    client.until(client.goodbyes)
    client.read(1.5)
    need(not client.has_ended, "closed with an answer under way")
    client.send(frame(8, 0, 1, (9000).to_bytes(4, "big")))
    client.until(lambda: client.length(1) == 10000 and client.frames[-1][1] & 1)


@check
def an_answer_that_is_read_slowly_is_whole_when_the_gateway_ends_meanwhile(run):
    room, most = (1 << 31) - 1, 300_000
    with socket.socket() as slow:
        # Most of the answer has to wait with the gateway's system.
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connect(("127.0.0.1", run.port))
        slow.settimeout(5)
        slow.sendall(PREFACE + frame(4, 0, 0, b"\0\4" + room.to_bytes(4, "big")) + frame(8, 0, 0, (room - 65535).to_bytes(4, "big")) + head(1, f"/big/{most}"))
        run.back_end.until(lambda: run.back_end.downloads == {1: 0})
        run.process.send_signal(signal.SIGTERM)
        try:
            run.process.wait(1.5)
        except subprocess.TimeoutExpired:
            pass
        # What a client says while it takes its answer.
        slow.sendall(frame(8, 0, 0, b"\0\0\0\1"))
        length, stream = 0, slow.makefile("rb")
        while len(start := stream.read(9)) == 9:
            payload = stream.read(int.from_bytes(start[:3], "big"))
            length += len(payload) if start[3] == 0 else 0
            slow.sendall(frame(8, 0, 0, b"\0\0\0\1"))
        need(length == most, f"{length} bytes")
    need(run.process.wait(5) == 0, "ended otherwise")


@check
def a_request_that_is_taken_back_at_once_reaches_no_back_end(run):
    client = Frames(run)
    client.send(head(1, "/first"))
    client.read(0.2)
    for stream in range(3, 200, 2):
        client.send(head(stream, "/silent") + reset(stream))
        client.read(0.002)
    client.send(head(201, "/last"))
    run.back_end.until(lambda: run.back_end.requests[-1][":path"] == "/last")
    need([request[":path"] for request in run.back_end.requests] == ["/first", "/last"], f"{len(run.back_end.requests)} requests")


@check
def a_request_has_one_host(run):
    one, other = ("host", "a.example"), ("host", "b.example")
    authority, client = (":authority", "a.example"), Frames(run)
    cases = [(authority, (one,), b"200"), (None, (one,), b"200"), (None, (one, other), b"400"), (None, (one, one), b"400"), (authority, (one, one), b"400"), (authority, (other,), b"400")]
    for stream, (said, hosts, status) in zip(range(1, 100, 2), cases):
        client.send(head(stream, "/h2spec", *hosts, authority=said))
        while not (heads := [payload for kind, _, this, payload in client.read(0.02) if (kind, this) == (1, stream)]):
            need(not client.has_ended, client.frames)
        # 200 and 400 are in HPACK's table.
        need(heads[0][0] == {b"200": 0x88, b"400": 0x8c}[status], f"{said} {hosts}: {heads[0]}")


@check
def a_body_of_no_bytes_has_none(run):
    client = Frames(run)
    client.send(head(1, "/first"))
    client.read(0.2)
    client.send(head(3, "/lie", ("content-length", "0"), method="POST", ends=False))
    client.read(0.2)
    client.send(frame(0, 1, 3, b"x"))
    client.send(head(5, "/honest", ("content-length", "0"), method="POST", ends=False))
    client.read(0.2)
    client.send(frame(0, 1, 5))
    run.back_end.until(lambda: run.back_end.requests[-1][":path"] == "/honest")
    client.read(0.2)
    need(client.resets() == {3: 1}, client.frames)
    need([request[":path"] for request in run.back_end.requests] == ["/first", "/honest"], run.back_end.requests)


@check
def trailers_count_towards_the_fields(run):
    client = Client(run)
    for count, status in [(39, "200"), (41, "431")]:
        stream = client.begin("/h2spec", *((f"a-{at}", "b") for at in range(60)), method="POST", ends=False)
        client.http.send_data(stream, b"abc")
        client.http.send_headers(stream, [(f"t-{at}", "b") for at in range(count)], end_stream=True)
        client.flush()
        got = client.head(stream)[":status"]
        need(got == status, f"60 fields and {count} trailers: {got}")


@check
def a_head_has_ten_seconds(run):
    whole = literal(*fields("/silent"))
    clients = {"half a header": b"\0\0", "half a frame": frame(1, 5, 1, whole)[:20], "no end": frame(1, 1, 1, whole), "half a trailer": head(1, "/silent", ends=False, method="POST") + frame(1, 5, 1, b"12345678")[:12]}
    clients = {name: (Frames(run), sent) for name, sent in clients.items()}
    for client, sent in clients.values():
        client.send(sent)
    dripped, kept = Frames(run), Frames(run)
    kept.send(head(1, "/silent") + frame(6, 0, 0, bytes(8))[:12])
    for byte in frame(1, 5, 1, whole)[:16]:
        need(not any(client.has_ended for client, _ in clients.values()) or time.monotonic() - dripped.began > 9.5, "too early")
        dripped.send(bytes([byte]))
        dripped.read(0.7)
    for name, (client, _) in {"dripped": (dripped, b""), **clients}.items():
        client.read(2)
        need(client.has_ended and client.goodbyes() == [11], f"{name}: {client.goodbyes()} after {time.monotonic() - client.began:.1f} s")
    kept.send(frame(6, 0, 0, bytes(8))[12:])
    kept.read(0.5)
    need(not kept.has_ended and not kept.goodbyes(), "half a PING was taken for a head")


@check
def a_preface_has_ten_seconds_too_and_may_have_been_http1(run):
    secure = ssl.create_default_context(cafile=f"{run.keys.name}/c.pem")
    secure.set_alpn_protocols(["h2"])
    promised = secure.wrap_socket(socket.create_connection(("127.0.0.1", run.tls_port), 5), server_hostname="a.example")
    promised.sendall(PREFACE[:10])
    clients = {first: Frames(run, first=b"") for first in (b"", b"P", PREFACE[:14], PREFACE[:20])}
    for first, client in clients.items():
        client.send(first)
    slow = Frames(run, first=b"")
    # Not ten seconds anew when it turns out to be a POST.
    for byte in b"POST /slow":
        slow.send(bytes([byte]))
        slow.read(0.9)
    need(not slow.has_ended, "too early")
    for client in [slow, *clients.values()]:
        client.read(2.5 - (client is clients[b""]) * 2)
    answers = [client.buffer[:12] for client in [slow, *clients.values()]]
    need(answers == [b"HTTP/1.1 408", b"", b"HTTP/1.1 408", b"HTTP/1.1 408", b"HTTP/1.1 505"], answers)
    need(not clients[b""].has_ended and all(client.has_ended for first, client in clients.items() if first), "not closed, or a silent one is")
    promised.settimeout(1)
    need(promised.recv(1) == b"", "HTTP/1.1 on a connection that was to be HTTP/2")


@check
def a_stream_that_is_not_taken_is_reset_and_a_slow_one_is_not(run):
    def window(size):
        return b"\0\4" + size.to_bytes(4, "big")

    def update(stream, size):
        return frame(8, 0, stream, size.to_bytes(4, "big"))

    never, beside, slow, many = Frames(run, window(0)), Frames(run, window(1000)), Frames(run, window(1000)), Frames(run, window(1 << 20))
    for client in (never, beside, slow):
        client.send(head(1, "/big/500000"))
    # They share the connection's window, of which each has its turn once a minute.
    for stream in range(1, 81, 2):
        many.send(head(stream, "/big/500000"))
    for second in range(1, 46):
        began = time.monotonic()
        beside.send(head(2 * second + 1, "/h2spec"))
        slow.send(update(0, 1000) + update(1, 1000))
        many.send(update(0, 12_000))
        for client in (never, beside, slow, many):
            client.read(0.05)
            need(second > 28 or not client.resets(), f"reset after {second} s: {client.resets()}")
        time.sleep(max(0, 1 - (time.monotonic() - began)))
    need((never.resets(), never.length(1)) == ({1: 8}, 0), f"without a window: {never.resets()}")
    need((beside.resets(), beside.length(1)) == ({1: 8}, 1000), f"while others go on: {beside.resets()}")
    need(all(beside.length(2 * second + 1) == 11 for second in range(1, 45)), "not all others were answered")
    need(not slow.resets() and slow.length(1) > 40_000, f"1,000 bytes a second: {slow.resets()}")
    need(not many.resets(), f"forty that share 12,000 bytes a second: {many.resets()}")
    need(not any(client.has_ended for client in (never, beside, slow, many)), "a connection has ended")


@check
def h2spec(run):
    program = os.environ.get("H2SPEC") or shutil.which("h2spec")
    with tempfile.TemporaryDirectory() as folder:
        if not program:
            go = shutil.which("go") or "/usr/local/go/bin/go"
            if not os.path.exists(go):
                raise Skip("neither h2spec nor Go is installed")
            environment = {**os.environ, "GOBIN": folder, "GOFLAGS": "-modcacherw"}
            built = subprocess.run([go, "install", "github.com/summerwind/h2spec/cmd/h2spec@v2.2.1+incompatible"], env=environment, capture_output=True, text=True)
            if built.returncode:
                built = subprocess.run([go, "install", "github.com/summerwind/h2spec/cmd/h2spec@latest"], env=environment, capture_output=True, text=True)
            if built.returncode:
                raise Skip("h2spec can't be built: " + built.stderr.strip()[-200:])
            program = os.path.join(folder, "h2spec")
        # Without TLS its wrong preface is HTTP/1.1 to us, and is answered as such.
        said = subprocess.run([program, "-t", "-k", "-p", str(run.tls_port), "-h", "127.0.0.1", "-o", "2", "--path", "/h2spec"], capture_output=True, text=True).stdout
    counts = re.search(r"(\d+) tests, (\d+) passed, (\d+) skipped, (\d+) failed", said)
    need(counts, "no summary: " + said[-300:])
    section, failed = "", []
    for line in said[said.rfind("Failures:"):].splitlines() if "Failures:" in said else []:
        if found := re.match(r"\s+([\d.]+)\.? ", line):
            section = found[1]
        # RFC 9113 took the scheme of priorities away.
        if re.match(r"\s+× \d+:", line) and not re.match(r"5\.3|6\.3", section):
            failed.append(section + line.strip())
    need(int(counts[1]) > 140 and not failed, f"{counts[0]}: {failed}")


@check
def requests_share_a_connection(run):
    client = Client(run)
    for _ in range(20):
        streams = [client.begin("/shared") for _ in range(50)]
        for stream in streams:
            need(client.head(stream)[":status"] == "200", "no answer")
    need(run.back_end.connections == 1 and len(run.back_end.requests) == 1000, f"{run.back_end.connections} connections")


@check
def more_connections_when_streams_run_out(run):
    client = Client(run)
    for _ in range(6):
        client.begin("/few/silent")
    run.back_end.until(lambda: len(run.back_end.requests) == 6)
    need(run.back_end.connections == 3, f"{run.back_end.connections} connections for 6 requests, 2 on each")


@check
def a_goodbye_loses_no_request(run):
    client = Client(run)
    need(client.head(client.begin("/goodbye", method="POST"))[":status"] == "200", "not sent again")
    need(len(run.back_end.requests) == 2, run.back_end.requests)


@check
def a_reset_by_the_client_reaches_the_back_end(run):
    client = Client(run)
    stream = client.begin("/silent")
    run.back_end.until(lambda: run.back_end.requests)
    client.http.reset_stream(stream, 8)
    client.flush()
    run.back_end.until(lambda: run.back_end.resets == [8])


@check
def no_request_is_lost_or_sent_twice_while_back_ends_say_goodbye(run):
    clients = [Client(run) for _ in range(4)]
    for wave in range(15):
        # More than a connection takes.
        streams = [(client, client.begin(f"/rolling/{wave}/{at}", method="POST")) for at, client in enumerate(clients * 4)]
        for client, stream in streams:
            need(client.head(stream)[":status"] == "200", "no answer")
            need(client.wait(h2.events.DataReceived, stream).data == b"whole", "a part of an answer")
            client.wait(h2.events.StreamEnded, stream)
    need(len(run.back_end.answered) == len(set(run.back_end.answered)) == 240, f"{len(run.back_end.answered)} answers to 240 requests")


@check
def informational_answers_reach_a_client_of_http2(run):
    client = Client(run)
    for path in ("/hints", "/old/hints"):
        stream = client.begin(path)
        for name in ("a", "b"):
            told = client.wait(h2.events.InformationalResponseReceived, stream)
            need(told.headers == [(":status", "103"), ("link", f"</{name}.css>; rel=preload")], f"{path}: {told.headers}")
        need(client.head(stream)[":status"] == "200", "no answer")
        need(not any(isinstance(event, h2.events.InformationalResponseReceived) for event in client.events), "more than was told")


@check
def informational_answers_without_end_are_no_answer(run):
    client = Client(run)
    for path in ("/endless", "/old/hints/endless"):
        head = client.head(client.begin(path))
        need(head[":status"] == "502", f"{path}: {head}")
        with socket.create_connection(("127.0.0.1", run.port), 5) as plain:
            plain.sendall(f"GET {path} HTTP/1.1\r\nhost: pool\r\nconnection: close\r\n\r\n".encode())
            answer = b"".join(iter(lambda: plain.recv(65536), b""))
        need(b"\r\n\r\nHTTP/1.1 502 " in answer and b"HTTP/1.1 200" not in answer, answer[-300:])


@check
def what_can_have_no_body_has_none(run):
    client = Client(run)
    for status in ("204", "304"):
        stream = client.begin(f"/bodiless/{status}")
        need(client.head(stream)[":status"] == status, "another status")
        client.wait(h2.events.StreamEnded, stream)
        need(not any(isinstance(event, h2.events.DataReceived) and event.data for event in client.events), "a body")
        with socket.create_connection(("127.0.0.1", run.port), 5) as plain:
            request = "GET {} HTTP/1.1\r\nhost: pool\r\n{}\r\n"
            plain.sendall((request.format(f"/bodiless/{status}", "") + request.format("/last", "connection: close\r\n")).encode())
            answers = b"".join(iter(lambda: plain.recv(65536), b""))
        need(answers.startswith(b"HTTP/1.1 " + status.encode()) and answers.count(b"HTTP/1.1 ") == 2 and b"EVIL" not in answers, answers)


@check
def a_client_of_http2_that_asks_for_leave_gets_it(run):
    client = Client(run)
    stream = client.begin("/h2spec", ("expect", "100-continue"), ("content-length", "3"), method="POST", ends=False)
    told = client.wait(h2.events.InformationalResponseReceived, stream)
    need(told.headers == [(":status", "100")], told.headers)
    client.http.send_data(stream, b"abc", end_stream=True)
    client.flush()
    need(client.head(stream)[":status"] == "200", "no answer")


@check
def a_broken_answer_is_no_whole_one(run):
    client = Client(run)
    # What a caller should know is carried across; whatever else broke it off is our error.
    for code, told in [(8, 8), (11, 11), (2, 2), (0, 2), (7, 2), (3, 2)]:
        stream = client.begin(f"/broken/{code}")
        # The head may be overtaken.
        got = client.wait(h2.events.StreamReset, stream).error_code
        need(got == told, f"reset with {code} by the back end, {int(got)} to the client")


@check
def a_connection_that_answers_no_ping_is_given_up(run):
    client = Client(run)
    need(client.head(client.begin("/pinged"))[":status"] == "200", "no answer")
    run.back_end.until(lambda: run.back_end.pings >= 2)
    need(client.head(client.begin("/pinged"))[":status"] == "200", "no answer")
    need(run.back_end.connections == 1, f"{run.back_end.connections} connections, though pings were answered")
    run.back_end.is_mute = True
    need(client.head(client.begin("/pinged/silent", method="POST"))[":status"] == "503", "a dead connection was waited for")
    run.back_end.is_mute = False
    need(client.head(client.begin("/pinged"))[":status"] == "200", "no answer")
    need(run.back_end.connections == 2, f"{run.back_end.connections} connections")


@check
def a_connection_serves_as_many_requests_as_it_may(run):
    client = Client(run)
    for _ in range(3):
        for stream in [client.begin("/limited") for _ in range(4)]:
            need(client.head(stream)[":status"] == "200", "no answer")
    need(run.back_end.connections == 4, f"{run.back_end.connections} connections for 12 requests, 3 on each")


@check
def a_calls_time_is_its_own_or_the_routes(run):
    client = Client(run)
    began = time.monotonic()
    stream = client.begin("/silent", ("content-type", "application/grpc"), ("te", "trailers"), ("grpc-timeout", "300m"), method="POST")
    head = client.head(stream)
    need((head[":status"], head["grpc-status"]) in [("200", "4"), ("200", "14")], head)
    need(0.25 < time.monotonic() - began < 3, "not in time")
    need(run.back_end.requests[0]["grpc-timeout"] == "300m", run.back_end.requests)


def chat_over_http2(run, path):
    client = Client(run)
    client.wait(h2.events.RemoteSettingsChanged)
    need(client.http.remote_settings.enable_connect_protocol == 1, "CONNECT with a protocol is not offered")
    stream = client.begin(path, (":protocol", "websocket"), ("sec-websocket-version", "13"), method="CONNECT", ends=False)
    need(client.head(stream)[":status"] == "200", "not agreed to")
    for part in [b"one", b"x" * 40_000]:
        client.http.send_data(stream, part[:16_000])
        client.flush()
        got = b""
        while len(got) < len(part[:16_000]):
            event = client.wait(h2.events.DataReceived, stream)
            client.http.acknowledge_received_data(event.flow_controlled_length, stream)
            got += event.data
        need(got == part[:16_000], got[:20])
        # It outlives a change of the configuration.
        run.reload()
    client.http.end_stream(stream)
    client.flush()
    client.wait(h2.events.StreamEnded, stream)


@check
def a_websocket_over_http2(run):
    chat_over_http2(run, "/chat")


@check
def a_websocket_over_http2_both_ways(run):
    chat_over_http2(run, "/tunnel")
    head = run.back_end.requests[0]
    need((head[":method"], head[":protocol"], head[":path"], head["sec-websocket-version"]) == ("CONNECT", "websocket", "/tunnel", "13"), head)
    need("upgrade" not in head and "connection" not in head, head)


@check
def a_websocket_over_http2_that_is_reset_has_its_bytes_counted(run):
    client = Client(run)
    client.wait(h2.events.RemoteSettingsChanged)
    stream = client.begin("/tunnel", (":protocol", "websocket"), method="CONNECT", ends=False)
    client.http.send_data(stream, b"x" * 1000)
    client.flush()
    client.wait(h2.events.DataReceived, stream)
    client.http.reset_stream(stream, 8)
    client.flush()
    for name in ["istio_request_bytes_sum", "istio_response_bytes_sum"]:
        wait(lambda: re.search(rf"^{name}{{.*}} 1000$", run.ask_admin("/stats/prometheus"), re.M), f"{name} is 1000")


@check
def a_websocket_to_a_back_end_that_has_none_in_http2(run):
    chat_over_http2(run, "/old")


def handshake(run, path):
    client = socket.create_connection(("127.0.0.1", run.port), 5)
    client.sendall(f"GET {path} HTTP/1.1\r\nhost: a.example\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n"
                   "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode())
    head = b""
    while b"\r\n\r\n" not in head:
        head += client.recv(1)
    return client, head.decode().lower()


@check
def a_websocket_of_http1_to_a_back_end_of_http2_survives_twenty_reloads(run):
    client, head = handshake(run, "/tunnel")
    need(head.startswith("http/1.1 101 ") and "\r\nsec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=\r\n" in head, head)
    for number in range(20):
        client.sendall(b"%05d" % number * 2_000)
        got = b""
        while len(got) < 10_000:
            need(part := client.recv(65536), f"closed after {number} reloads")
            got += part
        need(got == b"%05d" % number * 2_000, got[:20])
        run.reload()
    client.shutdown(socket.SHUT_WR)
    need(client.recv(1) == b"", "more than was sent")
    need(run.back_end.connections == 1, f"{run.back_end.connections} connections")


@check
def a_refused_websocket_is_refused(run):
    client, head = handshake(run, "/tunnel/refused")
    need(head.startswith("http/1.1 403 "), head)
    client.sendall(b"GET /after HTTP/1.1\r\nhost: a.example\r\n\r\n")
    need(client.recv(12) == b"HTTP/1.1 200", "the connection can't be used any more")


@check
def connect_is_refused_unless_a_rule_asks_for_it(run):
    client = Client(run)
    client.wait(h2.events.RemoteSettingsChanged)
    stream = client.begin("/else", (":protocol", "websocket"), method="CONNECT", ends=False)
    need(client.head(stream)[":status"] == "404", "not refused")
    stream = client.http.get_next_available_stream_id()
    client.http.send_headers(stream, [(":method", "CONNECT"), (":authority", "a.example:80")])
    client.flush()
    need(client.head(stream)[":status"] == "404", "not refused")
    need(not run.back_end.requests, run.back_end.requests)


class Run(Gateway):
    """A gateway and what is behind it."""

    def __init__(self, target):
        self.back_end, http1 = BackEnd(), listen()
        threading.Thread(target=chat, args=(http1,), daemon=True).start()
        plain = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Plain)
        threading.Thread(target=plain.serve_forever, daemon=True).start()
        self.keys = tempfile.TemporaryDirectory()
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=a.example",
                        "-addext", "subjectAltName=DNS:a.example,IP:127.0.0.1", "-keyout", f"{self.keys.name}/k.pem", "-out", f"{self.keys.name}/c.pem"], check=True, capture_output=True)
        text = CONFIG.format(keys=self.keys.name, plain=plain.server_port, http2=self.back_end.port, http1=http1.getsockname()[1])
        super().__init__(target, {"main.yaml": text}, 80, 443)
        self.port, self.tls_port = self.ports[80], self.ports[443]

    def end(self):
        super().end()
        self.keys.cleanup()


if __name__ == "__main__":
    check.run(__doc__, Run)
