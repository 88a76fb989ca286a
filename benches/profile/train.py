#!/usr/bin/env python3
"""Records which ways through the code requests take: benches/profile/VERSION.profdata, which release builds are optimized by.

    benches/profile/train.py [--seconds N]

The program is built so that it counts, in a target folder of its own, and serves what gateways mostly serve, each for N seconds. Another
process of it, which is not counted, is the back end, but for uploads. Needs wrk, h2load, openssl, and `rustup component add llvm-tools`.
"""
import argparse
import asyncio
import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
PORTS = {"plain": 18480, "tls": 18443, "back end": 18481, "uploads": 18482}
ADMINS = {"front": 18415, "back": 18416}
FRONT = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: front, namespace: default}
spec:
  selector: {istio: ingressgateway}
  servers:
  - {port: {number: PLAIN, name: http, protocol: HTTP}, hosts: ["*"]}
  - {port: {number: TLS, name: https, protocol: HTTPS}, hosts: ["*"], tls: {mode: SIMPLE, serverCertificate: FOLDER/cert.pem, privateKey: FOLDER/key.pem}}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: pool, namespace: default}
spec:
  hosts: [pool.internal, armed.internal]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}, {number: 81, name: http2, protocol: HTTP2}]
  endpoints:
  - {address: 127.0.0.1, ports: {http: BACK, http2: BACK}, labels: {version: v1}}
  - {address: 127.0.0.2, ports: {http: BACK, http2: BACK}, labels: {version: v2}}
  - {address: 127.0.0.3, ports: {http: BACK, http2: BACK}, labels: {version: v2}}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: uploads, namespace: default}
spec:
  hosts: [uploads.internal]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints: [{address: 127.0.0.1, ports: {http: UPLOADS}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: pool, namespace: default}
spec:
  host: pool.internal
  trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}}
  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: armed, namespace: default}
spec:
  host: armed.internal
  trafficPolicy:
    connectionPool: {tcp: {maxConnections: 10000}, http: {http1MaxPendingRequests: 10000, http2MaxRequests: 10000, maxRetries: 100}}
    outlierDetection: {consecutive5xxErrors: 5, interval: 10s, baseEjectionTime: 30s, maxEjectionPercent: 50}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: front, namespace: default}
spec:
  hosts: [reviews]
  gateways: [front]
  http:
  - match: [{uri: {prefix: /upload}}]
    route: [{destination: {host: uploads.internal}}]
  - match: [{uri: {prefix: /http2}}]
    route: [{destination: {host: pool.internal, port: {number: 81}}}]
  - match: [{uri: {prefix: /armed}, headers: {x-user: {exact: jane}}}, {uri: {prefix: /armed}}]
    headers: {request: {set: {x-way: armed}}, response: {add: {x-way: armed}}}
    timeout: 10s
    retries: {attempts: 3, perTryTimeout: 2s, retryOn: "5xx,connect-failure"}
    route: [{destination: {host: armed.internal, port: {number: 80}}}]
  - match: [{uri: {prefix: /reviews}}]
    route:
    - {destination: {host: pool.internal, port: {number: 80}, subset: v1}, weight: 50}
    - {destination: {host: pool.internal, port: {number: 80}, subset: v2}, weight: 50}
"""
BACK_END = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: back, namespace: default}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: BACK, name: http, protocol: HTTP}, hosts: ["*"]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: back, namespace: default}
spec:
  hosts: ["*"]
  gateways: [back]
  http:
  - {match: [{uri: {prefix: /reviews/large}}], directResponse: {status: 200, body: {string: LARGE}}}
  - {directResponse: {status: 200, body: {string: SMALL}}}
"""
POST = """wrk.method = "POST"
wrk.body = string.rep("x", 65536)
wrk.headers["Content-Type"] = "application/octet-stream"
"""


class Uploads(asyncio.Protocol):
    """Takes requests with a length, one after another, and answers each."""

    ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 1024\r\n\r\n" + b"x" * 1024

    def connection_made(self, transport):
        self.transport, self.head, self.left = transport, b"", None

    def data_received(self, data):
        while data:
            if self.left is None:
                head, end, data = (self.head + data).partition(b"\r\n\r\n")
                if not end:
                    self.head = head
                    return
                lines = [line.partition(b":") for line in head.lower().split(b"\r\n")]
                self.head, self.left = b"", next((int(value) for name, _, value in lines if name == b"content-length"), 0)
            taken = min(self.left, len(data))
            self.left, data = self.left - taken, data[taken:]
            if self.left == 0:
                self.transport.write(self.ANSWER)
                self.left = None


def serve_uploads():
    async def serve():
        server = await asyncio.get_running_loop().create_server(Uploads, "127.0.0.1", PORTS["uploads"])
        await server.serve_forever()

    threading.Thread(target=lambda: asyncio.run(serve()), daemon=True).start()


