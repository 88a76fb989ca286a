#!/usr/bin/env python3
"""Connections that the kernel redirects to a sidecar, in a network namespace of their own, with rules as Istio's init container
sets them: of IPv4 and IPv6, by REDIRECT, then once more by TPROXY.

    python3 redirect.py --target PATH

Needs Linux, root, iptables and setpriv. Where they are missing the cases are skipped, with the reason.
"""
import argparse
import contextlib
import http.server
import os
import pathlib
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request

from blackbox import Answering

INSIDE = "TIDEGATE_REDIRECT_TEST"
PROXY_USER = 1337
CASES = []


def case(function):
    CASES.append(function)
    return function


CONFIG = """
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |-
    proxyHttpPort: 15080
    defaultConfig: {interceptionMode: INTERCEPTION}
---
apiVersion: v1
kind: Service
metadata: {name: reviews, namespace: default}
spec: {clusterIP: 10.96.0.5, clusterIPs: [10.96.0.5, "fd00:96::5"], selector: {app: reviews}, ports: [{name: http, port: 80, targetPort: 19080}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: reviews-1, namespace: default, labels: {kubernetes.io/service-name: reviews}}
addressType: IPv4
ports: [{name: http, port: 19080, protocol: TCP}]
endpoints: [{addresses: [127.0.0.1], conditions: {ready: true}}]
---
apiVersion: v1
kind: Service
metadata: {name: greeter, namespace: default}
spec: {clusterIP: 10.96.0.6, clusterIPs: [10.96.0.6, "fd00:96::6"], selector: {app: greeter}, ports: [{name: main, port: 7000, targetPort: 19070}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: greeter-1, namespace: default, labels: {kubernetes.io/service-name: greeter}}
addressType: IPv4
ports: [{name: main, port: 19070, protocol: TCP}]
endpoints: [{addresses: [127.0.0.1], conditions: {ready: true}}]
---
apiVersion: v1
kind: Service
metadata: {name: left, namespace: default}
spec: {clusterIP: None, selector: {app: left}, ports: [{name: tcp-db, port: 7200}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: left-1, namespace: default, labels: {kubernetes.io/service-name: left}}
addressType: IPv4
ports: [{name: tcp-db, port: 7200, protocol: TCP}]
endpoints: [{addresses: [10.97.0.11]}]
---
apiVersion: v1
kind: Service
metadata: {name: right, namespace: default}
spec: {clusterIP: None, selector: {app: right}, ports: [{name: tcp-db, port: 7200}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: right-1, namespace: default, labels: {kubernetes.io/service-name: right}}
addressType: IPv4
ports: [{name: tcp-db, port: 7200, protocol: TCP}]
endpoints: [{addresses: [10.97.0.12]}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: moved, namespace: default}
spec:
  hosts: [moved.example]
  resolution: NONE
  ports: [{number: 7300, name: http, protocol: HTTP, targetPort: 80}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: shifted, namespace: default}
spec:
  hosts: [shifted.example]
  addresses: [10.97.0.11]
  resolution: NONE
  ports: [{number: 7301, name: tcp, protocol: TCP, targetPort: 7200}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: right, namespace: default}
spec:
  hosts: [right]
  tcp: [{match: [{port: 7200}], route: [{destination: {host: greeter}}]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews, namespace: default}
spec:
  hosts: [reviews]
  http:
  - {match: [{uri: {prefix: /teapot}}], directResponse: {status: 418}}
  - {route: [{destination: {host: reviews}}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: vault, namespace: default}
spec:
  hosts: [vault.example]
  resolution: STATIC
  ports: [{number: 443, name: tls, protocol: TLS}]
  endpoints: [{address: 127.0.0.1, ports: {tls: 19443}}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: inner, namespace: default}
spec:
  hosts: [inner.example]
  resolution: STATIC
  ports: [{number: 443, name: tls, protocol: TLS}]
  endpoints: [{address: 127.0.0.1, ports: {tls: 19444}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: vault, namespace: default}
spec:
  hosts: ["*.example"]
  tls:
  - {match: [{sniHosts: [vault.example]}], route: [{destination: {host: vault.example}}]}
  - {match: [{sniHosts: [inner.example], destinationSubnets: [10.96.50.0/24]}], route: [{destination: {host: inner.example}}]}
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: default, namespace: default}
spec:
  outboundTrafficPolicy: {mode: MODE}
  egress: [{hosts: ["*/*"]}]
"""


class Named(Answering):
    """Answers with the name of its server."""

    def answer(self):
        return self.server.name.encode()


