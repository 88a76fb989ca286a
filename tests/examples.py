#!/usr/bin/env python3
"""Runs the commands of every example's README as they are printed, and compares what they print.

    python3 examples.py --tidegate PATH [--only NAME]

In a block marked `console`, a line that begins with `$ ` is a command (a trailing backslash continues it); the lines below are
what it prints. `...` stands for any text, on a line of its own for any lines. Of a count that `uniq -c` prints, three more or
fewer are right: every data thread keeps its own exact split, and a run may meet it anywhere. A command that ends in `&` is
left running until the end of its README. Everything happens in a copy of the examples, from the folder above it.
"""
import argparse
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
BINARY = "target/release/tidegate"
SECONDS = 60


def commands(readme):
    """Pairs of a command and the lines that it is to print."""
    for block in re.findall(r"^```console\n(.*?)^```", readme.read_text(), re.S | re.M):
        for chunk in re.split(r"^\$ ", block, flags=re.M)[1:]:
            command, _, output = chunk.replace("\\\n", "").partition("\n")
            yield command.strip(), output.splitlines()


def line_matches(want, got):
    counted = [re.fullmatch(r"\s*(\d+) (\S.*)", text) for text in (want, got)]
    if all(counted):
        return counted[0][2] == counted[1][2] and abs(int(counted[0][1]) - int(counted[1][1])) <= 3
    return re.fullmatch(".*".join(map(re.escape, want.rstrip().split("..."))), got.rstrip()) is not None


def matches(want, got):
    if not want:
        return not got
    if want[0] == "...":
        return any(matches(want[1:], got[n:]) for n in range(len(got) + 1))
    return bool(got) and line_matches(want[0], got[0]) and matches(want[1:], got[1:])


class Shell:
    """Runs commands in one folder, and ends those left running."""

    def __init__(self, folder, log):
        self.folder, self.log, self.left = folder, log, []

    def start(self, command):
        self.left.append(subprocess.Popen(["bash", "-c", "exec " + command.removesuffix("&")], cwd=self.folder, start_new_session=True,
                                          stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log))

    def run(self, command):
        done = subprocess.run(["bash", "-c", command], cwd=self.folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=SECONDS)
        return done.stdout.splitlines()

    def end(self):
        """The processes that did not end cleanly when they were asked to."""
        bad = []
        for process in self.left:
            if process.poll() is not None:
                bad.append(f"{process.args[2]}: ended early with status {process.returncode}")
                continue
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                bad.append(f"{process.args[2]}: did not end when asked to")
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        return bad


def follow(readme, tidegate):
    """What went wrong, or nothing."""
    problems = []
    with tempfile.TemporaryDirectory(prefix="examples-") as folder, tempfile.TemporaryFile() as log:
        shutil.copytree(ROOT / "examples", pathlib.Path(folder) / "examples")
        shell = Shell(folder, log)
        try:
            steps = list(commands(readme))
            for command, want in steps:
                actual = command.replace(BINARY, tidegate)
                if actual.endswith("&"):
                    shell.start(actual)
                    continue
                got = shell.run(actual)
                if not matches(want, got):
                    problems.append(f"$ {command}\n" + "".join(f"       expected: {x}\n" for x in want) + "".join(f"       printed:  {x}\n" for x in got))
            if not steps:
                problems.append("no command in it")
        except subprocess.TimeoutExpired as late:
            problems.append(f"{late.cmd[2]}: took longer than {SECONDS} s")
        finally:
            problems += shell.end()
        if problems:
            log.seek(0)
            problems.append("left running, it said: " + log.read().decode(errors="replace")[-1500:])
    return problems


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tidegate", required=True, help="the program, taken wherever a README says " + BINARY)
    parser.add_argument("--only", help="name of one example")
    options = parser.parse_args()
    passed = failed = 0
    for folder in sorted(p for p in (ROOT / "examples").iterdir() if p.is_dir() and options.only in (None, p.name)):
        start = time.monotonic()
        readme = folder / "README.md"
        problems = follow(readme, options.tidegate) if readme.exists() else ["it has no README.md"]
        passed, failed = passed + (not problems), failed + bool(problems)
        print(f"{'FAIL' if problems else 'PASS'} examples/{folder.name} ({time.monotonic() - start:.1f} s)")
        for problem in problems:
            print("     " + problem.rstrip())
    print(f"{passed} passed, {failed} failed, 0 skipped")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
