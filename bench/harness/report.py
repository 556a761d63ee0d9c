# SPDX-License-Identifier: MIT
"""From rows to a summary, and the files that hold them: TSV, JSON, Markdown."""
import json
import os
import statistics

# key, unit, what it is, whether less is better, kind of run
METRICS = (
    ("cpu_s", "s", "CPU time", True, "timed"),
    ("wall_s", "s", "wall time", True, "timed"),
    ("user_s", "s", "user time", True, "timed"),
    ("sys_s", "s", "system time", True, "timed"),
    ("peak_rss_kib", "KiB", "peak RSS", True, "timed"),
    ("final_rss_kib", "KiB", "final RSS", True, "timed"),
    ("minor_faults", "", "page faults", True, "timed"),
    ("major_faults", "", "major page faults", True, "timed"),
    ("peak_pte_kib", "KiB", "peak page tables", True, "sampled"),
    ("coverage", "", "coverage, second half", False, "sampled"),
    ("coverage_final", "", "coverage, final", False, "sampled"),
    ("peak_hugetlb_kib", "KiB", "peak hugetlb", True, "sampled"),
)
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"


def spread(values):
    """Median, quartiles and range."""
    values = sorted(values)
    if len(values) == 1:
        first = third = values[0]
    else:
        first, _, third = statistics.quantiles(values, n=4, method="inclusive")
    return {"median": statistics.median(values), "q1": first, "q3": third,
            "min": values[0], "max": values[-1], "runs": len(values)}


def ratio(value, base):
    return value / base if base else None


def summarize(rows, workloads, allocators, subject):
    """A list with one entry per workload, allocator and metric."""
    out = []
    for workload in workloads:
        for key, unit, _, is_less_better, kind in METRICS:
            cells = {}
            for allocator in allocators:
                values = [row[key] for row in rows
                          if row["workload"] == workload and row["allocator"] == allocator
                          and row["status"] == "ok" and row.get(key) is not None
                          and (row["kind"] == kind or key == "final_rss_kib" and not any(
                              key in r for r in rows if r["kind"] == kind
                              and r["workload"] == workload and r["allocator"] == allocator))]
                if values:
                    cells[allocator] = spread(values)
            peers = [name for name in cells if name != subject]
            pick = min if is_less_better else max
            best = pick(peers, key=lambda name: cells[name]["median"]) if peers else None
            for allocator, cell in cells.items():
                out.append(dict(
                    cell, workload=workload, allocator=allocator, metric=key, unit=unit,
                    best_peer=best,
                    to_glibc=ratio(cell["median"], cells["glibc"]["median"]) if "glibc" in cells else None,
                    to_best=ratio(cell["median"], cells[best]["median"]) if best else None))
    return out


def add_hugetlb(rows):
    """The kernel leaves hugetlb pages out of a process's peak; only sampled runs have seen them."""
    most = {}
    for row in rows:
        key = (row["workload"], row["allocator"])
        most[key] = max(most.get(key, 0), row.get("peak_hugetlb_kib", 0))
    for row in rows:
        if row["kind"] == "timed" and "peak_rss_kib" in row:
            row["peak_rss_kib"] += most[(row["workload"], row["allocator"])]


def faults(rows):
    """What did not end well: (workload, allocator, status) -> number of runs."""
    out = {}
    for row in rows:
        if row["status"] != "ok":
            key = (row["workload"], row["allocator"], row["status"])
            out[key] = out.get(key, 0) + 1
    return out


def text_of(value):
    if value is None:
        return ""
    return "%.6g" % value if isinstance(value, float) else str(value)


def write_tsv(path, rows, keys):
    with open(path, "w", encoding="utf-8") as out:
        out.write("\t".join(keys) + "\n")
        for row in rows:
            out.write("\t".join(text_of(row.get(key)).replace("\t", " ").replace("\n", " ")
                                for key in keys) + "\n")