def family(address):
    return socket.AF_INET6 if ":" in address[0] else socket.AF_INET


def serve_http(address, name):
    class Server(http.server.ThreadingHTTPServer):
        address_family = family(address)

    server = Server(address, Named)
    server.name = name
    threading.Thread(target=server.serve_forever, daemon=True).start()


def serve_banner(address, banner):
    """Says a word before its client has said any, then echoes."""
    listener = socket.create_server(address, family=family(address))

    def talk(connection):
        with connection, contextlib.suppress(ConnectionError):
            connection.sendall(banner)
            while data := connection.recv(4096):
                connection.sendall(data)

    def accept():
        while True:
            threading.Thread(target=talk, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()


def serve_name(address, name):
    """Answers the first bytes of a connection with the name of its server."""
    listener = socket.create_server(address)

    def accept():
        while True:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(name)

    threading.Thread(target=accept, daemon=True).start()


def hello(name):
    """The first bytes of a TLS client that asks for `name`."""
    received, sent = ssl.MemoryBIO(), ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        ssl.create_default_context().wrap_bio(received, sent, server_hostname=name).do_handshake()
    return sent.read()


def get(address, host, path="/"):
    """The status and the body of a request that goes to `address` and asks for `host`."""
    request = urllib.request.Request(f"http://{address}{path}", headers={"Host": host})
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def read_first(address, send=b""):
    """What comes on a connection, until 16 bytes are there or it ends; and how long that took."""
    begun = time.monotonic()
    with socket.create_connection(address, timeout=5) as connection:
        if send:
            connection.sendall(send)
        data = b""
        while len(data) < 16 and (part := connection.recv(16)):
            data += part
            if data.endswith(b"\n"):
                break
    return data, time.monotonic() - begun


def equal(found, wanted):
    if found != wanted:
        raise AssertionError(f"found {found!r}, wanted {wanted!r}")


@case
def a_service_is_reached_by_its_cluster_ip(proxy):
    equal(get("10.96.0.5", "10.96.0.5"), (200, "reviews"))


@case
def a_service_is_reached_by_its_host_whatever_the_address(proxy):
    equal(get("10.96.9.9", "reviews"), (200, "reviews"))
    equal(get("10.96.9.9", "reviews.default.svc.cluster.local", "/teapot/1"), (418, ""))


@case
def a_server_that_speaks_first_is_heard_at_once(proxy):
    data, seconds = read_first(("10.96.0.6", 7000))
    equal(data, b"hello from inside\n"[:16])
    if seconds > 1:
        raise AssertionError(f"took {seconds:.2f} s")


@case
def bytes_that_are_no_http_go_to_the_service_of_the_address(proxy):
    with socket.create_connection(("10.96.0.6", 7000), timeout=5) as connection:
        equal(connection.recv(64), b"hello from inside\n")
        connection.sendall(b"\x00\x01ping")
        equal(connection.recv(64), b"\x00\x01ping")


@case
def the_same_holds_for_ipv6(proxy):
    proxy.mode = "ALLOW_ANY"
    equal(get("[fd00:96::5]", "[fd00:96::5]"), (200, "reviews"))
    equal(get("[fd00:96::99]", "reviews", "/teapot/1"), (418, ""))
    equal(read_first(("fd00:96::6", 7000))[0], b"hello from inside\n"[:16])
    equal(get("[fd00:97::9]", "other.example"), (200, "outside"))
    equal(read_first(("fd00:97::9", 7100))[0], b"hello from outsi"[:16])
    equal(read_first(("::1", 15001))[0], b"")


@case
def the_meshs_http_proxy_asks_for_services_by_their_names(proxy):
    equal(get("127.0.0.1:15080", "reviews"), (200, "reviews"))
    equal(get("127.0.0.1:15080", "reviews:80", "/teapot/1"), (418, ""))


@case
def tls_goes_by_the_address_that_was_wanted_before_the_server_name(proxy):
    equal(read_first(("10.96.9.9", 443), hello("vault.example"))[0], b"vault\n")
    proxy.says("vault.example -")
    # Nothing is told of the back end that was connected to before the name was known.
    equal(sum(" 10.96.9.9:443 " in line for line in (proxy.folder / "access.log").read_text().splitlines()), 1)
    equal(read_first(("10.96.50.1", 443), hello("inner.example"))[0], b"inner\n")
    proxy.mode = "REGISTRY_ONLY"
    # The subnet is for another name only, and there is no way back from it; elsewhere nobody has that name.
    equal(read_first(("10.96.50.1", 443), hello("vault.example"))[0], b"")
    equal(read_first(("10.96.9.9", 443), hello("inner.example"))[0], b"")


@case
def unknown_hosts_go_where_the_client_wanted(proxy):
    proxy.mode = "ALLOW_ANY"
    equal(get("10.97.0.9", "other.example"), (200, "outside"))
    equal(read_first(("10.97.0.9", 7100))[0], b"hello from outsi"[:16])
    proxy.says("PassthroughCluster")


@case
def unknown_hosts_are_refused_where_only_known_ones_are_allowed(proxy):
    proxy.mode = "REGISTRY_ONLY"
    equal(get("10.97.0.9", "other.example"), (502, ""))
    equal(read_first(("10.97.0.9", 7100))[0], b"")
    proxy.says("BlackHoleCluster")
    equal(get("10.96.0.5", "reviews"), (200, "reviews"))


@case
def pods_of_headless_services_with_one_port_have_the_rules_of_their_own_service(proxy):
    proxy.mode = "REGISTRY_ONLY"
    equal(read_first(("10.97.0.11", 7200))[0], b"hello from left\n")
    proxy.says("outbound|7200||left.default.svc.cluster.local")
    equal(read_first(("10.97.0.12", 7200))[0], b"hello from inside\n"[:16])
    proxy.says("outbound|7000||greeter.default.svc.cluster.local")
    # An address that is none of a pod is unknown.
    equal(read_first(("10.97.0.9", 7200))[0], b"")
    proxy.mode = "ALLOW_ANY"
    equal(read_first(("10.97.0.9", 7200))[0], b"hello from outsi")


@case
def a_target_port_is_connected_to_at_the_address_that_the_client_wanted(proxy):
    proxy.mode = "REGISTRY_ONLY"
    equal(get("10.97.0.9:7300", "moved.example"), (200, "outside"))
    equal(read_first(("10.97.0.11", 7301))[0], b"hello from left\n")


@case
def who_means_the_proxy_itself_does_not_go_around_in_circles(proxy):
    proxy.mode = "ALLOW_ANY"
    equal(read_first(("127.0.0.1", 15001))[0], b"")


class Proxy:
    """A sidecar that runs, and its configuration folder."""

    def __init__(self, target, interception):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="tidegate-redirect-"))
        self.folder.chmod(0o755)
        self.interception = interception
        self.write("ALLOW_ANY")
        self.log = open(self.folder / "log", "wb")
        binary = self.folder / "tidegate"
        shutil.copy(target, binary)
        # To take connections for other addresses is for the privileged; everything else is not.
        command = f"setpriv --reuid {PROXY_USER} --regid {PROXY_USER} --clear-groups --inh-caps -all".split()
        if interception == "TPROXY":
            command = command[:-1] + ["+net_admin", "--ambient-caps", "+net_admin"]
        command += [binary, "sidecar", "--config", self.folder, "--labels", "app=client", "--admin", "127.0.0.1:15000"]
        command += ["--workers", "1", "--access-log", self.folder / "access.log"]
        self.folder.joinpath("access.log").touch(0o666)
        self.folder.joinpath("access.log").chmod(0o666)
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log)
        self.wait(lambda: urllib.request.urlopen("http://127.0.0.1:15000/ready", timeout=2).status == 200)

    def write(self, mode):
        text = self.folder / "new"
        text.write_text(CONFIG.replace("MODE", mode).replace("INTERCEPTION", self.interception))
        text.chmod(0o644)
        text.rename(self.folder / "main.yaml")
        self._mode = mode

    @property
    def mode(self):
        return self._mode

    @mode.setter
    def mode(self, mode):
        if mode == self._mode:
            return
        version = lambda: urllib.request.urlopen("http://127.0.0.1:15000/config/version", timeout=2).read()
        before = version()
        self.write(mode)
        self.wait(lambda: version() != before)

    def says(self, word):
        self.wait(lambda: word in (self.folder / "access.log").read_text())

    @staticmethod
    def wait(condition):
        end = time.monotonic() + 10
        while True:
            try:
                if condition():
                    return
            except OSError:
                pass
            if time.monotonic() > end:
                raise AssertionError("waited for 10 s in vain")
            time.sleep(0.05)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(15)
        self.log.close()
        shutil.rmtree(self.folder)


