# SPDX-License-Identifier: MIT
"""One run of one workload under one allocator, and what is read from it."""
import os
import re
import statistics
import subprocess

NUMBERS = ("wall_s", "user_s", "sys_s", "peak_rss_kib", "minor_faults", "major_faults")


def clean_environment():
    """The caller's environment without what would steer an allocator."""
    return {key: value for key, value in os.environ.items()
            if not re.match(r"(HUMA_|MALLOC_|MIMALLOC_|GLIBC_TUNABLES$|LD_PRELOAD$|TCMALLOC_)", key)}


def pairs(words):
    """KEY=VALUE words as a dict of numbers."""
    out = {}
    for word in words:
        key, _, value = word.partition("=")
        out[key] = float(value) if "." in value else int(value)
    return out


def read_output(text, row):
    """The lines phase and final that a workload prints."""
    for line in text.splitlines():
        words = line.split("\t")
        if words[0] == "phase" and len(words) > 2:
            row["phases"].append(dict(pairs(words[2:]), phase=words[1]))
        elif words[0] == "final" and len(words) > 1:
            row["final"] = pairs(words[1:])


def read_result(text, row):
    """What the launcher wrote."""
    for line in text.splitlines():
        words = line.split("\t")
        if words[0] == "sample":
            row["samples"].append([float(words[1])] + [int(word) for word in words[2:]])
        elif words[0] in NUMBERS:
            row[words[0]] = float(words[1]) if words[0].endswith("_s") else int(words[1])
        elif words[0] in ("status", "companion"):
            row[words[0]] = words[1]


def share(huge, rss):
    return huge / rss if rss else None


def derive(row):
    """Figures that follow from the others."""
    if "user_s" in row:
        row["cpu_s"] = row["user_s"] + row["sys_s"]
    final = row.get("final", {})
    samples = row["samples"]
    if "rss_kib" in final:
        row["final_rss_kib"] = final["rss_kib"]
    if not samples:
        return
    steady = [s for s in samples if s[0] >= row["wall_s"] / 2] or samples[-1:]
    row["coverage"] = statistics.median(share(s[2], s[1]) for s in steady)
    if "huge_kib" in final:
        row["coverage_final"] = share(final["huge_kib"], final["rss_kib"])
    row["peak_hugetlb_kib"] = max(s[3] for s in samples)
    row["peak_pte_kib"] = max(s[4] for s in samples)
    row["peak_rss_kib"] = max([row["peak_rss_kib"] + row["peak_hugetlb_kib"]]
                              + [s[1] for s in samples])


def touch_mib(workload, scale):
    """How much memory to touch before."""
    part = min(1, scale / workload.full_at) if workload.full_at else scale
    return max(workload.least_mib, int(workload.touch_mib * part))


class Runner:
    """Runs workloads through the launcher; options as given to bench/run."""

    def __init__(self, context, limit_s):
        self.launcher = context.own("bench_launch")
        self.context = context
        self.limit_s = limit_s

    def run(self, workload, plan, allocator, is_sampled):
        """Returns a row; its status says 'ok', or what went wrong."""
        row = {"workload": workload.name, "allocator": allocator.name,
               "kind": "sampled" if is_sampled else "timed", "phases": [], "samples": []}
        result_name = os.path.join(self.context.work_dir, "result")
        command = [self.launcher, "-m", str(touch_mib(workload, self.context.scale)), "-t", str(self.limit_s), "-o", result_name]
        settings = allocator.settings()
        if plan.is_jemalloc_linked and not allocator.path:
            settings.append("LD_PRELOAD=libc.so.6")
        for setting in ["%s=%s" % pair for pair in plan.env.items()] + settings:
            command += ["-e", setting]
        command += ["-s"] if is_sampled else []
        command += ["-c", plan.companion] if plan.companion else []
        with open(result_name, "w", encoding="ascii"):
            pass
        done = subprocess.run(command + ["--"] + plan.command, env=clean_environment(),
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, check=False)
        with open(result_name, encoding="ascii") as result:
            read_result(result.read(), row)
        read_output(done.stdout.decode(errors="replace"), row)
        said = done.stderr.decode(errors="replace").strip().splitlines()
        row["status"] = self.judge(done.returncode, row, said)
        derive(row)
        return row

    @staticmethod
    def judge(launcher_status, row, said):
        last = ": " + said[-1] if said else ""
        if launcher_status != 0 or "status" not in row:
            return "bench_launch ended with %d%s" % (launcher_status, last)
        if row["status"] == "timeout":
            return "timeout"
        if row["status"] != "exit 0":
            return row["status"] + last
        if "companion" in row:
            return "the client beside it failed" + last
        return "ok"


