# SPDX-License-Identifier: MIT
"""arena.py HEADER FOLDER - huma.py in one process."""
import ctypes
import errno
import functools
import gc
import mmap
import os
import re
import sys
import threading
import time
import unittest

import huma

# Not of a pool, of which other tests may count the pages.
create = functools.partial(huma.Arena.create, backing="thp,4k")

HEADER, FOLDER = sys.argv[1:3]


def path(name):
    return os.path.join(FOLDER, name)


class Header(unittest.TestCase):
    """The module says what huma_shared.h says."""

    def setUp(self):
        with open(HEADER, encoding="utf-8") as file:
            self.text = re.sub(r"/\*.*?\*/", "", file.read(), flags=re.S)

    def members(self, struct):
        body = re.search(r"struct %s \{(.*?)\};" % struct, self.text, re.S)[1]
        return re.findall(r"(\w+);", body), re.findall(r"^\s*((?:\w+ )+\*?)", body, re.M)

    def test_structs(self):
        sizes = {"size_t ": 8, "const char *": 8, "void *": 8, "uint64_t ": 8, "unsigned ": 4}
        for struct, ours in (("huma_shared_options", huma._Options),
                             ("huma_shared_state", huma._State)):
            names, types = self.members(struct)
            self.assertEqual(names, [field[0] for field in ours._fields_])
            self.assertEqual([sizes[kind] for kind in types],
                             [ctypes.sizeof(field[1]) for field in ours._fields_])

    def test_constants(self):
        for name, value in re.findall(r"#define HUMA_SHARED_(\w+) \(\(uint64_t\)(\d+)\)",
                                      self.text):
            found = getattr(huma, name, None) or getattr(huma, "_" + name)
            self.assertEqual(found, int(value), name)
        for i, kind in enumerate(huma._KINDS):
            self.assertRegex(self.text, rf"HUMA_SHARED_{kind.upper()} {i}u")
        for i, risk in enumerate(huma._RISKS):
            self.assertRegex(self.text, rf"{risk.upper().replace(' ', '_')} {1 << i}u")

    def test_functions(self):
        declared = dict(re.findall(r"huma_shared_(\w+)\(([^()]*)\)", self.text))
        ours = {**huma._METHODS, **huma._FUNCTIONS}
        self.assertEqual(set(declared), set(ours))
        for name, arguments in declared.items():
            count = len(huma._c[name].argtypes)
            self.assertEqual(arguments.count(",") + 1, count, name)


