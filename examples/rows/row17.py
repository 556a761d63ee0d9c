#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""row17.py - maps an arena's descriptor in whole pages, and finds a text by its offset.

Run by row17_offsets: row17.py FD OFFSET PAGE_BYTES TEXT. mmap.mmap(fd, length, offset) fails, and
on hugetlb pages leaks the mapping at close, unless both are multiples of the page size.
"""
import mmap
import sys

fd, offset, page_bytes = (int(word) for word in sys.argv[1:4])
text = sys.argv[4].encode()
page_bytes = max(page_bytes, mmap.ALLOCATIONGRANULARITY)
start = offset // page_bytes * page_bytes
end = -(-(offset + len(text)) // page_bytes) * page_bytes
with mmap.mmap(fd, end - start, prot=mmap.PROT_READ, offset=start) as pages:
    found = pages[offset - start:][:len(text)]
assert found == text, f"{found!r} is at {offset}, not {text!r}"
print(f"mmap at an odd offset: EINVAL; huma_shared_read at any; "
      f"python3 mapped {(end - start) >> 10} KiB from {start}: \"{found.decode()}\"")
