#!/usr/bin/env python3
"""TCP that a gateway has a proxy pass on: `tunnel` of a DestinationRule, over HTTP/1.1 and HTTP/2, by CONNECT and by POST. What is
expected was seen at Envoy 1.40, but for half-closed connections over HTTP/1.1, both of whose sides Envoy closes.

    python3 tunnel.py --target PATH [--only NAME]
"""
import pathlib
import re
import socket
import ssl
import subprocess
import tempfile
import threading

import h2.config
import h2.connection
import h2.events

from blackbox import Checks, Gateway, free_port, listen, need, wait

check = Checks()
KINDS = {"connect": ("TCP", "CONNECT"), "post": ("TCP", "POST"), "connect2": ("HTTP2", "CONNECT"), "post2": ("HTTP2", "POST")}
SERVICE = """
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: {name}}}
spec: {{selector: {{istio: ingressgateway}}, servers: [{{port: {{number: {number}, name: tcp, protocol: TCP}}, hosts: ["*"]}}]}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}}}
spec: {{hosts: ["*"], gateways: [{name}], tcp: [{{route: [{{destination: {{host: {name}.internal{subset}}}}}]}}]}}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {name}}}
spec:
  hosts: [{name}.internal]
  resolution: STATIC
  ports: [{{number: 3128, name: proxy, protocol: {protocol}}}]
  endpoints: [{{address: 127.0.0.1, ports: {{proxy: {port}}}}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: {name}}}
spec:
  host: {name}.internal
  subsets: [{{name: own}}]
  trafficPolicy:
    connectionPool: {{tcp: {{connectTimeout: 1s}}}}
    tunnel: {{protocol: {method}, targetHost: target.example, targetPort: 443}}
    {more}
"""
REQUESTS = {
    "connect": b"CONNECT target.example:443 HTTP/1.1\r\nhost: target.example:443\r\n\r\n",
    "post": b"POST / HTTP/1.1\r\nhost: target.example:443\r\ntransfer-encoding: chunked\r\n\r\n",
}
REQUESTS2 = {
    "connect2": {":method": "CONNECT", ":authority": "target.example:443"},
    "post2": {":method": "POST", ":authority": "target.example:443", ":path": "/", ":scheme": "http"},
}


class Run(Gateway):
    """A gateway with a port for each kind of tunnel, and where its proxies are."""

    def __init__(self, target):
        self.proxies = {name: listen() for name in KINDS}
        numbers = {name: 9001 + place for place, name in enumerate(KINDS)}
        text = "".join(self.service(name, number, self.proxies[name].getsockname()[1]) for name, number in numbers.items())
        text += self.service("dead", 9005, free_port()) + self.service("subset", 9006, self.proxies["connect"].getsockname()[1])
        text += self.service("tls", 9007, self.proxies["connect"].getsockname()[1], "tls: {mode: SIMPLE, sni: proxy.example, insecureSkipVerify: true}")
        super().__init__(target, {"main.yaml": text}, *numbers.values(), 9005, 9006, 9007)
        self.numbers = {**numbers, "dead": 9005, "subset": 9006, "tls": 9007}

    @staticmethod
    def service(name, number, port, more=""):
        protocol, method = KINDS.get(name, KINDS["connect"])
        subset = ", subset: own" if name == "subset" else ""
        return SERVICE.format(name=name, number=number, port=port, protocol=protocol, method=method, subset=subset, more=more)

    def end(self):
        super().end()
        for proxy in self.proxies.values():
            proxy.close()

    def connect(self, name):
        """A client that has said a word, and the connection that its proxy gets."""
        client = socket.create_connection(("127.0.0.1", self.ports[self.numbers[name]]), timeout=10)
        client.sendall(b"ping")
        listener = self.proxies.get(name, self.proxies["connect"])
        listener.settimeout(10)
        proxy, _ = listener.accept()
        proxy.settimeout(10)
        return client, proxy

    def opened(self, cluster, flags):
        pattern = rf'istio_tcp_connections_opened_total{{[^}}]*destination_service_name="{cluster}\.internal"[^}}]*response_flags="{flags}"[^}}]*}} (\d+)'
        found = re.search(pattern, self.ask_admin("/stats/prometheus") or "")
        return found and int(found[1])


def read(connection, count):
    data = b""
    while len(data) < count and (more := connection.recv(count - len(data))):
        data += more
    return data


def is_over(connection):
    """Whether nothing comes but the end, however that is told."""
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True


@check
def bytes_go_both_ways_once_the_proxy_has_agreed(run):
    for name, answer, ping, word in [
        ("connect", b"HTTP/1.1 200 OK\r\n\r\nearly", b"ping", b"word"),
        ("connect", b"HTTP/1.0 200 Connection established\r\ncontent-length: 2\r\n\r\nearly", b"ping", b"word"),
        ("connect", b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\ntransfer-encoding: chunked\r\n\r\nearly", b"ping", b"word"),
        ("post", b"HTTP/1.1 200 OK\r\n\r\nearly", b"4\r\nping\r\n", b"word"),
        ("post", b"HTTP/1.1 202 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\near\r\n2\r\nly\r\n", b"4\r\nping\r\n", b"4\r\nword\r\n"),
    ]:
        client, proxy = run.connect(name)
        with client, proxy:
            got = read(proxy, len(REQUESTS[name]))
            need(got == REQUESTS[name], got)
            proxy.sendall(answer)
            need(read(proxy, len(ping)) == ping, f"{name} {answer}: up")
            need(read(client, 5) == b"early", f"{name} {answer}: what came with the head")
            proxy.sendall(word)
            need(read(client, 4) == b"word", f"{name} {answer}: down")


@check
def many_bytes_go_both_ways(run):
    sent = bytes(range(256)) * 4096
    client, proxy = run.connect("connect")
    with client, proxy:
        read(proxy, len(REQUESTS["connect"]))
        proxy.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + sent[:9])
        need(read(proxy, 4) == b"ping", "up")
        for source, sink, data in ((client, proxy, sent), (proxy, client, sent[9:])):
            sender = threading.Thread(target=source.sendall, args=(data,))
            sender.start()
            need(read(sink, len(sent)) == sent, "other bytes")
            sender.join()


