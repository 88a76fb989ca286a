#!/usr/bin/env python3
"""CPU time that each thread spends on a change of one endpoint, from the file to the swap.

    python3 benches/reload.py target/release/tidegate files

Writes 10,000 endpoints to a folder of its own, starts a gateway on it, and changes one of them again and again by putting
another file in the place of the one that it is in. What the threads do without a change is measured before, and taken off.

    files     100 EndpointSlices of 100 endpoints of one Service, each in a file of its own
    one       the same in one file
    services  1,000 Services of 10 endpoints, each with its slice in a file of its own
    pods      as files, with all 10,000 Pods in 100 files

`--armed` has least request, outlier detection and warmup by a DestinationRule.
"""

import argparse
import os
import subprocess
import tempfile
import time
import urllib.request

GATEWAY = """apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: web}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web}
spec:
  hosts: ["*"]
  gateways: [web]
  http:
"""


ARMED = """apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web}
spec:
  host: web
  trafficPolicy:
    loadBalancer: {simple: LEAST_REQUEST, warmup: {duration: 60s}}
    outlierDetection: {consecutive5xxErrors: 5, maxEjectionPercent: 50}
"""


def address(number):
    return f"10.{number // 65536}.{number // 256 % 256}.{number % 256}"


def endpoint(number, ip=None, ready="true"):
    return f"""- addresses:
  - {ip or address(number)}
  conditions:
    ready: {ready}
    serving: {ready}
    terminating: false
  nodeName: node-{number % 50}
  targetRef:
    kind: Pod
    name: web-6c9f8bcbd5-{number:05d}
    namespace: default
    uid: 0f9d2a3e-6f7b-4a7c-9a7e-{number:012d}
  zone: zone-{number % 3}
"""


def slice_of(service, first, count, change=None, version=0):
    """The slice, whose middle endpoint is another one in each odd version."""
    endpoints = [endpoint(number) for number in range(first, first + count)]
    if version % 2:
        middle = first + count // 2
        endpoints[count // 2] = {
            "address": endpoint(middle, ip=address(200_000 + version)),
            "ready": endpoint(middle, ready="false"),
            "add": endpoint(middle) + endpoint(middle, ip=address(200_000)),
        }[change]
    return f"""addressType: IPv4
apiVersion: discovery.k8s.io/v1
endpoints:
{''.join(endpoints)}kind: EndpointSlice
metadata:
  generateName: {service}-
  labels:
    kubernetes.io/service-name: {service}
  name: {service}-{first}
  namespace: default
ports:
- name: http
  port: 8080
  protocol: TCP
"""


def service(name):
    return f"""apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec: {{clusterIP: 10.255.0.1, selector: {{app: {name}}}, ports: [{{name: http, port: 80, targetPort: 8080}}]}}
"""


def pod(number):
    return f"""apiVersion: v1
kind: Pod
metadata:
  name: web-6c9f8bcbd5-{number:05d}
  labels: {{app: web, version: v{number % 2}, topology.kubernetes.io/zone: zone-{number % 3}}}
  ownerReferences: [{{apiVersion: apps/v1, kind: ReplicaSet, name: web-6c9f8bcbd5, controller: true}}]
spec: {{serviceAccountName: web, nodeName: node-{number % 50}}}
status: {{phase: Running, podIP: {address(number)}}}
"""


def folder(case, change):
    """All files, and the name and text of the one that changes, by its version."""
    names = [f"s{number}" for number in range(1000)] if case == "services" else ["web"]
    route = "  - {{match: [{{uri: {{prefix: /{0}/}}}}], route: [{{destination: {{host: {0}, port: {{number: 80}}}}}}]}}\n"
    files = {"routes.yaml": GATEWAY + "".join(route.format(name) for name in names)}
    if case == "services":
        text = lambda number, version=0: service(f"s{number}") + "---\n" + slice_of(
            f"s{number}", number * 10, 10, change, version)
        files.update((f"s{number}.yaml", text(number)) for number in range(1000))
        return files, "s500.yaml", lambda version: text(500, version)
    files["service.yaml"] = service("web")
    text = lambda number, version=0: slice_of("web", number * 100, 100, change, version)
    if case == "one":
        whole = lambda version: "---\n".join(text(number, version if number == 50 else 0) for number in range(100))
        files["slices.yaml"] = whole(0)
        return files, "slices.yaml", whole
    for number in range(100):
        files[f"slice{number:02d}.yaml"] = text(number)
        if case == "pods":
            files[f"pods{number:02d}.yaml"] = "---\n".join(map(pod, range(number * 100, number * 100 + 100)))
    return files, "slice50.yaml", lambda version: text(50, version)


def cpu_times(process):
    """Nanoseconds on CPU, by the scheduler's clock, of each thread by its name."""
    times = {}
    for thread in os.listdir(f"/proc/{process.pid}/task"):
        with open(f"/proc/{process.pid}/task/{thread}/comm") as name, \
                open(f"/proc/{process.pid}/task/{thread}/schedstat") as times_of:
            times[name.read().strip()] = int(times_of.read().split()[0])
    return times


def spent(process, action):
    """Seconds that `action` took, and nanoseconds that each thread spent meanwhile."""
    begun, before = time.monotonic(), cpu_times(process)
    action()
    after = cpu_times(process)
    return time.monotonic() - begun, {name: after[name] - before.get(name, 0) for name in after}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("case", choices=["files", "one", "services", "pods"])
    parser.add_argument("--change", choices=["address", "ready", "add"], default="address")
    parser.add_argument("--armed", action="store_true")
    parser.add_argument("--changes", type=int, default=40)
    parser.add_argument("--admin", type=int, default=15900, help="a free port")
    parser.add_argument("--port", type=int, default=15980, help="another one")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as path:
        files, name, text = folder(options.case, options.change)
        if options.armed:
            files["rule.yaml"] = ARMED
        for file, content in files.items():
            with open(os.path.join(path, file), "w") as opened:
                opened.write(content)
        admin = f"127.0.0.1:{options.admin}"
        command = [options.program, "gateway", "--config", path, "--port-map", f"80:{options.port}", "--admin", admin, "--workers", "1"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            measure(process, options, path, name, text)
        finally:
            process.terminate()
            process.wait()


def measure(process, options, path, name, text):
    def version():
        with urllib.request.urlopen(f"http://127.0.0.1:{options.admin}/config/version") as answer:
            return answer.read()

    def change():
        for number in range(1, options.changes + 1):
            known = version()
            with open(os.path.join(path, ".new"), "w") as opened:
                opened.write(text(number))
            os.rename(os.path.join(path, ".new"), os.path.join(path, name))
            time.sleep(0.25)
            assert version() != known, "the change has not come through"

    while True:
        try:
            version()
            break
        except OSError:
            assert process.poll() is None, "the gateway has ended"
            time.sleep(0.1)
    time.sleep(2)
    idle_seconds, idle = spent(process, lambda: time.sleep(3))
    seconds, times = spent(process, change)
    for thread, time_spent in sorted(times.items()):
        without_change = idle.get(thread, 0) / idle_seconds * seconds
        print(f"{thread:<16} {(time_spent - without_change) / options.changes / 1000:8.0f} us")


if __name__ == "__main__":
    main()
