# SPDX-License-Identifier: MIT
"""reads.py READER FOLDER - reader.py reads c.huma, which writer.c wrote, and arenas of huma.py."""
import fcntl
import functools
import os
import struct
import subprocess
import sys

import huma

# Not of a pool, of which other tests may count the pages.
create = functools.partial(huma.Arena.create, backing="thp,4k")

reader, folder = sys.argv[1:]
HEADER_BYTES = 72
F_OFD_GETLK = 36  # Python 3.9 on has it in fcntl, where it was built with it


def read(file, root, fds=()):
    """What reader.py says: exit status and output. It has nothing of huma to help it."""
    done = subprocess.run([sys.executable, "-IS", reader, str(file), root], pass_fds=fds,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60, check=False,
                          env={"PATH": os.environ["PATH"]})
    return done.returncode, done.stdout


def expect_refused(file, root, what):
    status, output = read(file, root)
    assert (status, output) == (1, b""), (what, status, output[:20])


# Of C: blocks of all kinds.
c_file = os.path.join(folder, "c.huma")
sizes = [2**n - 1 for n in range(1, 21)]
with huma.open(c_file) as arena:
    for size in sizes:
        status, output = read(c_file, str(size))
        assert status == 0 and output[:size] == bytes([size & 255]) * size, (size, status)
        room = arena.usable_size(arena.peek(str(size)))
        assert size <= len(output) == room, (size, len(output), room)
expect_refused(c_file, "empty", "a cell that holds 0")
expect_refused(c_file, "no such root", "a root that is not there")

# Of Python: all sizes of small blocks, and with a memfd.
with create(limit_bytes=8 << 20, root_count=100, process_count=3) as arena:
    rooms = set()
    for size in range(16, 32769, 16):
        block = arena.alloc(size)
        if arena.usable_size(block) in rooms:
            arena.free(block)
            continue
        name = f"{size} \u00fc"
        rooms.add(arena.usable_size(block))
        arena.write(block, (name.encode() * size)[:size])
        arena.publish(name, block)
        status, output = read(arena.fileno(), name, [arena.fileno()])
        assert status == 0 and output == arena.read(block, arena.usable_size(block)), (size, status)
        arena.free(arena.take(name))
        assert read(arena.fileno(), name, [arena.fileno()]) == (1, b"")
    assert len(rooms) == 35, sorted(rooms)

# What is no arena, or none any more: a bit of the header, a file cut short.
with open(c_file, "rb") as file:
    whole = file.read()
broken = os.path.join(folder, "broken.huma")
for at in range(0, HEADER_BYTES, 3):
    with open(broken, "wb") as file:
        file.write(whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1:])
    expect_refused(broken, "1", f"byte {at} is another")
for length in (0, 1, HEADER_BYTES - 1, HEADER_BYTES, 4096, len(whole) // 2, len(whole) - 4096):
    with open(broken, "wb") as file:
        file.write(whole[:length])
    expect_refused(broken, "1", f"{length} bytes are left")
# Of docs/shared-layout.md, what reader.py does not need: its example, seats, rings, locks.
with huma.Arena.create(limit_bytes=64 << 20, backing="4k") as arena:
    fd = arena.fileno()

    def words(form, off):
        return struct.unpack(form, os.pread(fd, struct.calcsize(form), off))

    assert os.fstat(fd).st_size == 73400320
    assert arena.root("x") in range(12416 + 8, 16512, 64)
    assert words("<2I2Q", 4096 + 128) == (3, 0, 0, 0), "the first seat was taken once"
    ring = arena.create_ring(4)
    assert ring.block == 6291456
    assert words("<I", 16512) == (1,), "the first chunk has memory"
    word = words("<Q", 16640)[0]
    assert (word & 7, word >> 3 & 1023, word >> 41) == (1, 1, 1), hex(word)
    word = words("<I", 28672)[0]
    assert (word & 3, word >> 2 & 1023, word >> 12) == (1, 1, 1), hex(word)
    blocks = [arena.alloc(100) for _ in range(6)]
    for block in blocks:
        ring.put(block, 0)
        if block != blocks[-1]:
            assert ring.get(0) == block
    assert words("<I", ring.block) == (2,)
    assert (words("<Q", ring.block + 64), words("<Q", ring.block + 128)) == ((5,), (6,))
    assert words("<4Q", ring.block + 320) == (2 << 44, 1 << 44 | blocks[5], 1 << 44, 1 << 44)
    lock = arena.lock(arena.calloc(8))
    with lock:
        word = words("<I", lock.word)[0]
        assert (word & 1, word >> 1 & 1023, word >> 11) == (0, 1, words("<I", 4224)[0] >> 1)
    assert words("<Q", lock.word) == (0,)
    held = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 2**60 + 1, 1, 0)
    found = fcntl.fcntl(fd, F_OFD_GETLK, held)
    assert struct.unpack("hhqqi4x", found)[0] == fcntl.F_WRLCK, "the process of seat 1 is alive"

print(f"{len(sizes)} blocks of C, {len(rooms)} of Python")