@check
def an_end_of_one_side_is_told_to_the_other_which_may_go_on(run):
    for name, end in (("connect", b""), ("post", b"0\r\n\r\n")):
        client, proxy = run.connect(name)
        with client, proxy:
            read(proxy, len(REQUESTS[name]))
            proxy.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            read(proxy, 4 if name == "connect" else 9)
            client.shutdown(socket.SHUT_WR)
            need(read(proxy, max(1, len(end))) == end, f"{name}: the end is told")
            proxy.sendall(b"late")
            proxy.close()
            need(read(client, 5) == b"late", f"{name}: what comes after it")


@check
def whatever_else_a_proxy_answers_ends_the_connection(run):
    for name in REQUESTS:
        for number, answer in enumerate((b"407 No", b"503 No", b"302 No", b"101 No"), 1):
            client, proxy = run.connect(name)
            with client, proxy:
                read(proxy, len(REQUESTS[name]))
                proxy.sendall(b"HTTP/1.1 " + answer + b"\r\ncontent-length: 2\r\n\r\nno")
                need(is_over(client), f"{name} {answer}")
                need(is_over(proxy), f"{name} {answer}: the proxy's connection")
            wait(lambda count=number, of=name: run.opened(of, "UF,URX") == count, f"{name}: {number} are counted")


@check
def a_proxy_that_says_nothing_or_what_is_not_http_ends_the_connection(run):
    for answer in (b"SSH-2.0-x\r\n\r\n", b"HTTP/1.1 200 OK\r\nx: " + b"y" * 70_000, b"HTTP/1.1 200 OK\r\n", None):
        client, proxy = run.connect("connect")
        with client, proxy:
            read(proxy, len(REQUESTS["connect"]))
            if answer is None:
                proxy.close()
            else:
                proxy.sendall(answer)
            need(is_over(client), answer)
    client = socket.create_connection(("127.0.0.1", run.ports[9005]), timeout=10)
    with client:
        need(is_over(client), "nobody listens")


@check
def a_subset_has_its_own_tunnel_or_none(run):
    client, proxy = run.connect("subset")
    with client, proxy:
        need(read(proxy, 4) == b"ping", "as it is")


@check
def the_proxy_may_be_spoken_to_in_tls(run):
    with tempfile.TemporaryDirectory() as folder:
        key, certificate = pathlib.Path(folder, "key"), pathlib.Path(folder, "certificate")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-out",
                        certificate, "-subj", "/CN=proxy", "-days", "2"], capture_output=True, check=True)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
    names = []
    context.sni_callback = lambda _socket, name, _context: names.append(name)
    client, proxy = run.connect("tls")
    with client, context.wrap_socket(proxy, server_side=True) as proxy:
        need(names == ["proxy.example"], names)
        need(read(proxy, len(REQUESTS["connect"])) == REQUESTS["connect"], "the request")
        proxy.sendall(b"HTTP/1.1 200 OK\r\n\r\nearly")
        need(read(proxy, 4) == b"ping", "up")
        need(read(client, 5) == b"early", "down")


class Proxy2:
    """The proxy's side of a connection of HTTP/2, which answers its only request with `status`."""

    def __init__(self, socket, status):
        self.socket, self.status, self.request, self.data, self.ended, self.reset = socket, status, None, b"", False, None
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8", validate_inbound_headers=False))
        self.h2.initiate_connection()
        self.flush()

    def flush(self):
        self.socket.sendall(self.h2.data_to_send())

    def until(self, condition):
        while not condition(self):
            data = self.socket.recv(65536)
            need(data, "the connection has ended")
            for event in self.h2.receive_data(data):
                if isinstance(event, h2.events.RequestReceived):
                    self.request, self.stream = dict(event.headers), event.stream_id
                    self.h2.send_headers(event.stream_id, [(":status", self.status)])
                    self.h2.send_data(event.stream_id, b"early")
                elif isinstance(event, h2.events.DataReceived):
                    self.data += event.data
                elif isinstance(event, h2.events.StreamEnded):
                    self.ended = True
                elif isinstance(event, h2.events.StreamReset):
                    self.reset = event.error_code
            self.flush()


@check
def a_stream_of_http2_is_a_tunnel_too(run):
    for name, request in REQUESTS2.items():
        client, connection = run.connect(name)
        with client, connection:
            proxy = Proxy2(connection, "200")
            proxy.until(lambda proxy: proxy.data == b"ping")
            need(proxy.request == request, proxy.request)
            need(read(client, 5) == b"early", f"{name}: what came with the head")
            client.shutdown(socket.SHUT_WR)
            proxy.until(lambda proxy: proxy.ended)
            proxy.h2.send_data(proxy.stream, b"late", end_stream=True)
            proxy.flush()
            need(read(client, 5) == b"late", f"{name}: what comes after the end")


@check
def over_http2_only_200_agrees(run):
    for name in REQUESTS2:
        client, connection = run.connect(name)
        with client, connection:
            proxy = Proxy2(connection, "201")
            proxy.until(lambda proxy: proxy.reset is not None)
            need(not proxy.data, "nothing goes to a proxy that has not agreed")
            need(is_over(client), name)
        wait(lambda of=name: run.opened(of, "UF,URX") == 1, f"{name}: it is counted")


if __name__ == "__main__":
    check.run(__doc__, Run)
