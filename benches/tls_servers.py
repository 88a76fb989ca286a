#!/usr/bin/env python3
"""What ten and ten thousand TLS servers cost, each with a certificate of its own: memory, and the worker's CPU time for a handshake,
in rounds that take turns.

    python3 benches/tls_servers.py --tidegate target/release/tidegate [--rounds 9]

Needs the package `cryptography` to make the certificates.
"""
import argparse
import base64
import datetime
import http.client
import pathlib
import random
import re
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

COUNTS = (10, 10_000)
PORTS = dict(zip(COUNTS, (17640, 17650)))
HANDSHAKES = 300
HEAD = "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: web}\nspec:\n  selector: {app: bench}\n  servers:\n"
ROUTES = """---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: v}
spec: {hosts: ["*"], gateways: [web], http: [{directResponse: {status: 204}}]}
"""


def certificate(name, issuer, key, authority_key, extension):
    naming = lambda text: x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])
    start = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=1)
    builder = x509.CertificateBuilder().subject_name(naming(name)).issuer_name(naming(issuer)).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(start)
    builder = builder.not_valid_after(start + datetime.timedelta(days=90)).add_extension(extension, False)
    return builder.sign(authority_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def write(folder, count):
    """The configuration, and beside it the authority's certificate."""
    authority_key = ec.generate_private_key(ec.SECP256R1())
    authority = certificate("authority", "authority", authority_key, authority_key, x509.BasicConstraints(True, None))
    (folder / "authority.pem").write_bytes(authority)
    servers, secrets = [], []
    for number in range(count):
        host, key = f"host{number}.example", ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([x509.DNSName(host)])
        pem = certificate(host, "authority", key, authority_key, names)
        form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        data = {"tls.crt": pem, "tls.key": key.private_bytes(*form)}
        data = ", ".join(f"{name}: {base64.b64encode(value).decode()}" for name, value in data.items())
        secrets.append(f"apiVersion: v1\nkind: Secret\nmetadata: {{name: s{number}}}\ndata: {{{data}}}\n")
        tls = f"tls: {{mode: SIMPLE, credentialName: s{number}}}"
        servers.append(f"  - {{port: {{number: 443, name: p{number}, protocol: HTTPS}}, hosts: [{host}], {tls}}}\n")
    (folder / "secrets.yaml").write_text("---\n".join(secrets))
    (folder / "gateway.yaml").write_text(HEAD + "".join(servers) + ROUTES)


def start(tidegate, folder, port):
    command = [tidegate, "gateway", "--config", str(folder), "--labels", "app=bench", "--workers", "1", "--access-log", "off"]
    command += ["--port-map", f"443:{port}", "--admin", f"127.0.0.1:{port + 1}"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port + 1, timeout=10)
            connection.request("GET", "/ready")
            if connection.getresponse().status == 200:
                return process
        except OSError:
            time.sleep(0.05)
    raise SystemExit("it does not become ready")


def handshakes(folder, count):
    """Microseconds of the worker for each."""
    context = ssl.create_default_context(cafile=folder / "authority.pem")
    process = RUNNING[count]
    before = worker(process)
    for _ in range(HANDSHAKES):
        name = f"host{random.randrange(count)}.example"
        with context.wrap_socket(socket.create_connection(("127.0.0.1", PORTS[count])), server_hostname=name):
            pass
    return (worker(process) - before) / 1e3 / HANDSHAKES


def worker(process):
    """Nanoseconds on CPU of the data thread."""
    tasks = pathlib.Path(f"/proc/{process.pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks if "worker" in (task / "comm").read_text())


def memory(process):
    """Resident now and at most, in MB."""
    status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
    return [int(re.search(rf"{field}:\s*(\d+)", status).group(1)) * 1024 / 1e6 for field in ("VmRSS", "VmHWM")]


RUNNING = {}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tidegate", required=True)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tidegate-servers-") as folder:
        folders = {count: pathlib.Path(folder) / str(count) for count in COUNTS}
        for count, own in folders.items():
            own.mkdir()
            write(own, count)
            RUNNING[count] = start(options.tidegate, own, PORTS[count])
        costs = {count: [] for count in COUNTS}
        for number in range(options.rounds):
            for count in COUNTS if number % 2 else COUNTS[::-1]:
                costs[count].append(handshakes(folders[count], count))
        for count, process in RUNNING.items():
            now, most = memory(process)
            print(f"{count} servers: {now:.0f} MB, at most {most:.0f} MB; {statistics.median(costs[count]):.0f} us a handshake")
            process.terminate()
            process.wait()
        ratios = sorted(many / few for few, many in zip(*costs.values()))
        print(f"ratio {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})")


if __name__ == "__main__":
    sys.exit(main())