def run(text):
    subprocess.run(text.split(), check=True, capture_output=True)


BLOCKS = {"iptables": ("10.96.0.0/16", "10.97.0.0/16"), "ip6tables": ("fd00:96::/64", "fd00:97::/64")}


def set_up():
    """Addresses and routes."""
    run("ip link set lo up")
    for address in ("10.97.0.9", "10.97.0.11", "10.97.0.12"):
        run(f"ip addr add {address}/32 dev lo")
    run("ip route add 10.96.0.0/16 dev lo")
    run("ip addr add fd00:97::9/128 dev lo nodad")
    run("ip -6 route add fd00:96::/64 dev lo")


def redirect():
    """Rules for what goes out; the proxy's own connections are not redirected."""
    for program, blocks in BLOCKS.items():
        rule = f"{program} -t nat -A OUTPUT -p tcp"
        run(f"{rule} -m owner --uid-owner {PROXY_USER} -j RETURN")
        for block in blocks:
            run(f"{rule} -d {block} -j REDIRECT --to-ports 15001")


def make_transparent():
    """The same by TPROXY, which only takes what comes in: what goes out is marked, and comes in by the loopback interface."""
    for program, blocks in BLOCKS.items():
        run(f"{program} -t nat -F OUTPUT")
        ip = "ip -6" if program == "ip6tables" else "ip"
        run(f"{ip} rule add fwmark 1 lookup 100")
        run(f"{ip} route add local default dev lo table 100")
        rule = f"{program} -t mangle -A OUTPUT -p tcp"
        run(f"{rule} -m owner --uid-owner {PROXY_USER} -j RETURN")
        for block in blocks:
            # Answers go to such addresses too.
            run(f"{rule} -d {block} -m conntrack --ctdir ORIGINAL -j MARK --set-mark 1")
        run(f"{program} -t mangle -A PREROUTING -p tcp -m mark --mark 1 -j TPROXY --on-port 15001 --tproxy-mark 1")