def write_files(folder, result):
    """runs.tsv, phases.tsv, summary.tsv and what else was measured; all of it in result.json."""
    keys = [metric[0] for metric in METRICS]
    write_tsv(os.path.join(folder, "runs.tsv"), result["rows"],
              ["workload", "allocator", "round", "kind", "status"] + keys)
    phases = [dict(phase, workload=row["workload"], allocator=row["allocator"], round=row["round"],
                   kind=row["kind"]) for row in result["rows"] for phase in row["phases"]]
    write_tsv(os.path.join(folder, "phases.tsv"), phases,
              ["workload", "allocator", "round", "kind", "phase", "wall_s", "cpu_s", "faults",
               "rss_kib", "huge_kib", "pte_kib", "fork_us"])
    write_tsv(os.path.join(folder, "summary.tsv"), result["summary"],
              ["workload", "allocator", "metric", "unit", "median", "q1", "q3", "min", "max", "runs",
               "to_glibc", "to_best", "best_peer"])
    if result["callgrind"]:
        write_tsv(os.path.join(folder, "callgrind.tsv"), result["callgrind"],
                  ["pattern", "allocator", "instructions", "status"])
    if result["latency"]:
        write_tsv(os.path.join(folder, "latency.tsv"), result["latency"],
                  ["workload", "allocator", "round", "call", "clock", "status", "count", "worst_ns",
                   "worst_bytes", "log2_ns"])
    with open(os.path.join(folder, "result.json"), "w", encoding="utf-8") as out:
        json.dump(result, out, indent=1)
        out.write("\n")


def table(head, lines):
    out = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    return out + ["| " + " | ".join(line) + " |" for line in lines]


def metric_table(result, key, show):
    """A row per workload, a column per allocator; the best of a row in bold."""
    names = [allocator["name"] for allocator in result["allocators"]]
    is_less_better = next(metric[3] for metric in METRICS if metric[0] == key)
    cells = {(cell["workload"], cell["allocator"]): cell for cell in result["summary"]
             if cell["metric"] == key}
    bad = {(workload, allocator): status for workload, allocator, status in
           (entry[:3] for entry in result["faults"])}
    lines = []
    for workload in result["workloads"]:
        row = [(name, cells.get((workload, name))) for name in names]
        medians = [cell["median"] for _, cell in row if cell]
        best = (min if is_less_better else max)(medians) if medians else None
        line = ["`%s`" % workload]
        for name, cell in row:
            if cell is None:
                line.append(bad.get((workload, name), "-").split(":")[0])
                continue
            text = show(cell)
            line.append("**%s**" % text if cell["median"] == best else text)
        lines.append(line)
    return table(["workload"] + names, lines)


def show_time(cell):
    text = "%.3g" % cell["median"]
    return text + (" (%.2f)" % cell["to_glibc"] if cell["to_glibc"] is not None else "")


def show_memory(cell):
    text = "%.1f" % (cell["median"] / 1024)
    return text + (" (%.2f)" % cell["to_glibc"] if cell["to_glibc"] is not None else "")


def show_percent(cell):
    return "%.1f %%" % (100 * cell["median"])


def subject_table(result):
    """The subject of the comparison beside glibc and beside the best of the others."""
    subject = result["subject"]
    shown = (("cpu_s", "CPU time"), ("peak_rss_kib", "peak RSS"), ("final_rss_kib", "final RSS"))
    cells = {(cell["workload"], cell["metric"]): cell for cell in result["summary"]
             if cell["allocator"] == subject}
    covers = {(cell["workload"], cell["allocator"]): cell for cell in result["summary"]
              if cell["metric"] == "coverage"}
    lines = []
    for workload in result["workloads"]:
        line = ["`%s`" % workload]
        for key, _ in shown:
            cell = cells.get((workload, key))
            line.append("%.2f" % cell["to_glibc"] if cell and cell["to_glibc"] is not None else "-")
            line.append("%.2f %s" % (cell["to_best"], cell["best_peer"])
                        if cell and cell["to_best"] is not None else "-")
        cell = covers.get((workload, subject))
        best = covers.get((workload, cell["best_peer"])) if cell else None
        line.append(show_percent(cell) if cell else "-")
        line.append("%s %s" % (show_percent(best), cell["best_peer"]) if best else "-")
        lines.append(line)
    head = ["workload"]
    for _, text in shown:
        head += [text + " / glibc", "/ best peer"]
    return table(head + ["coverage", "best peer"], lines)


def phase_table(result, workload):
    """Medians of CPU time, and of memory after it, phase by phase."""
    rows = [row for row in result["rows"] if row["workload"] == workload and row["status"] == "ok"]
    names = [a["name"] for a in result["allocators"] if any(r["allocator"] == a["name"] for r in rows)]
    phases = []
    for row in rows:
        phases += [phase["phase"] for phase in row["phases"] if phase["phase"] not in phases]
    lines = []
    for phase in phases:
        line = [phase]
        for name in names:
            found = [(row["kind"], p) for row in rows if row["allocator"] == name
                     for p in row["phases"] if p["phase"] == phase]
            times = [p["cpu_s"] for kind, p in found if kind == "timed"]
            huge = [(p["huge_kib"], p["rss_kib"]) for _, p in found if "huge_kib" in p]
            text = "%.2f s" % statistics.median(times) if times else "-"
            if huge and huge[0][1]:
                text += ", %.0f MiB, %.0f %%" % (huge[0][1] / 1024, 100 * huge[0][0] / huge[0][1])
            line.append(text)
        lines.append(line)
    return table(["phase"] + names, lines)


