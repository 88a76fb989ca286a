#!/usr/bin/env python3
"""What replacing the program in place and ending it mean to each other, and to requests under way.

    python3 restart.py --target PATH [--only NAME]
"""
import contextlib
import os
import pathlib
import shutil
import signal
import socket
import tempfile

from blackbox import GATEWAY, POOL, Checks, Gateway, listen, need, wait

CONFIG = GATEWAY.replace("RULE", "{route: [{destination: {host: pool.internal}}]}") + POOL
check = Checks()


class Run(Gateway):
    """A gateway in front of a back end that answers when it is told."""

    def __init__(self, target):
        self.back_end = listen()
        self.program = target
        super().__init__(target, {"main.yaml": CONFIG.replace("PORT", str(self.back_end.getsockname()[1]))}, 80)

    def begin(self):
        """A request under way: the client's connection, and the back end's."""
        client = socket.create_connection(("127.0.0.1", self.ports[80]), 5)
        client.sendall(b"GET / HTTP/1.1\r\nhost: a.example\r\n\r\n")
        self.back_end.settimeout(5)
        served, _ = self.back_end.accept()
        need(served.recv(65536).startswith(b"GET / "), "no request")
        return client, served

    def children(self):
        tasks = pathlib.Path(f"/proc/{self.process.pid}/task")
        return {int(child) for task in tasks.iterdir() for child in (task / "children").read_text().split()}

    def replace(self):
        self.process.send_signal(signal.SIGUSR2)
        wait(lambda: "the successor serves" in self.logged(), "a successor serves")


def finish(client, served):
    served.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nwhole")
    with client.makefile("rb") as answer:
        text = answer.read()
    need(text.startswith(b"HTTP/1.1 200") and text.endswith(b"whole"), text)


def is_gone(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@check
def a_replaced_program_that_is_told_to_end_finishes_what_is_under_way(run):
    client, served = run.begin()
    run.replace()
    successor = run.children()
    try:
        run.process.send_signal(signal.SIGTERM)
        finish(client, served)
        need(run.process.wait(5) == 0, "ended otherwise")
        need("drained" in run.logged(), "cut")
        need("LIVE" in (run.ask_admin("/ready") or ""), "the successor has ended")
    finally:
        for pid in successor:
            os.kill(pid, signal.SIGKILL)


@check
def an_end_while_a_successor_starts_is_the_end_of_both(run):
    client, served = run.begin()
    # One that is never ready.
    run.program.rename(run.program.with_name("aside"))
    run.program.write_text("#!/bin/sh\nexec sleep 60\n")
    run.program.chmod(0o755)
    run.process.send_signal(signal.SIGUSR2)
    successor, = wait(run.children, "a successor starts")
    run.process.send_signal(signal.SIGTERM)
    wait(lambda: is_gone(successor), "the successor has ended")
    finish(client, served)
    need(run.process.wait(5) == 0, "ended otherwise")


@contextlib.contextmanager
def copied(target):
    """A gateway from a copy of the program, which may be exchanged."""
    with tempfile.TemporaryDirectory(prefix="tidegate-program-") as folder:
        copy = pathlib.Path(folder).resolve() / "tidegate"
        shutil.copy(target, copy)
        with Run(copy) as run:
            yield run


if __name__ == "__main__":
    check.run(__doc__, copied)