def inside(target):
    try:
        set_up()
    except (OSError, subprocess.CalledProcessError) as error:
        return skip(f"the namespace can't be set up: {reason(error)}")
    serve_http(("127.0.0.1", 19080), "reviews")
    serve_name(("127.0.0.1", 19443), b"vault\n")
    serve_name(("127.0.0.1", 19444), b"inner\n")
    serve_banner(("127.0.0.1", 19070), b"hello from inside\n")
    for address in ("10.97.0.9", "fd00:97::9"):
        serve_http((address, 80), "outside")
        serve_banner((address, 7100), b"hello from outside\n")
    for address, name in {"10.97.0.9": b"outside", "10.97.0.11": b"left", "10.97.0.12": b"right"}.items():
        serve_banner((address, 7200), b"hello from " + name + b"\n")
    passed = failed = skipped = 0
    for interception, rules in {"REDIRECT": redirect, "TPROXY": make_transparent}.items():
        try:
            rules()
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"SKIP {len(CASES)} cases: {interception} can't be set up: {reason(error)}")
            skipped += len(CASES)
            continue
        broken = cases(target, interception)
        passed, failed = passed + len(CASES) - broken, failed + broken
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


def cases(target, interception):
    """Runs all of them. Yields how many have failed."""
    proxy = Proxy(target, interception)
    failed = 0
    for function in CASES:
        name = function.__name__.replace("_", "-")
        try:
            function(proxy)
            print(f"PASS {interception.lower()}/{name}")
        except (AssertionError, OSError) as error:
            failed += 1
            print(f"FAIL {interception.lower()}/{name}\n     {error}")
    if failed:
        print((proxy.folder / "log").read_text()[-3000:])
        print((proxy.folder / "access.log").read_text()[-3000:])
    proxy.stop()
    return failed


def reason(error):
    return (getattr(error, "stderr", b"") or str(error).encode()).decode().strip()


def skip(reason):
    print(f"SKIP {2 * len(CASES)} cases: {reason}")
    print(f"0 passed, 0 failed, {2 * len(CASES)} skipped")
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", required=True, help="the program")
    target = pathlib.Path(parser.parse_args().target).resolve()
    if INSIDE in os.environ:
        return inside(target)
    if os.geteuid() != 0:
        return skip("it takes root to redirect connections and to run the proxy as a user of its own")
    for program in ("unshare", "setpriv", "ip", "iptables", "ip6tables"):
        if not shutil.which(program):
            return skip(f"{program} is missing")
    command = ["unshare", "-n", sys.executable, __file__, "--target", str(target)]
    probe = subprocess.run(["unshare", "-n", "true"], capture_output=True, text=True)
    if probe.returncode:
        return skip(f"no network namespace can be made: {probe.stderr.strip()}")
    return subprocess.run(command, env=os.environ | {INSIDE: "root"}).returncode


if __name__ == "__main__":
    sys.exit(main())
