#!/usr/bin/env python3
"""What a list of leads costs: calls, CPU-seconds, memory, money's pace.

    scripts/bench-leads.py [--rules] [--memory] [--pace] [--claim] [--leads 50000] [--rounds 3]

--rules   50,000 leads by rules alone, .csv and .xlsx: calls as the org counted them, leads per CPU-second of penstock
          end to end, peak RSS, both by `/usr/bin/time` (Debian's package `time`)
--memory  the same with 1,000,000 ids: peak RSS beside that of 50,000
--pace    a model that allows R requests a minute: the share of R that is used in steady state, answers with 429
--claim   the same latencies as the system that penstock replaces claims its figures for (a call to the org 300 ms,
          an answer of the model 1.5 s), with its 500 requests a minute and without that bound

Without any of them, all four. Every program is a process of its own; the simulated org's time does not count. Needs
openpyxl for .xlsx lists, and release builds: `cargo build --release -p penstock -p orgsim -p aisim`, or PENSTOCK_BIN,
ORGSIM_BIN and AISIM_BIN.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from lead_trial import ids_of, programs, questions_of, rows_of, start_endpoint, start_org, write_config, write_csv, write_xlsx


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for part in ("rules", "memory", "pace", "claim"):
        parser.add_argument(f"--{part}", action="store_true")
    parser.add_argument("--leads", type=int, default=50_000)
    parser.add_argument("--many", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--paces", default="600,3000", help="requests a minute for --pace")
    parser.add_argument("--pace-minutes", type=float, default=3)
    arguments = parser.parse_args()
    wanted = [part for part in ("rules", "memory", "pace", "claim") if getattr(arguments, part)]
    wanted = wanted or ["rules", "memory", "pace", "claim"]
    binaries = programs()
    with tempfile.TemporaryDirectory(prefix="penstock-leads-") as folder:
        folder = Path(folder)
        if "rules" in wanted or "memory" in wanted:
            rules(binaries, folder, arguments, "memory" in wanted)
        if "pace" in wanted:
            pace(binaries, folder, arguments)
        if "claim" in wanted:
            claim(binaries, folder)


def rules(binaries, folder, arguments, memory):
    penstock, orgsim, _ = binaries
    most = arguments.many if memory else arguments.leads
    with start_org(orgsim, most) as org:
        config = write_config(folder / "lists", org)
        ids = ids_of(penstock, config, most)
        print("| list | leads | calls | leads per CPU-s | CPU-s | wall s | peak RSS, MiB |")
        print("|---|---|---|---|---|---|---|", flush=True)
        for count in [arguments.leads] + ([arguments.many] if memory else []):
            for form, write in (("csv", write_csv), ("xlsx", write_xlsx)):
                sheet = folder / f"list-{count}.{form}"
                write(sheet, rows_of(ids[:count]))
                rounds = arguments.rounds if count == arguments.leads else 1
                runs = [run(penstock, folder / f"run-{form}-{count}-{at}", org, sheet) for at in range(rounds)]
                cpu = statistics.median(one["cpu"] for one in runs)
                told = runs[0]["progress"]
                assert told["counts"]["leads"] == count, told
                print(
                    f"| .{form} | {count} | {told['org_calls']} | {count / cpu:,.0f} | {cpu:.2f} "
                    f"| {statistics.median(one['wall'] for one in runs):.1f} "
                    f"| {max(one['rss'] for one in runs):.0f} |",
                    flush=True,
                )


def run(penstock, folder, org, sheet, endpoint=None, extra=(), **model):
    """One job in a fresh state folder."""
    config = write_config(folder, org, endpoint, **model)
    report = folder / f"report{sheet.suffix}"
    measured = folder / "measured"
    # A child of this process would be counted with this process's own memory, which it has until it becomes another program.
    command = ["/usr/bin/time", "-f", "%U %S %M", "-o", measured]
    command += [penstock, "leads", sheet, "--config", config, "--out", report, "--json", *extra]
    began = time.monotonic()
    done = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, text=True)
    wall = time.monotonic() - began
    if done.returncode:
        sys.exit(f"penstock ended with {done.returncode}: {done.stdout[-400:]}")
    user, system, peak = measured.read_text().split()
    return {
        "cpu": float(user) + float(system),
        "rss": int(peak) / 1024,
        "wall": wall,
        "progress": json.loads(done.stdout)["progress"],
    }


def pace(binaries, folder, arguments):
    penstock, orgsim, aisim = binaries
    print("\n| requests allowed a minute | used in steady state | answered 429 | leads |")
    print("|---|---|---|---|", flush=True)
    for allowed in (int(text) for text in arguments.paces.split(",")):
        leads = int(allowed * arguments.pace_minutes)
        for told_by in ("config", "headers"):
            with start_org(orgsim, leads) as org, start_endpoint(
                aisim, requests_per_minute=allowed, latency_ms=500
            ) as endpoint:
                config = write_config(folder / "lists", org)
                sheet = folder / "pace.csv"
                write_csv(sheet, rows_of(ids_of(penstock, config, leads)))
                model = {"concurrency": max(8, allowed // 60)}
                if told_by == "config":
                    model["requests_per_minute"] = allowed
                run(penstock, folder / f"pace-{allowed}-{told_by}", org, sheet, endpoint, **model)
                log = questions_of(endpoint)
                served = sorted(one["at_ms"] for one in log if one["status"] == 200)
                refused = sum(one["status"] == 429 for one in log)
                # The first fifth and the last tenth are begin and end, not steady.
                steady = served[len(served) // 5 : -len(served) // 10]
                minutes = (steady[-1] - steady[0]) / 60_000
                used = (len(steady) - 1) / minutes / allowed
                print(
                    f"| {allowed} (known by {told_by}) | {used:.1%} | {refused / len(log):.2%} | {leads} |",
                    flush=True,
                )


def claim(binaries, folder):
    penstock, orgsim, aisim = binaries
    print("\n| 300 ms a call, 1.5 s an answer | leads | leads/s | 50,000 leads at that rate |")
    print("|---|---|---|---|")
    print("| the system it replaces, as it claims | 50,000 | 10 to 15 | 85 to 120 min |", flush=True)
    for name, leads, endpoint_options, model in (
        ("penstock, 500 requests a minute", 1_500, {"requests_per_minute": 500}, {"requests_per_minute": 500}),
        ("penstock, no bound, 256 at once", 20_000, {}, {"concurrency": 256}),
        ("penstock, rules alone", 50_000, None, {}),
    ):
        with start_org(orgsim, leads, 300) as org:
            config = write_config(folder / "lists", org)
            sheet = folder / "claim.csv"
            write_csv(sheet, rows_of(ids_of(penstock, config, leads)))
            if endpoint_options is None:
                done = run(penstock, folder / name.replace(" ", "-"), org, sheet)
            else:
                with start_endpoint(aisim, latency_ms=1500, **endpoint_options) as endpoint:
                    done = run(penstock, folder / name.replace(" ", "-"), org, sheet, endpoint, **model)
        rate = leads / done["wall"]
        print(f"| {name} | {leads:,} | {rate:,.1f} | {50_000 / rate / 60:.1f} min |", flush=True)


if __name__ == "__main__":
    main()
