#!/usr/bin/env python3
"""gRPC through the gateway, by gRPC's own client and server: calls of every kind, their errors, their time and their end.

    python3 calls.py --target PATH [--only NAME]
"""
import argparse
import concurrent.futures
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

import grpc

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
CHECKS = []


def check(function):
    CHECKS.append(function)
    return function


def need(condition, message):
    if not condition:
        raise AssertionError(message)


def free():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Server(grpc.GenericRpcHandler):
    """A server whose messages are bytes."""

    def __init__(self):
        self.ended, self.left, self.remaining = threading.Event(), threading.Event(), []
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
        self.remaining.append(context.time_remaining())
        context.add_callback(self.left.set)
        yield b"begun"
        self.ended.wait(float(request or 20))


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
    began = time.monotonic()
    parts = call(run, "unary_stream", "Wait")(b"", timeout=0.5)
    need(next(parts) == b"begun", "not begun")
    failed = error(lambda: next(parts))
    need(failed.code() == grpc.StatusCode.DEADLINE_EXCEEDED, failed)
    need(0.4 < time.monotonic() - began < 5, "not in time")
    need(0 < run.server.remaining[0] <= 0.5, f"the server has {run.server.remaining}")
    need(run.server.left.wait(5), "the server hasn't heard of it")


@check
def a_cancelled_call_is_cancelled_at_the_server(run):
    parts = call(run, "unary_stream", "Wait")(b"", timeout=20)
    need(next(parts) == b"begun", "not begun")
    parts.cancel()
    need(run.server.left.wait(5), "the server hasn't heard of it")


class Run:
    """A gateway, the server behind it, and a client."""

    def __init__(self, target, folder):
        self.server, self.file = Server(), pathlib.Path(folder, "config.yaml")
        self.text = CONFIG.format(port=self.server.port)
        self.file.write_text(self.text)
        port, self.admin = free(), free()
        self.process = subprocess.Popen([target, "gateway", "--config", folder, "--workers", "1", "--access-log", "off", "--port-map", f"80:{port}", "--admin", f"127.0.0.1:{self.admin}"],
                                        stderr=subprocess.DEVNULL)
        self.channel = grpc.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.enable_retries", 0), ("grpc.max_receive_message_length", -1)])
        self.until_version_is_not("")

    def version(self):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/config_dump", timeout=5) as answer:
                found = re.search(rb'"version(?:_info)?": ?"([^"]*)"', answer.read())
                return found[1].decode() if found else ""
        except OSError:
            return ""

    def until_version_is_not(self, old):
        end = time.monotonic() + 20
        while self.version() in ("", old):
            need(time.monotonic() < end, "the configuration is not in force")
            need(self.process.poll() is None, "the gateway has ended")
            time.sleep(0.02)

    def reload(self):
        old = self.version()
        self.text = re.sub(r"  # .*", "", self.text).rstrip() + f"  # {time.monotonic()}\n"
        self.file.write_text(self.text)
        self.until_version_is_not(old)

    def end(self):
        self.server.ended.set()
        self.channel.close()
        self.server.server.stop(0).wait(5)
        self.process.kill()
        self.process.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", required=True)
    parser.add_argument("--only", default="")
    arguments = parser.parse_args()
    counts = {"passed": 0, "failed": 0}
    for function in CHECKS:
        if arguments.only not in function.__name__:
            continue
        with tempfile.TemporaryDirectory() as folder:
            run = Run(arguments.target, folder)
            try:
                function(run)
                verdict, why = "passed", ""
            except (AssertionError, OSError, grpc.RpcError) as problem:
                verdict, why = "failed", repr(problem)
            finally:
                run.end()
        counts[verdict] += 1
        print(f"{verdict:8}{function.__name__.replace('_', ' ')} {why}".rstrip(), flush=True)
    print(f"{counts['passed']} passed, {counts['failed']} failed, 0 skipped")
    sys.exit(counts["failed"] > 0)


if __name__ == "__main__":
    main()