class Blocks(unittest.TestCase):
    def setUp(self):
        self.arena = create(limit_bytes=8 << 20, name="python-test")
        self.addCleanup(self.arena.close)

    def error(self, number, call, *arguments, **names):
        with self.assertRaises(OSError) as caught:
            call(*arguments, **names)
        self.assertEqual(caught.exception.errno, number, caught.exception)
        self.assertTrue(caught.exception.strerror)
        return caught.exception

    def test_view(self):
        block = self.arena.alloc(100)
        view = self.arena.view(block, 100)
        self.assertEqual((len(view), view.format, view.readonly), (100, "B", False))
        view[:] = bytes(range(100))
        self.assertEqual(self.arena.read(block, 100), bytes(range(100)))
        self.arena.write(block + 1, b"\0\0\xff")
        self.assertEqual(bytes(view[:5]), b"\0\0\0\xff\4")
        self.assertEqual(len(self.arena.view(block)), self.arena.usable_size(block))
        self.assertEqual(self.arena.offset(view), block)
        self.assertEqual(self.arena.offset(view[7:]), block + 7)
        self.assertEqual(len(self.arena.view(block, 0)), 0)
        view.release()

    def test_view_bounds(self):
        block = self.arena.alloc(100)
        room = self.arena.usable_size(block)
        for size in (room + 1, -1, 1 << 62):
            self.assertRaises(ValueError, self.arena.view, block, size)
        for off in (0, 1, block + 1, block + 16, 8 << 20, 1 << 62, (1 << 64) - 1):
            self.assertRaises(ValueError, self.arena.view, off, 1)
        self.arena.free(block)
        self.assertRaises(ValueError, self.arena.view, block, 1)

    def test_free(self):
        block = self.arena.alloc(40000)
        self.arena.free(block)
        text = self.error(errno.EINVAL, self.arena.free, block).strerror
        self.assertIn("huma_shared_free()", text)
        self.error(errno.EINVAL, self.arena.free, 12345)
        self.assertEqual(self.arena.usable_size(block), 0)

    def test_alloc(self):
        block = self.arena.calloc(10, 100)
        self.assertEqual(self.arena.read(block, 1000), bytes(1000))
        self.arena.write(block, b"kept")
        block = self.arena.realloc(block, 500000)
        self.assertEqual(self.arena.read(block, 4), b"kept")
        aligned = self.arena.aligned_alloc(1 << 21, 100)
        self.assertEqual(aligned % (1 << 21), 0)
        self.error(errno.EINVAL, self.arena.aligned_alloc, 3, 100)
        self.error(errno.ENOMEM, self.arena.alloc, 1 << 30)
        self.error(errno.ENOMEM, self.arena.alloc, -1)

    def test_close_with_view(self):
        view = self.arena.view(self.arena.calloc(8))
        part = view[2:4]
        self.assertRaises(BufferError, self.arena.close)
        view.release()
        self.assertRaises(BufferError, self.arena.close)
        part[0] = 1
        part.release()
        self.arena.close()
        self.assertTrue(self.arena.closed)
        self.arena.close()
        for call in (self.arena.info, self.arena.verify, self.arena.fileno,
                     lambda: self.arena.alloc(1), lambda: self.arena.view(1 << 20)):
            self.assertRaises(ValueError, call)

    def test_forgotten(self):
        arena = create(limit_bytes=2 << 20)
        fd = os.dup(arena.fileno())
        arena.publish("a", arena.alloc(8))
        view = arena.view(arena.peek("a"))
        view[0] = 77
        del arena
        gc.collect()
        self.assertEqual(view[0], 77)
        with huma.attach(fd) as other:
            self.assertEqual(other.info()["process_count"], 2)
            view.release()
            gc.collect()
            self.assertEqual(other.info()["process_count"], 1)
        os.close(fd)

    def test_cells(self):
        block, other = self.arena.calloc(64), self.arena.alloc(64)
        self.assertIsNone(self.arena.peek("a"))
        self.assertIsNone(self.arena.take("a"))
        self.arena.publish("a", block)
        self.assertEqual(self.arena.peek("a"), block)
        self.assertEqual(self.arena.peek(self.arena.root("a")), block)
        error = self.error(errno.EEXIST, self.arena.publish, "a", other)
        self.assertIsInstance(error, FileExistsError)
        self.error(errno.EINVAL, self.arena.publish, "b", block)
        self.arena.publish(block + 8, other)
        self.assertEqual(self.arena.take(block + 8), other)
        self.assertEqual(self.arena.take("a"), block)
        self.assertIsNone(self.arena.take("a"))
        made = self.arena.alloc_to("c", 5000)
        self.assertEqual(self.arena.peek("c"), made)
        self.assertEqual(self.arena.read(made, 5000), bytes(5000))
        self.error(errno.EINVAL, self.arena.root, "")

    def test_ring(self):
        ring = self.arena.create_ring(4)
        self.arena.publish("ring", ring.block)
        again = self.arena.ring("ring")
        blocks = [self.arena.alloc(10) for _ in range(4)]
        for block in blocks:
            ring.put(block, 0)
        fifth = self.arena.alloc(10)
        self.assertRaises(BlockingIOError, ring.put, fifth, 0)
        self.assertRaises(TimeoutError, ring.put, fifth, 0.15)
        self.assertEqual([again.get() for _ in range(4)], blocks)
        self.error(errno.EINVAL, self.arena.free, 12345)
        self.assertNotIn("free", self.error(errno.EAGAIN, again.get, 0).strerror)
        start = time.monotonic()
        self.assertRaises(TimeoutError, again.get, 0.25)
        self.assertGreaterEqual(time.monotonic() - start, 0.25)
        self.assertEqual(self.error(errno.ENOENT, self.arena.ring, "none").filename, "none")
        thread = threading.Timer(0.3, ring.put, [fifth])
        thread.start()
        self.assertEqual(ring.get(), fifth)
        thread.join()
        self.arena.take("ring")
        ring.put(fifth)
        ring.destroy()
        self.assertEqual(self.arena.usable_size(fifth), 0)
        self.error(errno.EINVAL, ring.get, 0)

    def test_lock(self):
        self.arena.alloc_to("table", 64)
        lock = self.arena.lock("table", timeout=0.05)
        with lock:
            self.assertFalse(lock.holder_died)
            self.assertRaises(BlockingIOError, self.arena.lock("table").acquire, 0)
            with self.assertRaises(TimeoutError), self.arena.lock("table", timeout=0.15):
                self.fail("it is locked already")
        self.error(errno.EPERM, lock.release)
        self.error(errno.EINVAL, self.arena.lock(3).acquire, 0)

    def test_state(self):
        block = self.arena.alloc(1 << 20)
        info = self.arena.info()
        self.assertEqual(info["private_bytes"], self.arena.usable_size(block))
        self.assertEqual((info["limit_bytes"], info["kind"]), (8 << 20, "memfd"))
        self.assertEqual((info["process_count"], info["dead_count"]), (1, 0))
        self.assertIn("may change", info["risks"])
        self.assertNotIn("may be cut", info["risks"])
        self.arena.free(block)
        self.assertEqual(self.arena.trim() % (2 << 20), 0)
        self.assertEqual(self.arena.info()["ready_bytes"], 0)
        self.assertEqual(self.arena.recover(), 0)
        self.arena.verify()
        self.arena.sync()

    def test_damage(self):
        cell = self.arena.root("a")
        with mmap.mmap(self.arena.fileno(), 0) as whole:
            whole[cell] = 64
            text = self.error(errno.EUCLEAN, self.arena.verify).strerror
            self.assertIn("huma_shared_verify()", text)
            whole[cell] = 0
        self.arena.verify()

    def test_create_errors(self):
        for options in ({}, {"limit_bytes": 1 << 20, "backing": "paper"},
                        {"limit_bytes": 1 << 20, "process_count": 5000},
                        {"limit_bytes": 1 << 20, "flags": 1 << 40}):
            text = self.error(errno.EINVAL, huma.Arena.create, **options).strerror
            self.assertIn("huma_shared_create()", text)
        self.assertRaises(TypeError, huma.Arena.create, limit_byte=1)

    def test_process_bytes(self):
        with create(limit_bytes=8 << 20, process_bytes=1 << 20) as arena:
            arena.alloc(500000)
            self.error(errno.ENOMEM, arena.alloc, 2 << 20)

    def test_same_address(self):
        with create(limit_bytes=2 << 20, flags=huma.SAME_ADDRESS) as arena:
            self.error(errno.EADDRNOTAVAIL, huma.attach, arena.fileno())


