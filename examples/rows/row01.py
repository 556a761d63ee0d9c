#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""row01.py - an image in shared memory: made by one Python process, used in place by another.

Technique   One process stores an array in a file that it has mapped with mmap, another maps the
            file and makes the array again with numpy, struct or ctypes.
Shows       The image lies in an arena, on huge pages where there are any. A process that receives
            the arena over a socket has it as an array without a copy, and what it changes the first
            one sees. A third reads it with mmap and struct alone (python/reader.py).
Run         PYTHONPATH=python python3 row01.py       without numpy: memoryviews instead of arrays
"""
import os
import socket
import subprocess
import sys

import huma

try:
    import numpy
except ImportError:
    numpy = None

SHAPE = (1080, 1920, 3)
SIZE = SHAPE[0] * SHAPE[1] * SHAPE[2]


def image_at(arena, block):
    """The block as an array, or as a view; neither is a copy."""
    return arena.ndarray_at(block, SHAPE, "u1") if numpy else arena.view(block, SIZE)


def use(link):
    """The other process: compares each byte, and inverts the first."""
    arena = huma.receive(link)
    image = image_at(arena, arena.peek("image"))
    flat = memoryview(image).cast("B")
    assert bytes(flat) == bytes(range(240)) * (SIZE // 240)
    # The same memory, whoever makes a view of it.
    if numpy:
        assert numpy.shares_memory(image, arena.view(arena.peek("image")))
    flat[0] = 255


def main():
    if len(sys.argv) == 2:
        use(socket.socket(fileno=int(sys.argv[1])))
        return
    arena = huma.Arena.create(64 << 20, name="images")
    block = arena.aligned_alloc(2 << 20, SIZE)
    flat = memoryview(image_at(arena, block)).cast("B")
    flat[:] = bytes(range(240)) * (SIZE // 240)
    arena.publish("image", block)

    here, there = socket.socketpair()
    with subprocess.Popen([sys.executable, __file__, str(there.fileno())],
                          pass_fds=[there.fileno()]) as user:
        arena.send(here)
    assert user.returncode == 0 and flat[0] == 255, "the other process does not see the image"

    reader = os.path.join(os.path.dirname(huma.__file__), "reader.py")
    plain = subprocess.run([sys.executable, reader, str(arena.fileno()), "image"],
                           pass_fds=[arena.fileno()], stdout=subprocess.PIPE, check=True).stdout
    assert plain[:SIZE] == bytes(flat), "mmap and struct alone read something else"
    info = arena.info()
    print(f"{SIZE} bytes as {'ndarray' if numpy else 'memoryview'} in 2 processes, no copy, "
          f"{info['huge_bytes'] >> 10} of {info['resident_bytes'] >> 10} KiB huge; "
          "the same by mmap and struct")


if __name__ == "__main__":
    main()
