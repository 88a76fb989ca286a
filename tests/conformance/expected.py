#!/usr/bin/env python3
"""Holds a target to expected.yaml: the topics listed there pass, but for the cases that it excepts by name.

    python3 expected.py --target "CMD" [any switch of run.py]      --only GLOB narrows the listed topics further
"""
import pathlib
import sys

import yaml

import run

HERE = pathlib.Path(__file__).resolve().parent
EXPECTED = yaml.safe_load((HERE / "expected.yaml").read_text())
NOT_YET = EXPECTED["not_yet"] or {}


class Suite(run.Suite):
    """A suite in which an excepted case is skipped when it fails, and fails when it passes."""

    def done(self, case, outcome, text, seconds):
        reason = NOT_YET.get(case.name)
        if reason and outcome == "FAIL":
            outcome, text = "SKIP", f"not yet: {reason}"
        elif reason and outcome == "PASS":
            outcome, text = "FAIL", "passes, although expected.yaml says `not_yet`: take its line out"
        super().done(case, outcome, text, seconds)


def topic(name):
    return name.rpartition("/")[0]


def listed(folder, load=run.load_cases):
    """The cases of the listed topics. A name in expected.yaml that stands for nothing ends the run."""
    cases = load(folder)
    stale = set(EXPECTED["topics"]) - {topic(c.name) for c in cases} | set(NOT_YET) - {c.name for c in cases}
    stale |= {name for name in NOT_YET if topic(name) not in EXPECTED["topics"]}
    if stale:
        sys.exit("expected.yaml names what does not exist or is not listed: " + ", ".join(sorted(stale)))
    return [c for c in cases if topic(c.name) in EXPECTED["topics"]]


if __name__ == "__main__":
    run.load_cases, run.Suite = listed, Suite
    sys.exit(run.main())
