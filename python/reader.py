# SPDX-License-Identifier: MIT
"""reader.py FILE ROOT - write the block that a root of a shared arena holds to stdout.

FILE is a path, or the number of a descriptor that this process inherited. Nothing of huma is needed
to read: docs/shared-layout.md says what is where, and why this looks at things in this order.
"""
import mmap, os, struct, sys

SMALL_BYTES = [(4 + i % 4) << (i // 4 + 4) for i in range(33)] + [21840, 32768, 0]


def crc32c(data, crc=0xffffffff):
    for bit in range(len(data) * 8):
        crc = crc >> 1 ^ 0x82f63b78 * ((crc ^ data[bit // 8] >> bit % 8) & 1)
    return crc ^ 0xffffffff


def up(number, multiple):
    return -(-number // multiple) * multiple


def read(fd, name):
    """All that the block of a root has room for; None: there is none, or it was just taken."""
    # The header is copied before anything in it is believed.
    head = os.pread(fd, 72, 0).ljust(72, b"\0")
    magic, version, *sizes, page, seats, roots, length, crc = struct.unpack("<8s8IQ20xI", head)
    if (magic != b"HUMASHM\0" or version != 1 or sizes != [4096, 21, 16, 6]
            or not 0 < seats < 1024 or roots > 4096 or not 12 <= page <= 34
            or not 0 < length <= 1 << 43 or length % (1 << 21) or crc != crc32c(head[:68])):
        sys.exit("this is no shared arena, or one of another version")
    chunks_off = 4096 + (seats + 1) * 128 + roots * 64
    spans_off = up(chunks_off + (length >> 21) * 4, 64)
    blocks_off = up(spans_off + (length >> 16) * 8, 4096)
    data_off = up(blocks_off + (length >> 16) * 4096, 1 << max(page, 21))
    # Python sees to it that the file is as long.
    memory = mmap.mmap(fd, up(data_off + length, 1 << max(page, 21)), access=mmap.ACCESS_READ)
    word4, word8 = memoryview(memory).cast("I"), memoryview(memory).cast("Q")

    # The root has a hash of its name, and then the cell, which names the block.
    key = 0xcbf29ce484222325
    for byte in name.encode():
        key = (key ^ byte) * 0x100000001b3 % (1 << 64)
    places = (chunks_off // 8 + ((key + i) % roots - roots) * 8 for i in range(roots))
    cell = next((place + 1 for place in places if word8[place] == key), 0)
    off = word8[cell]

    # The block's span tells how long it is. Its chunk has memory. The block's own word, read before
    # and after the copy, tells that it is published: the copy is whole if nothing has changed.
    span, within = divmod((off - data_off) % length, 1 << 16)
    word = word8[spans_off // 8 + span]
    small = SMALL_BYTES[min(word >> 13 & 0xfffffff, 35)]
    size = {1: small, 2: small, 4: (word >> 13 & 0xfffffff) << 16}.get(word & 7, 0)
    if (cell == 0 or not 0 <= off - data_off < length or word4[chunks_off // 4 + span // 32] != 1
            or size == 0 or within % size != 0 or off + size > data_off + length):
        return None
    at = blocks_off // 4 + span * 1024 + within // size
    before, found, after, named = word4[at], memory[off:off + size], word4[at], word8[cell]
    return found if before & 2 and (after, named) == (before, off) else None


if __name__ == "__main__":
    file = int(sys.argv[1]) if sys.argv[1].isdigit() else os.open(sys.argv[1], os.O_RDONLY)
    sys.stdout.buffer.write(read(file, sys.argv[2]) or sys.exit("the root holds no block"))
