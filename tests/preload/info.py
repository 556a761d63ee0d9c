# SPDX-License-Identifier: MIT
"""info.py FILE STDERR - parse what info.c wrote as a tool written for glibc would."""
import re
import sys
import xml.etree.ElementTree as ElementTree

root = ElementTree.parse(sys.argv[1]).getroot()
assert root.tag == "malloc" and root.get("version") == "1"

# Both a heap and the whole have these, in this order.
PARTS = [("total", "fast"), ("total", "rest"), ("system", "current"), ("system", "max"),
         ("aspace", "total"), ("aspace", "mprotect")]


def number(element, name):
    value = element.get(name)
    assert value is not None and value.isdigit(), f"{element.tag}: {name} is {value}"
    return int(value)


def parts(parent):
    found = [(e.tag, e.get("type")) for e in parent if (e.tag, e.get("type")) in PARTS]
    assert found == PARTS, f"{parent.tag} has {found}"
    sizes = {(e.tag, e.get("type")): number(e, "size") for e in parent
             if (e.tag, e.get("type")) in PARTS}
    for total in parent.findall("total"):
        number(total, "count")
    assert sizes["total", "rest"] <= sizes["system", "current"] <= sizes["system", "max"]
    return sizes


heaps = root.findall("heap")
assert [heap.get("nr") for heap in heaps] == [str(i) for i in range(len(heaps))] and heaps
free_count = 0
for heap in heaps:
    parts(heap)
    assert heap[0].tag == "sizes"
    for size in heap.find("sizes"):
        assert size.tag in ("size", "unsorted")
        assert 0 < number(size, "from") <= number(size, "to")
        assert number(size, "count") > 0
        assert number(size, "total") >= number(size, "count") * number(size, "from")
        free_count += number(size, "count")
assert free_count > 0, "nothing is free"
whole = parts(root)
mmap = root.find("total[@type='mmap']")
assert number(mmap, "count") == 1 and number(mmap, "size") == 1052672

own = root.find("huma")
if own is not None:
    assert number(own.find("cutoff"), "size") == 131072
    backings = {e.get("type"): number(e, "size") for e in own.findall("backing")}
    assert backings and set(backings) <= {"thp", "4k"}, backings
    for reason in own.findall("reason"):
        assert reason.get("code") and number(reason, "count") > 0
    coverage = own.find("coverage")
    assert coverage is None or number(coverage, "huge") <= number(coverage, "resident")

# malloc_stats
text = open(sys.argv[2], encoding="ascii").read()
line = r" += +(\d+)\n"
arenas = re.findall(r"Arena (\d+):\nsystem bytes" + line + "in use bytes" + line, text)
total = re.search(r"^Total \(incl\. mmap\):\nsystem bytes" + line + "in use bytes" + line
                  + "max mmap regions" + line + "max mmap bytes" + line, text, re.M)
assert text.startswith("Arena 0:\nsystem bytes     = ") and arenas and total, text
assert [len(s.split("=")[1]) for s in text.splitlines()[1:3]] == [11, 11], text
system, in_use, regions, mapped = (int(s) for s in total.groups())
assert (regions, mapped) == (1, 1052672)
assert system == sum(int(a[1]) for a in arenas) + mapped
assert in_use == sum(int(a[2]) for a in arenas) + mapped
print("parsed", "with what huma adds" if own is not None else "as glibc's")
