#!/usr/bin/env python3
"""Draws what the measuring rig wrote with `run.py --json FILE`: CPU time per request of each peer, as a ratio to the base of the same round.

    python3 benches/chart.py results.jsonl > docs/performance.svg       [--base PEER]

A bar is the median over the rounds, its whisker the least and the greatest. The base of a case is the peer that was measured first,
unless --base names one that took part. Samples that the rig calls wrong are left out, and standard error tells how many.
"""
import argparse
import json
import math
import statistics
import sys
from xml.sax.saxutils import escape

WIDTH, LEFT, RIGHT, ROW, GAP = 760, 110, 590, 20, 40
# Where the axis ends at the latest. A longer bar is cut, and its number tells how long it is.
AXIS_MAX = 6
# Page, text, faint text, grid, whisker, Tidegate's bars, other bars.
THEMES = {
    "light": ("#ffffff", "#1f2328", "#59636e", "#d1d9e0", "#1f2328", "#0969da", "#afb8c1"),
    "dark": ("#0d1117", "#f0f6fc", "#9198a1", "#3d444d", "#f0f6fc", "#388bfd", "#59636e"),
}
STYLE = """.page{{fill:{0}}} text{{font:13px sans-serif;fill:{1}}} .case{{font-weight:bold}} .faint{{fill:{2}}}
.grid{{stroke:{3}}} .one{{stroke:{2};stroke-dasharray:4 3}} .whisker{{stroke:{4};stroke-width:1.5;fill:none}}
.own{{fill:{5}}} .peer{{fill:{6}}}"""


class Unreadable(Exception):
    """The input is not what the rig writes."""


def case_of(sample):
    """The name of a case with what makes it another one."""
    parts = [sample["case"]]
    for key, unit in (("routes", "virtual hosts"), ("prefixes", "prefixes")):
        if sample.get(key):
            parts.append(f"{sample[key]:,} {unit}")
    return ", ".join(parts)


def read(lines):
    """Case to rounds, a round being the CPU time of each peer in it. Several runs of a case are one: a peer that comes again begins a round."""
    cases, last, wrong = {}, {}, 0
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            sample = json.loads(line)
            case, peer, turn = case_of(sample), sample["peer"], sample["round"]
            cpu = float(sample.get("cpu", "nan"))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise Unreadable(f"line {number}: {error!r}") from error
        if math.isnan(cpu):  # a case that measures something else
            continue
        rounds = cases.setdefault(case, [])
        if not rounds or last[case] != turn or peer in rounds[-1]:
            rounds.append({})
        last[case] = turn
        is_wrong = bool(sample.get("wrong")) or cpu <= 0
        wrong += is_wrong
        rounds[-1][peer] = None if is_wrong else cpu
    return cases, wrong


def ratios(rounds, wanted):
    """The base, and peer to its ratios, in the order of measurement."""
    peers = list(dict.fromkeys(peer for turn in rounds for peer in turn))
    base = wanted if wanted in peers else peers[0]
    found = {peer: [turn[peer] / turn[base] for turn in rounds if turn.get(peer) and turn.get(base)] for peer in peers}
    return base, {peer: values for peer, values in found.items() if values}


def line(css, x1, y1, x2, y2):
    return f'<path class="{css}" d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}"/>'


def text(css, x, y, content, anchor="start"):
    return f'<text class="{css}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(content)}</text>'


def draw_bar(top, peer, values, at, end):
    """One peer of a case."""
    middle, least, most = statistics.median(values), min(values), max(values)
    center, right = top + ROW / 2, at(min(middle, end))
    yield text("name", LEFT - 8, center + 4, peer, "end")
    yield f'<rect class="{"own" if peer == "tidegate" else "peer"}" x="{LEFT}" y="{top + 3:.1f}" width="{right - LEFT:.1f}" height="{ROW - 6}"/>'
    if middle > end:
        yield f'<path class="page" d="M{right - 16:.1f} {top + ROW:.1f}l4 0l6 -{ROW}l-4 0z"/>'
    if least < end:
        yield line("whisker", at(least), center, at(min(most, end)), center)
        for value in (least, most):
            if value <= end:  # the end of a cut whisker is not drawn
                yield line("whisker", at(value), center - 4, at(value), center + 4)
    yield text("value", RIGHT + 10, center + 4, f"{middle:.2f}")
    yield text("faint", RIGHT + 50, center + 4, f"{least:.2f}..{most:.2f}")


def draw(cases, wanted):
    """The picture. Equal input makes equal bytes."""
    figures = {case: ratios(rounds, wanted) for case, rounds in cases.items()}
    figures = {case: figure for case, figure in figures.items() if figure[1]}
    if not figures:
        raise Unreadable("there is nothing to draw")
    most = max(value for _, peers in figures.values() for values in peers.values() for value in values)
    end = next((tick for tick in range(2, AXIS_MAX) if most <= tick), AXIS_MAX)

    def at(value):
        return LEFT + (RIGHT - LEFT) * value / end

    body, y = [], 46  # y: where the next case begins
    for case, (base, peers) in figures.items():
        top, bottom = y + GAP - 12, y + GAP - 12 + ROW * len(peers)
        body.append(text("case", 12, y + 20, case))
        body.append(text("faint", RIGHT, y + 20, f"{base} is 1", "end"))
        body += [line("grid", at(tick), top, at(tick), bottom) for tick in range(end + 1)]
        for place, (peer, values) in enumerate(peers.items()):
            body += draw_bar(top + ROW * place, peer, values, at, end)
        body.append(line("one", at(1), top, at(1), bottom))
        y = bottom + 6
    body += [text("faint", at(tick), y + 10, str(tick), "middle") for tick in range(end + 1)]
    height, light, dark = y + 24, STYLE.format(*THEMES["light"]), STYLE.format(*THEMES["dark"])
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img">',
        "<title>CPU time per request of each peer, as a ratio to the base of the same round</title>",
        f"<style>\n{light}\n@media (prefers-color-scheme:dark){{\n{dark}\n}}\n</style>",
        f'<rect class="page" width="{WIDTH}" height="{height}"/>',
        text("case", 12, 24, "CPU time per request, as a ratio to the base of the same round"),
        text("faint", 12, 42, "Less is better. Bar: median of the rounds; whisker and small figures: least..greatest."),
        *body, "</svg>", ""])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", help="JSON lines of the rig")
    parser.add_argument("--base", help="the peer that ratios are made against (default: the first of each case)")
    options = parser.parse_args()
    try:
        with open(options.results, encoding="utf-8") as lines:
            cases, wrong = read(lines)
        sys.stdout.write(draw(cases, options.base))
    except (OSError, Unreadable) as error:
        sys.exit(f"{options.results}: {error}")
    if wrong:
        print(f"{wrong} wrong samples were left out", file=sys.stderr)


if __name__ == "__main__":
    main()
