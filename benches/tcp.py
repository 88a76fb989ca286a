#!/usr/bin/env python3
"""What plain TCP costs: CPU time of the proxy per gigabyte (bulk) and per exchange of 1 KiB (echo), beside HAProxy and nginx.

    python3 benches/tcp.py --tidegate target/release/tidegate [--rounds 7] [--seconds 2] [--case bulk|echo]

Rounds are interleaved, each proxy has one worker on CPU 0, load and back end are on CPU 1. The time on CPU is the scheduler's
own count for all threads. Each ratio is to HAProxy's figure of the same round; the median is printed with its extremes. A proxy that
isn't installed is left out.
"""
import argparse
import os
import pathlib
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

BULK, ECHO = 17601, 17602
PORTS = {"haproxy": 17610, "tidegate": 17620, "nginx": 17630}
CONNECTIONS = 8
BLOCK = 1 << 20
MESSAGE = b"x" * 1024


def serve(port, talk):
    """A back end: `talk` is called with each connection."""
    listener = socket.create_server(("127.0.0.1", port), backlog=64)

    def run(connection):
        with connection:
            try:
                talk(connection)
            except OSError:
                pass

    while True:
        threading.Thread(target=run, args=(listener.accept()[0],), daemon=True).start()


def pour(connection):
    block = bytes(BLOCK)
    while True:
        connection.sendall(block)


def echo(connection):
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while data := connection.recv(4096):
        connection.sendall(data)


def haproxy(folder, port):
    text = "global\n  nbthread 1\n  maxconn 1000\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n  option splice-auto\n"
    for offset, backend in ((0, BULK), (1, ECHO)):
        text += f"listen l{offset}\n  bind 127.0.0.1:{port + offset}\n  server s 127.0.0.1:{backend}\n"
    (folder / "haproxy.cfg").write_text(text)
    return ["haproxy", "-db", "-q", "-f", str(folder / "haproxy.cfg")]


def nginx(folder, port):
    servers = "".join(
        f"server {{ listen 127.0.0.1:{port + offset}; proxy_pass 127.0.0.1:{backend}; }}\n" for offset, backend in ((0, BULK), (1, ECHO))
    )
    module = pathlib.Path("/usr/lib/nginx/modules/ngx_stream_module.so")
    load = f"load_module {module};\n" if module.exists() else ""
    (folder / "nginx.conf").write_text(
        f"{load}daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/nginx.log;\n"
        f"events {{ worker_connections 1000; }}\nstream {{ proxy_buffer_size 64k;\n{servers} }}\n"
    )
    return ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf")]


def tidegate(binary, folder, port):
    config = folder / "config"
    config.mkdir()
    text = ""
    for offset, backend in ((0, BULK), (1, ECHO)):
        text += f"""
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: s{offset}}}
spec:
  hosts: [s{offset}.example]
  resolution: STATIC
  ports: [{{number: {port + offset}, name: tcp, protocol: TCP}}]
  endpoints: [{{address: 127.0.0.1, ports: {{tcp: {backend}}}}}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: g{offset}}}
spec: {{selector: {{app: bench}}, servers: [{{port: {{number: {port + offset}, name: tcp, protocol: TCP}}, hosts: ["*"]}}]}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: v{offset}}}
spec: {{hosts: ["*"], gateways: [g{offset}], tcp: [{{route: [{{destination: {{host: s{offset}.example}}}}]}}]}}
---"""
    (config / "main.yaml").write_text(text)
    command = [binary, "gateway", "--config", str(config), "--labels", "app=bench", "--workers", "1"]
    return command + ["--admin", f"127.0.0.1:{port + 2}", "--access-log", "off"]


def cpu(pid):
    """Nanoseconds on CPU of all threads of a process and of its children."""
    pids = [pid]
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        pids += (task / "children").read_text().split()
    total = 0
    for one in pids:
        for task in pathlib.Path(f"/proc/{one}/task").iterdir():
            total += int((task / "schedstat").read_text().split()[0])
    return total


def connect(port):
    end = time.monotonic() + 10
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=30)
        except ConnectionRefusedError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


def drink(connection, done, counts, index):
    space = bytearray(BLOCK)
    while not done.is_set():
        counts[index] += connection.recv_into(space)


def ask(connection, done, counts, index):
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while not done.is_set():
        connection.sendall(MESSAGE)
        left = len(MESSAGE)
        while left:
            left -= len(connection.recv(left))
        counts[index] += 1


def measure(pid, port, case, seconds):
    """Nanoseconds for each byte, or for each exchange."""
    done, counts = threading.Event(), [0] * CONNECTIONS
    connections = [connect(port) for _ in counts]
    work = drink if case == "bulk" else ask
    threads = [threading.Thread(target=work, args=(one, done, counts, index)) for index, one in enumerate(connections)]
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    before, moved = cpu(pid), sum(counts)
    time.sleep(seconds)
    spent, moved = cpu(pid) - before, sum(counts) - moved
    done.set()
    for thread in threads:
        thread.join()
    for connection in connections:
        connection.close()
    return spent / moved, moved / seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tidegate", required=True)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--case", choices=["bulk", "echo"], action="append")
    options = parser.parse_args()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="tidegate-tcp-"))
    commands = {"haproxy": haproxy(folder, PORTS["haproxy"])}
    commands["tidegate"] = tidegate(options.tidegate, folder, PORTS["tidegate"])
    commands["nginx"] = nginx(folder, PORTS["nginx"])
    commands = {name: command for name, command in commands.items() if shutil.which(command[0])}
    os.sched_setaffinity(0, {os.cpu_count() - 1})
    for port, talk in ((BULK, pour), (ECHO, echo)):
        if os.fork() == 0:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            threading.Thread(target=serve, args=(port, talk), daemon=True).start()
            # Ends with its parent.
            parent = os.getppid()
            while os.getppid() == parent:
                time.sleep(0.5)
            os._exit(0)
    log = open(folder / "log", "wb")
    on_first = lambda: os.sched_setaffinity(0, {0})
    started = {name: subprocess.Popen(command, stdout=log, stderr=log, preexec_fn=on_first) for name, command in commands.items()}
    time.sleep(1)
    # nginx may lack its stream module.
    for name in [name for name, process in started.items() if process.poll() is not None]:
        print(f"{name} doesn't start and is left out", flush=True)
        del started[name]
    try:
        for case in options.case or ["bulk", "echo"]:
            report(case, rounds(case, started, options))
    finally:
        for process in started.values():
            process.terminate()
            process.wait()
        shutil.rmtree(folder)


def rounds(case, started, options):
    figures = {name: [] for name in started}
    for number in range(options.rounds):
        names = list(started)
        for name in names[number % len(names):] + names[: number % len(names)]:
            port = PORTS[name] + (0 if case == "bulk" else 1)
            figures[name].append(measure(started[name].pid, port, case, options.seconds))
    return figures


def report(case, figures):
    unit = "ms/GB" if case == "bulk" else "us/exchange"
    scale = 1e3 if case == "bulk" else 1e-3
    base = figures.get("haproxy") or next(iter(figures.values()))
    for name, values in figures.items():
        ratios = sorted(value[0] / other[0] for value, other in zip(values, base))
        cost = statistics.median(value[0] for value in values) * scale
        rate = statistics.median(value[1] for value in values)
        rate = f"{rate / 1e9:.2f} GB/s" if case == "bulk" else f"{rate:.0f}/s"
        print(f"{case} {name}: {cost:.1f} {unit}, {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}) of the first, {rate}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
