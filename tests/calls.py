#!/usr/bin/env python3
"""gRPC through the gateway, by gRPC's own client and server: calls of every kind, their errors, their time and their end.

    python3 calls.py --target PATH [--only NAME]
"""
import concurrent.futures
import socket
import threading
import time

import grpc
import hpack

from blackbox import Checks, Gateway, listen, need, wait

CONFIG = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: web, namespace: default}}
spec:
  selector: {{istio: ingressgateway}}
  servers:
  - {{port: {{number: 80, name: http, protocol: HTTP}}, hosts: ["*"]}}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: s, namespace: default}}
spec:
  hosts: [s.internal]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{{number: 80, name: grpc, protocol: GRPC}}]
  endpoints: [{{address: 127.0.0.1, ports: {{grpc: {port}}}}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: v, namespace: default}}
spec:
  hosts: ["*"]
  gateways: [web]
  http:
  - {{match: [{{uri: {{prefix: /test.Calls/Nowhere}}}}], fault: {{abort: {{percentage: {{value: 100}}, httpStatus: 503}}}}, route: [{{destination: {{host: s.internal}}}}]}}
  - {{route: [{{destination: {{host: s.internal}}}}]}}
"""
check = Checks()


class Server(grpc.GenericRpcHandler):
    """A server whose messages are bytes."""

    def __init__(self):
        self.ended, self.left = threading.Event(), threading.Event()
        self.server = grpc.server(concurrent.futures.ThreadPoolExecutor(16), options=[("grpc.so_reuseport", 0)])
        self.server.add_generic_rpc_handlers([self])
        self.port = self.server.add_insecure_port("127.0.0.1:0")
        self.server.start()

    def service(self, details):
        name = details.method.rsplit("/", 1)[1]
        return {
            "Echo": grpc.unary_unary_rpc_method_handler(self.echo),
            "Count": grpc.unary_stream_rpc_method_handler(self.count),
            "Sum": grpc.stream_unary_rpc_method_handler(self.sum),
            "Chat": grpc.stream_stream_rpc_method_handler(self.chat),
            "Fail": grpc.unary_unary_rpc_method_handler(self.fail),
            "FailLate": grpc.unary_stream_rpc_method_handler(self.fail_late),
            "Wait": grpc.unary_stream_rpc_method_handler(self.wait),
        }.get(name)

    def echo(self, request, context):
        context.send_initial_metadata([("x-first", "1")])
        context.set_trailing_metadata([("x-last", "2"), ("x-binary-bin", b"\0\xff")])
        return request

    def count(self, request, _):
        return (str(number).encode() for number in range(int(request)))

    def sum(self, requests, _):
        return str(sum(len(request) for request in requests)).encode()

    def chat(self, requests, _):
        for request in requests:
            yield b"re: " + request

    def fail(self, request, context):
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not \u00fcber %")

    def fail_late(self, request, context):
        yield b"one"
        context.abort(grpc.StatusCode.DATA_LOSS, "half")

    def wait(self, request, context):
        context.add_callback(self.left.set)
        yield b"begun"
        self.ended.wait(float(request or 20))


class Wire:
    """Passes connections on, and notes the time of each call as it is written: gRPC's library rounds, and counts by other clocks."""

    UNITS = {"H": 3600, "M": 60, "S": 1, "m": 1e-3, "u": 1e-6, "n": 1e-9}

    def __init__(self, port):
        self.behind, self.times = port, []
        self.listener = listen()
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                front = self.listener.accept()[0]
            except OSError:
                return
            back = socket.create_connection(("127.0.0.1", self.behind))
            for ends in [(front, back, self.read), (back, front, lambda end: iter(lambda: end.recv(65536), b""))]:
                threading.Thread(target=self.relay, args=ends, daemon=True).start()

    def relay(self, one, other, parts):
        try:
            for part in parts(one):
                other.sendall(part)
            other.shutdown(socket.SHUT_WR)
        except OSError:
            one.close()
            other.close()

    def read(self, connection):
        """The preface and frames of HTTP/2, of whose heads the time is noted."""
        stream, decoder, block = connection.makefile("rb"), hpack.Decoder(), b""
        yield stream.read(24)
        while len(about := stream.read(9)) == 9:
            content = stream.read(int.from_bytes(about[:3]))
            kind, flags = about[3:5]
            if kind in (1, 9):
                block += content
                if flags & 4:
                    told, block = dict(decoder.decode(block)).get("grpc-timeout"), b""
                    self.times += [int(told[:-1]) * self.UNITS[told[-1]]] if told else []
            yield about + content


def call(run, kind, name):
    return getattr(run.channel, kind)("/test.Calls/" + name)


@check
def one_message_each_way(run):
    for size in [0, 1, 100_000, 3_000_000]:
        answer, about = call(run, "unary_unary", "Echo").with_call(b"x" * size, timeout=10)
        need(len(answer) == size, f"{len(answer)} bytes of {size}")
        need(("x-first", "1") in about.initial_metadata(), about.initial_metadata())
        need({("x-last", "2"), ("x-binary-bin", b"\0\xff")} <= set(about.trailing_metadata()), about.trailing_metadata())