class Files(unittest.TestCase):
    error = Blocks.error

    def test_file(self):
        name = path("kept.huma")
        with create(limit_bytes=2 << 20, path=name, mode=0o640) as arena:
            self.assertEqual(os.stat(name).st_mode & 0o777, 0o640)
            self.assertEqual(arena.info()["kind"], "file")
            self.error(errno.EEXIST, huma.Arena.create, limit_bytes=2 << 20, path=name)
            block = arena.alloc(100)
            arena.write(block, b"on disk")
            arena.publish("a", block)
            arena.sync()
            self.error(errno.EBUSY, huma.remove, name)
        with huma.open(name) as arena:
            self.assertEqual(arena.read(arena.peek("a"), 7), b"on disk")
        huma.remove(name)
        error = self.error(errno.ENOENT, huma.open, name)
        self.assertIsInstance(error, FileNotFoundError)
        self.error(errno.ENOENT, huma.remove, name)

    def test_name(self):
        name = f"python-test-{os.getpid()}"
        with create(limit_bytes=2 << 20, path=name) as arena, huma.open(name) as other:
            arena.alloc_to("a", 10)
            self.assertIsNotNone(other.peek("a"))
        huma.remove(name)

    def test_read_only(self):
        with create(limit_bytes=2 << 20) as arena:
            block = arena.alloc_to("a", 100)
            arena.write(block, b"seen")
            with huma.attach(arena.fileno(), read_only=True) as reader:
                view = reader.view(reader.peek("a"))
                self.assertEqual((bytes(view[:4]), view.readonly), (b"seen", True))
                with self.assertRaises(TypeError):
                    view[0] = 1
                view.release()
                self.assertEqual(reader.read(block, 4), b"seen")
                self.error(errno.EROFS, reader.alloc, 1)
                self.error(errno.EROFS, reader.write, block, b"x")
                self.assertIsNone(reader.peek("no such root"))
                reader.verify()
            self.assertEqual(arena.read(block, 4), b"seen")

    def test_memory(self):
        with mmap.mmap(-1, 8 << 20) as memory:
            arena = huma.Arena.create(memory=memory)
            block = arena.alloc(100)
            arena.write(block, b"in it")
            self.assertEqual(memory[block:block + 5], b"in it")
            self.assertEqual(arena.info()["kind"], "memory")
            self.error(errno.EINVAL, arena.fileno)
            self.assertRaises(BufferError, memory.close)
            arena.close()

    def test_memory_of_others(self):
        lives = path("lives")
        with mmap.mmap(-1, 8 << 20) as memory:
            arena = huma.Arena.create(memory=memory, path=lives)
            other = huma.attach_memory(memory, lives)
            arena.alloc_to("a", 10)
            self.assertIsNotNone(other.take("a"))
            other.close()
            arena.close()

    def test_no_arena(self):
        name = path("other")
        for content in (b"", b"x" * 100, b"x" * 10000):
            with open(name, "wb") as file:
                file.write(content)
            self.error(errno.EINVAL, huma.open, name)
        self.error(errno.EINVAL, huma.attach, 0x7fffff)
        self.assertRaises(OSError, huma.open, FOLDER)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