def instructions(command, allocator):
    """All instructions of a run, as callgrind counts them; a text where that fails."""
    env = clean_environment()
    env.update(setting.split("=", 1) for setting in allocator.settings())
    done = subprocess.run(["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"] + command,
                          env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    text = done.stdout.decode(errors="replace")
    match = re.search(r"Collected : (\d+)", text)
    if done.returncode != 0 or not match:
        return "failed: status %d" % done.returncode
    return int(match.group(1))


# name, program, arguments before the count, few, many
COUNTED = (
    ("pair: 64 B, freed at once", "bench_pair", ["0"], 40960, 409600),
    ("pair: 16-527 B at random", "bench_pair", ["1"], 40960, 409600),
    ("pair: 1-31 KiB at random", "bench_pair", ["2"], 40960, 409600),
    ("pair: batches of 48 B", "bench_pair", ["3"], 40960, 409600),
    ("pair: freed by another thread", "bench_pair", ["4"], 40960, 409600),
    ("churn-small", "bench_churn", ["churn-small", "0.1"], 200000, 400000),
    ("churn-mixed", "bench_churn", ["churn-mixed", "0.1"], 200000, 400000),
    ("batch", "bench_batch", ["batch", "0.1"], 60000, 240000),
    ("queue", "bench_threads", ["queue", "0.1"], 64000, 192000),
)


def count_instructions(context, allocators, say):
    """Rows of instructions per operation: the difference of a long and a short run."""
    rows = []
    for name, program, words, few, many in COUNTED:
        for allocator in allocators:
            counts = [instructions([context.own(program)] + words + [str(count)], allocator)
                      for count in (few, many)]
            bad = [count for count in counts if isinstance(count, str)]
            per_operation = None if bad else (counts[1] - counts[0]) / (many - few)
            rows.append({"pattern": name, "allocator": allocator.name,
                         "instructions": per_operation, "status": bad[0] if bad else "ok"})
            say("callgrind %s, %s: %s" % (name, allocator.name,
                                          bad[0] if bad else "%.1f" % per_operation))
    return rows


def latency_run(context, workload, allocator, limit_s):
    """One run that times single calls: its rows, and how it ended."""
    result_name = os.path.join(context.work_dir, "result")
    command = [context.own("bench_launch"), "-m", str(touch_mib(workload, context.scale)),
               "-t", str(limit_s), "-o", result_name]
    for setting in allocator.settings():
        command += ["-e", setting]
    command += ["--", context.own(workload.program), workload.name, repr(context.scale), "latency"]
    done = subprocess.run(command, env=clean_environment(), stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, check=False)
    result = {"samples": []}
    with open(result_name, encoding="ascii") as text:
        read_result(text.read(), result)
    status = result.get("status", "no result").replace("exit 0", "ok")
    rows = [{"status": status}] if status != "ok" else []
    for line in done.stdout.decode().splitlines():
        words = line.split("\t")
        if words[0] == "latency":
            rows.append(dict((word.split("=", 1) for word in words[3:]),
                             call=words[1], clock=words[2], status=status))
    return rows


def latencies(context, chosen, allocators, options, say):
    """Rows of the histograms that churn-mixed and large print when asked for single calls."""
    rows = []
    for workload in chosen:
        if workload.name not in ("churn-mixed", "large"):
            continue
        for number in range(options.rounds):
            for allocator in allocators:
                for row in latency_run(context, workload, allocator, options.timeout):
                    rows.append(dict(row, workload=workload.name, allocator=allocator.name,
                                     round=number + 1))
                say("latency %s, %s, round %d: %s" % (
                    workload.name, allocator.name, number + 1, rows[-1]["status"]))
    return rows