def latency_table(result, clock):
    """Worst calls in milliseconds, and the kernel's own beside them.

    Of the rounds, the one with the least: every round makes the same calls, so what the allocator
    does itself comes each time, and what the machine does meanwhile does not.
    """
    calls = ["malloc", "free", "touch"] + ["kernel-%s-%s" % (page, what) for page in ("4k", "huge")
                                           for what in ("map", "touch", "unmap")]
    cells = {}
    for row in result["latency"]:
        if row.get("clock") == clock and row["status"] == "ok":
            key = (row["workload"], row["allocator"], row["call"])
            cells[key] = min(cells.get(key, 10**18), int(row["worst_ns"]))
    lines = []
    for workload, name in dict.fromkeys((r["workload"], r["allocator"]) for r in result["latency"]):
        line = ["`%s`" % workload, name]
        for call in calls:
            worst_ns = cells.get((workload, name, call))
            line.append("-" if worst_ns is None else "%.2f" % (worst_ns / 1e6))
        lines.append(line)
    return table(["workload", "allocator"] + [call.replace("-", " ") for call in calls], lines)


def callgrind_table(result):
    names = [allocator["name"] for allocator in result["allocators"]]
    patterns = list(dict.fromkeys(row["pattern"] for row in result["callgrind"]))
    cells = {(row["pattern"], row["allocator"]): row for row in result["callgrind"]}
    lines = []
    for pattern in patterns:
        row = [cells.get((pattern, name)) for name in names]
        lines.append([pattern] + ["-" if cell is None else cell["status"] if cell["instructions"] is None
                                  else "%.1f" % cell["instructions"] for cell in row])
    return table(["instructions per operation"] + names, lines)


def markdown(result):
    """All tables, for docs/performance.md."""
    out = ["Measured: %s." % result["when"], ""]
    out += ["%s, scale %g, %d round%s." % (result["machine"], result["scale"], result["rounds"],
                                             "s" * (result["rounds"] != 1))]
    out += ["", "Allocators: " + "; ".join("%s %s" % (
        a["name"], "`%s`" % os.path.basename(a["path"]) if a["path"] else "(libc)")
        + "".join(" `%s=%s`" % pair for pair in a["env"].items()) for a in result["allocators"]) + "."]
    out += ["", "### %s beside the others" % result["subject"], ""] + subject_table(result)
    out += ["", "### CPU time, seconds (ratio to glibc)", ""] + metric_table(result, "cpu_s", show_time)
    out += ["", "### Wall time, seconds (ratio to glibc)", ""] + metric_table(result, "wall_s", show_time)
    for key, text in (("peak_rss_kib", "Peak RSS"), ("final_rss_kib", "Final RSS"),
                      ("peak_pte_kib", "Peak page tables")):
        out += ["", "### %s, MiB (ratio to glibc)" % text, ""] + metric_table(result, key, show_memory)
    out += ["", "### Coverage, median of the second half", ""]
    out += metric_table(result, "coverage", show_percent)
    out += ["", "### Page faults", ""]
    out += metric_table(result, "minor_faults", lambda cell: "%d" % cell["median"])
    for workload in result["workloads"]:
        if workload in ("index", "fork", "batch"):
            out += ["", "### %s by phase: CPU time, then RSS and coverage after it" % workload, ""]
            out += phase_table(result, workload)
    if result["callgrind"]:
        out += ["", "### Instructions", ""] + callgrind_table(result)
    if result["latency"]:
        for clock, text in (("cpu", "the thread's processor time"), ("wall", "wall clock")):
            out += ["", "### Worst single calls, ms, by %s" % text, ""]
            out += latency_table(result, clock)
    if result["faults"]:
        out += ["", "### What did not end well", ""]
        out += ["- `%s` under %s: %s, %d runs" % tuple(entry) for entry in result["faults"]]
    if result["notes"]:
        out += ["", "### Notes", ""] + ["- " + note for note in result["notes"]]
    return "\n".join(out) + "\n"


def put_into(path, text):
    """Replace what is between the two marks of a Markdown file; without a text, only look."""
    with open(path, encoding="utf-8") as old:
        whole = old.read()
    head, begin, rest = whole.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError("%s: the lines '%s' and '%s' are missing" % (path, BEGIN, END))
    if text is None:
        return
    with open(path + ".new", "w", encoding="utf-8") as new:
        new.write(head + begin + "\n" + text + end + tail)
    os.rename(path + ".new", path)
