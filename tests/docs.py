#!/usr/bin/env python3
"""The documentation names what exists: links lead somewhere, metrics.md has the metrics there are, and command-line.md the help texts.

    python3 docs.py --tidegate PATH [--write]         `--write` brings command-line.md up to date
"""
import argparse
import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
COMMAND_LINE = ROOT / "docs" / "reference" / "command-line.md"
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
METRIC = re.compile(r"\b(?:istio|envoy|tidegate)_[a-z_]+")


def anchors(page):
    """The headings of a page as GitHub turns them into anchors."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", h).strip().lower().replace(" ", "-") for h in headings}


def broken_links(page):
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.S)
    for link in LINK.findall(text):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        there = (page.parent / path).resolve() if path else page
        if not there.exists() or anchor and anchor not in anchors(there):
            yield f"the link {link} leads nowhere"


def links():
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True)
    for page in (ROOT / name for name in listed.stdout.split()):
        yield str(page.relative_to(ROOT)), list(broken_links(page))


def metrics():
    """Names in the program against those that metrics.md explains in the first column of a table."""
    source = (ROOT / "proxy/src/telemetry/expose.rs").read_text().partition("#[cfg(test)]")[0]
    there = {name for text in re.findall(r'"([a-z_]+)"', source) for name in METRIC.findall(text)}
    told = set(re.findall(r"^\| `((?:istio|envoy|tidegate)_[a-z_]+)` \|", (ROOT / "docs/reference/metrics.md").read_text(), re.M))
    yield "every metric is explained", [f"{name} is not" for name in sorted(there - told)] + [f"{name} does not exist" for name in sorted(told - there)]


def command_line(tidegate):
    """The page that the help texts make."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("TIDEGATE_")} | {"COLUMNS": "110", "NO_COLOR": "1"}

    def help_of(*words):
        text = subprocess.run([tidegate, *words, "--help"], env=env, capture_output=True, text=True, check=True).stdout
        return re.sub(r" +$", "", text, flags=re.M).rstrip()

    top = help_of()
    names = re.findall(r"^  ([a-z-]+) ", top.partition("Commands:")[2].partition("Options:")[0], re.M)
    parts = ["# Command line\n\nWhat `--help` prints; every flag that names an environment variable can be set by it. Exit status: 0, 1 for a configuration that "
             "cannot\nbe used or has findings, 2 for a wrong command line. `tidegate gateway` built with the feature `http3` has "
             "[`--http3`](../http3.md) too.\n", f"```text\n{top}\n```\n"]
    parts += [f"## tidegate {name}\n\n```text\n{help_of(name)}\n```\n" for name in names if name != "help"]
    return "\n".join(parts)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tidegate", required=True, help="the program")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    page = command_line(options.tidegate)
    if options.write:
        COMMAND_LINE.write_text(page)
    stale = not COMMAND_LINE.exists() or COMMAND_LINE.read_text() != page
    results = [*links(), *metrics(), ("command-line.md", ["it is not what --help prints: run tests/docs.py --write"] * stale)]
    for name, problems in results:
        for problem in problems:
            print(f"FAIL {name}: {problem}")
    failed = sum(bool(problems) for _, problems in results)
    print(f"{len(results) - failed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