def loads(folder, seconds):
    """What gateways mostly serve, most of it first."""
    plain, tls = (f"{scheme}://127.0.0.1:{PORTS[name]}" for scheme, name in (("http", "plain"), ("https", "tls")))

    def wrk(path, *more, connections=64):
        return ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-H", "Host: reviews", *more, path]

    def h2load(path):
        return ["h2load", "-t1", "-c10", "-m32", f"-D{seconds}", "-H", ":authority: reviews", path]

    yield wrk(plain + "/reviews/1")
    yield wrk(plain + "/armed")
    yield wrk(plain + "/upload", "-s", str(folder / "post.lua"), connections=16)
    yield wrk(plain + "/reviews/large", connections=16)
    yield wrk(plain + "/reviews/1", "-H", "Connection: close", connections=16)
    yield wrk(plain + "/http2")
    yield h2load(plain + "/reviews/1")
    yield h2load(plain + "/http2")
    yield wrk(tls + "/reviews/1")
    yield wrk(tls + "/reviews/1", "-H", "Connection: close", connections=16)
    yield h2load(tls + "/reviews/1")


@contextlib.contextmanager
def gateway(program, folder, name, log="off", environment=None):
    """Runs one until it is left."""
    command = [program, "gateway", "--config", folder / name, "--labels", "istio=ingressgateway", "--workers", "1",
               "--admin", f"127.0.0.1:{ADMINS[name]}", "--access-log", log]
    process = subprocess.Popen(command, env=os.environ | (environment or {}))
    try:
        while not is_ready(ADMINS[name]):
            if process.poll() is not None:
                sys.exit("the gateway has ended")
            time.sleep(0.05)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def is_ready(admin):
    try:
        return urllib.request.urlopen(f"http://127.0.0.1:{admin}/ready", timeout=5).status == 200
    except OSError:
        return False


def configure(folder):
    words = {"PLAIN": PORTS["plain"], "TLS": PORTS["tls"], "BACK": PORTS["back end"], "UPLOADS": PORTS["uploads"],
             "FOLDER": folder, "LARGE": "x" * (1 << 20), "SMALL": "x" * 1024}
    for name, text in {"front": FRONT, "back": BACK_END}.items():
        for word, value in words.items():
            text = text.replace(word, str(value))
        (folder / name).mkdir()
        (folder / name / "gateway.yaml").write_text(text)
    (folder / "post.lua").write_text(POST)
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=reviews",
                    "-addext", "subjectAltName=DNS:reviews", "-keyout", folder / "key.pem", "-out", folder / "cert.pem"], check=True, stderr=subprocess.DEVNULL)


def train(program, folder, seconds):
    configure(folder)
    serve_uploads()
    with gateway(program, folder, "back", environment={"LLVM_PROFILE_FILE": "/dev/null"}):
        for log in ("off", str(folder / "access.log")):
            with gateway(program, folder, "front", log, {"LLVM_PROFILE_FILE": str(folder / "counts" / "%p.profraw")}):
                for load in loads(folder, seconds):
                    print("#", *load, flush=True)
                    said = subprocess.run(load, check=True, capture_output=True, text=True).stdout
                    told = [line.strip() for line in said.splitlines() if "Requests/sec" in line or "finished in" in line]
                    print("\n".join(told), flush=True)
                    if "Non-2xx" in said:
                        sys.exit("not all of that was answered")


def compiler():
    """Its version, and its tool for profiles."""
    def ask(*arguments):
        return subprocess.run(["rustc", *arguments], cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()

    tools = sorted(pathlib.Path(ask("--print", "sysroot")).glob("lib/rustlib/*/bin/llvm-profdata"))
    if not tools:
        sys.exit("llvm-profdata is missing: rustup component add llvm-tools")
    return ask("--version").split()[1], tools[0]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=4, help="of each kind of load (4)")
    seconds = parser.parse_args().seconds
    for tool in ("wrk", "h2load", "openssl"):
        shutil.which(tool) or sys.exit(f"{tool} is missing")
    version, profdata = compiler()
    built = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "profile"
    with tempfile.TemporaryDirectory(prefix="tidegate-") as name:
        folder = pathlib.Path(name)
        environment = os.environ | {"TIDEGATE_PROFILE_TO": "counts"}
        subprocess.run(["cargo", "build", "--release", "--locked", "--package", "tidegate", "--target-dir", built], cwd=ROOT, env=environment, check=True)
        train(built / "release/tidegate", folder, seconds)
        recorded = pathlib.Path(__file__).with_name(f"{version}.profdata")
        subprocess.run([profdata, "merge", "--sparse", "-o", recorded, folder / "counts"], check=True)
    # Cargo doesn't know of it, and would take what it has built for up to date.
    for crate in ("config-model", "proxy", "proxy/http1", "proxy/routing", "proxy/balance"):
        (ROOT / crate / "src/lib.rs").touch()
    print(f"{recorded.relative_to(ROOT)}: {recorded.stat().st_size} bytes")


if __name__ == "__main__":
    main()
