# SPDX-License-Identifier: MIT
"""arrays.py - arrays of numpy in a shared arena."""
import functools
import multiprocessing
import unittest

import numpy

import huma

# Not of a pool, of which other tests may count the pages.
create = functools.partial(huma.Arena.create, backing="thp,4k")

SHAPE = (1080, 1920, 3)


def invert(arena, block):
    image = arena.ndarray_at(block, SHAPE, "u1")
    image ^= 255


class Arrays(unittest.TestCase):
    def setUp(self):
        self.arena = create(limit_bytes=64 << 20)
        self.addCleanup(self.arena.close)

    def test_shared(self):
        image = self.arena.ndarray(SHAPE, "u1")
        block = self.arena.offset(image)
        image[...] = numpy.arange(image.size, dtype="u4").reshape(SHAPE) % 251
        again = self.arena.ndarray_at(block, SHAPE, "u1")
        self.assertTrue(numpy.shares_memory(image, again))
        self.assertEqual(image.nbytes, 1080 * 1920 * 3)
        wanted = 255 - image
        for method in ("fork", "spawn"):
            process = multiprocessing.get_context(method).Process(target=invert,
                                                                  args=(self.arena, block))
            process.start()
            process.join(60)
            self.assertEqual(process.exitcode, 0)
            self.assertTrue(numpy.array_equal(again, wanted))
            wanted = 255 - wanted
        self.assertEqual(self.arena.read(block, 3), image[0, 0].tobytes())

    def test_kinds(self):
        for dtype in ("f8", ">i4", "c16", "M8[ns]", "S5", [("x", "f4"), ("n", "i8")]):
            array = self.arena.ndarray((3, 4), dtype)
            array[...] = numpy.zeros((3, 4), dtype)
            self.assertEqual((array.shape, array.dtype), ((3, 4), numpy.dtype(dtype)))
        self.assertEqual(self.arena.ndarray(7).shape, (7,))
        self.assertEqual(self.arena.ndarray(()).shape, ())
        self.assertEqual(self.arena.ndarray((0, 5)).size, 0)
        before = self.arena.info()["private_bytes"]
        self.assertRaises(TypeError, self.arena.ndarray, 3, object)
        self.assertRaises(OSError, self.arena.ndarray, 1 << 40)
        self.assertRaises(ValueError, self.arena.ndarray_at, self.arena.alloc(10), 1000, "f8")
        self.assertEqual(self.arena.info()["private_bytes"], before + 64)

    def test_close(self):
        array = self.arena.ndarray(10)
        part = array[3:5].reshape(2, 1)
        del array
        self.assertRaises(BufferError, self.arena.close)
        part[0] = 1
        del part
        self.arena.close()

    def test_read_only(self):
        block = self.arena.offset(self.arena.ndarray(10))
        with huma.attach(self.arena.fileno(), read_only=True) as reader:
            array = reader.ndarray_at(block, 10)
            self.assertEqual(reader.offset(array), block)
            self.assertFalse(array.flags.writeable)
            del array


if __name__ == "__main__":
    unittest.main()
