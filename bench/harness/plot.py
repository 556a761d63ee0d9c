# SPDX-License-Identifier: MIT
"""SVG plots by gnuplot."""
import os
import shutil
import subprocess

BARS = (("cpu_s", "CPU time / glibc"), ("peak_rss_kib", "peak RSS / glibc"),
        ("final_rss_kib", "final RSS / glibc"))


def gnuplot(folder, name, script):
    with open(os.path.join(folder, name + ".gp"), "w", encoding="utf-8") as out:
        out.write(script)
    done = subprocess.run(["gnuplot", name + ".gp"], cwd=folder, stdout=subprocess.DEVNULL,
                          stderr=subprocess.PIPE, check=False)
    if done.returncode != 0:
        last = (done.stderr.decode(errors="replace").strip().splitlines() or [""])[-1]
        return "gnuplot failed for %s: %s" % (name, last)
    return None


def quote(text):
    return text.replace('"', "'").replace("_", "-")


def bars(folder, result, key, value_key, label):
    """One group per workload, one bar per allocator."""
    names = [allocator["name"] for allocator in result["allocators"]]
    cells = {(cell["workload"], cell["allocator"]): cell[value_key] for cell in result["summary"]
             if cell["metric"] == key}
    if not any(value is not None for value in cells.values()):
        return None
    data = os.path.join(folder, key + ".dat")
    with open(data, "w", encoding="utf-8") as out:
        out.write("workload " + " ".join('"%s"' % quote(name) for name in names) + "\n")
        for workload in result["workloads"]:
            values = [cells.get((workload, name)) for name in names]
            out.write('"%s" ' % workload + " ".join("%.4f" % v if v is not None else "NaN"
                                                    for v in values) + "\n")
    script = ("set terminal svg size 1400,500 noenhanced font 'sans,11'\nset output '%s.svg'\n"
              "set style data histogram\nset style histogram clustered gap 1\n"
              "set style fill solid 0.8 noborder\nset ylabel '%s'\nset grid y\nset yrange [0:%s]\n"
              "set xtics rotate by -30\nset key outside top center horizontal\n"
              "plot for [i=2:%d] '%s.dat' using i:xtic(1) title columnheader(i)%s\n"
              % (key, label, "1" if key == "coverage" else "2.5", len(names) + 1, key,
                 "" if key == "coverage" else ", 1 with lines lc rgb 'black' notitle"))
    return gnuplot(folder, key, script)


def timeline(folder, result, workload):
    """RSS and what of it is on huge pages, over time, in the sampled runs."""
    rows = [row for row in result["rows"] if row["workload"] == workload and row["samples"]]
    if not rows:
        return None
    plots = []
    name = "timeline-" + workload.replace("+", "x")
    with open(os.path.join(folder, name + ".dat"), "w", encoding="utf-8") as out:
        for index, row in enumerate(rows[:len(result["allocators"])]):
            out.write("# %s\n" % row["allocator"])
            for sample in row["samples"]:
                out.write("%.4f %.3f %.3f\n" % (sample[0], sample[1] / 1024, sample[2] / 1024))
            out.write("\n\n")
            plots.append("'%s.dat' index %d using 1:2 with lines lc %d title '%s'"
                         % (name, index, index + 1, quote(row["allocator"])))
            plots.append("'%s.dat' index %d using 1:3 with lines lc %d dt 3 notitle"
                         % (name, index, index + 1))
    script = ("set terminal svg size 1000,500 noenhanced font 'sans,11'\nset output '%s.svg'\n"
              "set xlabel 'seconds'\nset ylabel 'MiB: RSS (solid), on huge pages (dotted)'\n"
              "set grid\nset key outside\nset yrange [0:]\nplot %s\n" % (name, ", \\\n  ".join(plots)))
    return gnuplot(folder, name, script)


def draw(folder, result):
    """All plots; returns lines about what could not be drawn."""
    if shutil.which("gnuplot") is None:
        return ["gnuplot is not installed, no plots (apt-get install gnuplot-nox)"]
    os.makedirs(folder, exist_ok=True)
    said = [bars(folder, result, key, "to_glibc", label) for key, label in BARS]
    said.append(bars(folder, result, "coverage", "median", "coverage, median of the second half"))
    said += [timeline(folder, result, workload) for workload in result["workloads"]]
    return [line for line in said if line]
