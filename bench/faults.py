# SPDX-License-Identifier: MIT
"""faults.py - what the first touch of 128 MiB costs (docs/faults.md): page faults, and milliseconds,
the least of ROUNDS. PYTHONPATH=python HUMA_LIBRARY=build/.libs/libhuma.so.0 python3 bench/faults.py
"""
import mmap
import resource
import time

import huma

ROUNDS = 10
LENGTH = 128 << 20
MARKS = bytes(LENGTH // 4096)


def measure(call):
    """What a call returns, the faults that it takes, and its milliseconds."""
    faults, start = resource.getrusage(resource.RUSAGE_SELF).ru_minflt, time.perf_counter()
    result = call()
    end = time.perf_counter()
    return result, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults, (end - start) * 1e3


def touch(view):
    view[::4096] = MARKS


def private(advice):
    memory = mmap.mmap(-1, LENGTH, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(advice)
    return memoryview(memory)


def shared(backing, flags=0):
    initial_bytes = LENGTH if flags else 0
    arena = huma.Arena.create(limit_bytes=2 * LENGTH, backing=backing, flags=flags,
                              initial_bytes=initial_bytes)
    return arena, arena.view(arena.alloc(LENGTH))


def one_round(make):
    made, *obtained = measure(make)
    arena, view = made if isinstance(made, tuple) else (None, made)
    rows = [obtained, measure(lambda: touch(view))[1:], measure(lambda: touch(view))[1:]]
    if arena is not None:
        with huma.attach(arena.fileno()) as other:
            arena.publish("all", arena.offset(view))
            theirs = other.view(other.peek("all"))
            rows.append(measure(lambda: touch(theirs))[1:])
            theirs.release()
    view.release()
    return rows


KINDS = {
    "private, base pages": lambda: private(mmap.MADV_NOHUGEPAGE),
    "private, huge pages": lambda: private(mmap.MADV_HUGEPAGE),
    "shared, base pages": lambda: shared("4k"),
    "shared, base pages, prefaulted": lambda: shared("4k", huma.PREFAULT),
    "shared, huge pages": lambda: shared("thp"),
}

print("kind", *(f"{what}_{unit}" for what in ("obtain", "touch", "again", "another_mapping")
                for unit in ("faults", "ms")), sep="\t")
for name, kind in KINDS.items():
    rounds = [one_round(kind) for _ in range(ROUNDS)]
    columns = [(best[0], f"{best[1]:.1f}") for best in
               (min(column, key=lambda part: part[1]) for column in zip(*rounds))]
    print(name, *(value for column in columns for value in column), sep="\t")