@check
def streams_of_the_server_and_of_the_client(run):
    need([int(part) for part in call(run, "unary_stream", "Count")(b"2000", timeout=10)] == list(range(2000)), "not all that was sent")
    need(call(run, "stream_unary", "Sum")((b"x" * 1000 for _ in range(2000)), timeout=10) == b"2000000", "not all that was sent")


@check
def a_stream_both_ways_goes_on_over_reloads(run):
    turn, goes_on = threading.Semaphore(0), [True]

    def questions():
        number = 0
        while goes_on[0]:
            yield str(number).encode()
            number += 1
            turn.acquire()

    for number, answer in enumerate(call(run, "stream_stream", "Chat")(questions(), timeout=30)):
        need(answer == b"re: %d" % number, answer)
        goes_on[0] = number < 5
        run.reload()
        turn.release()
    need(number == 5, f"ended after {number} answers")


def messages(run):
    """Messages that were counted so far: of requests, and of answers."""
    lines = [line for line in run.ask_admin("/stats/prometheus").splitlines() if "_messages_total{" in line]
    need(all('destination_service="s.internal"' in line and "response_code" not in line for line in lines), lines)
    return [sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(f"istio_{side}_")) for side in ("request", "response")]


@check
def messages_are_counted_while_a_call_runs(run):
    call(run, "unary_unary", "Echo")(b"x" * 100_000, timeout=10)
    wait(lambda: messages(run) == [1, 1], "a message each way")
    call(run, "stream_unary", "Sum")((b"x" * 1000 for _ in range(50)), timeout=10)
    list(call(run, "unary_stream", "Count")(b"100", timeout=10))
    wait(lambda: messages(run) == [52, 102], "those of streams")
    over = threading.Event()

    def questions():
        yield b"1"
        over.wait(10)

    answers = call(run, "stream_stream", "Chat")(questions(), timeout=30)
    next(answers)
    wait(lambda: messages(run) == [53, 103], "those of a call under way")
    over.set()
    need(list(answers) == [] and messages(run) == [53, 103], messages(run))


def error(function):
    try:
        function()
    except grpc.RpcError as error:
        return error
    raise AssertionError("no error")


@check
def errors_come_as_the_server_has_said_them(run):
    failed = error(lambda: call(run, "unary_unary", "Fail")(b"", timeout=10))
    need((failed.code(), failed.details()) == (grpc.StatusCode.FAILED_PRECONDITION, "not \u00fcber %"), failed)
    failed = error(lambda: call(run, "unary_unary", "Unknown")(b"", timeout=10))
    need(failed.code() == grpc.StatusCode.UNIMPLEMENTED, failed)
    parts = call(run, "unary_stream", "FailLate")(b"", timeout=10)
    need(next(parts) == b"one", "no message before the error")
    failed = error(lambda: next(parts))
    need((failed.code(), failed.details()) == (grpc.StatusCode.DATA_LOSS, "half"), failed)


@check
def our_own_errors_are_errors_of_grpc(run):
    failed = error(lambda: call(run, "unary_unary", "Nowhere")(b"", timeout=10))
    need((failed.code(), failed.details()) == (grpc.StatusCode.UNAVAILABLE, "fault filter abort"), failed)


@check
def the_time_of_a_call_is_told_to_the_server_and_ends_it(run):
    # Client and gateway have the same time: a client that the machine leaves waiting hears of its end from the gateway.
    for _ in range(5):
        run.server.left.clear()
        run.asked.times.clear()
        run.told.times.clear()
        began = time.monotonic()
        parts = call(run, "unary_stream", "Wait")(b"", timeout=0.5)
        need(next(parts) == b"begun", "not begun")
        failed = error(lambda: next(parts))
        if failed.code() != grpc.StatusCode.INTERNAL:
            break
    need(failed.code() == grpc.StatusCode.DEADLINE_EXCEEDED, failed)
    need(0.4 < time.monotonic() - began < 5, "not in time")
    need(len(run.asked.times) == len(run.told.times) == 1, f"{run.asked.times} and {run.told.times}")
    need(0 < run.told.times[0] <= run.asked.times[0] < 0.51, f"the server is told {run.told.times} of {run.asked.times}")
    need(run.server.left.wait(5), "the server hasn't heard of it")


@check
def a_cancelled_call_is_cancelled_at_the_server(run):
    parts = call(run, "unary_stream", "Wait")(b"", timeout=20)
    need(next(parts) == b"begun", "not begun")
    parts.cancel()
    need(run.server.left.wait(5), "the server hasn't heard of it")


class Run(Gateway):
    """A gateway, the server behind it, and a client."""

    def __init__(self, target):
        self.server = Server()
        self.told = Wire(self.server.port)
        super().__init__(target, {"main.yaml": CONFIG.format(port=self.told.port)}, 80)
        self.asked = Wire(self.ports[80])
        self.channel = grpc.insecure_channel(f"127.0.0.1:{self.asked.port}", options=[("grpc.enable_retries", 0), ("grpc.max_receive_message_length", -1)])

    def end(self):
        self.server.ended.set()
        if hasattr(self, "channel"):
            self.channel.close()
            self.asked.listener.close()
        self.server.server.stop(0).wait(5)
        self.told.listener.close()
        super().end()


if __name__ == "__main__":
    check.run(__doc__, Run)
