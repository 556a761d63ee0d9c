# SPDX-License-Identifier: MIT
"""objects.py COUNT - records of small objects: built, written as JSON, read back, sorted, dropped."""
import gc
import json
import os
import random
import sys


def memory():
    """What is resident, as KEY=VALUE; the walk of all pages only where time does not count."""
    kib = {}
    for name in ["status"] + ["smaps_rollup"] * ("HUMA_BENCH_SAMPLED" in os.environ):
        with open("/proc/self/" + name, encoding="ascii") as lines:
            for line in lines:
                words = line.split()
                if len(words) == 3 and words[2] == "kB":
                    kib[words[0]] = words[1]
    huge = "\thuge_kib=" + kib["AnonHugePages:"] if "AnonHugePages:" in kib else ""
    return "rss_kib=" + kib["VmRSS:"] + huge


def main():
    draw = random.Random(7)
    count = int(sys.argv[1])
    records = [{"id": i, "name": "n" * draw.randrange(60), "part": draw.random(),
                "tags": [str(draw.randrange(9999)) for _ in range(draw.randrange(9))],
                "sub": {"deep": [[i + k] for k in range(draw.randrange(5))]}} for i in range(count)]
    text = json.dumps(records)
    again = json.loads(text)
    by_name = {}
    for record in again:
        by_name.setdefault(record["name"] + "".join(record["tags"]), []).append(record)
    for record in draw.sample(records, count // 2):
        record["tags"] = ["x" * draw.randrange(300)]
    again.sort(key=lambda record: (record["name"], record["part"]))
    print(len(text), len(by_name), sum(len(record["tags"]) for record in again))
    del records, again, by_name, text, record
    gc.collect()
    print("final\t" + memory())


main()
