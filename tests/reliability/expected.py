#!/usr/bin/env python3
"""Holds a target to expected.yaml: the checks that its globs name pass, but for those that it excepts by name.

    python3 expected.py --target "CMD" [any switch of attack.py but --only, --not and --json]
"""
import json
import pathlib
import subprocess
import sys
import tempfile

import yaml

HERE = pathlib.Path(__file__).resolve().parent
EXPECTED = yaml.safe_load((HERE / "expected.yaml").read_text())
NOT_YET = EXPECTED["not_yet"] or {}


def attack(switches):
    """What the suite said of each check: its verdict and a remark."""
    with tempfile.NamedTemporaryFile(suffix=".json") as results:
        command = [sys.executable, str(HERE / "attack.py"), "--only", ",".join(EXPECTED["checks"]),
                   "--not", ",".join(EXPECTED["not_here"]), "--json", results.name, *switches]
        subprocess.run(command, check=False)
        text = pathlib.Path(results.name).read_text()
    return {c["check"]: (c["verdict"], c["said"]) for c in json.loads(text)["checks"]} if text else {}


def judge(name, verdict, said):
    if name not in NOT_YET or verdict == "SKIP":
        return verdict, said
    if verdict == "FAIL":
        return "SKIP", f"not yet: {NOT_YET[name]}"
    return "FAIL", "passes, although expected.yaml says `not_yet`: take its line out"


def main():
    results = attack(sys.argv[1:])
    judged = {name: judge(name, *result) for name, result in results.items()}
    judged.update({name: ("FAIL", "expected.yaml names it, but no such check ran") for name in set(NOT_YET) - set(results)})
    print("\nHeld to expected.yaml:")
    for name, (verdict, said) in sorted(judged.items()):
        if verdict != "PASS":
            print(f"{verdict} {name}  {said}")
    count = [sum(v == verdict for v, _ in judged.values()) for verdict in ("PASS", "FAIL", "SKIP")]
    print("{} passed, {} failed, {} skipped".format(*count))
    return 1 if count[1] or not count[0] else 0


if __name__ == "__main__":
    sys.exit(main())
