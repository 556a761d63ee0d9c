# SPDX-License-Identifier: MIT
"""processes.py - huma.py between processes."""
import functools
import multiprocessing
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import unittest

import huma

# Not of a pool, of which other tests may count the pages.
create = functools.partial(huma.Arena.create, backing="thp,4k")

LIMIT_BYTES = 16 << 20


def put_text(arena, root, text):
    block = arena.alloc(len(text) + 1)
    arena.write(block, bytes([len(text)]) + text)
    arena.publish(root, block)


def take_text(arena, root):
    block = arena.take(root)
    text = arena.read(block + 1, arena.view(block)[0])
    arena.free(block)
    return text


# --- what other processes do ----------------------------------------------------------------------

def answer(arena):
    put_text(arena, "answer", take_text(arena, "question")[::-1])


def work(arena):
    """Double what comes in, until a 0."""
    jobs, results = arena.ring("jobs"), arena.ring("results")
    while True:
        block = jobs.get(30)
        view = arena.view(block)
        number, view[1] = view[0], view[0] * 2 % 256
        view.release()
        results.put(block, 30)
        if number == 0:
            return


def die(arena, is_ready):
    """... with private blocks, and a lock."""
    arena.lock("table").acquire()
    for size in range(1, 100000, 1000):
        arena.alloc(size)
    is_ready.set()
    signal.pause()


def be_sent(queue, results):
    arenas = [queue.get(timeout=30) for _ in range(3)]
    results.put((len({id(arena) for arena in arenas}), take_text(arenas[0], "question")))


pool_arena = None


def start_in_pool(arena):
    global pool_arena
    pool_arena = arena


def publish_in_pool(number):
    put_text(pool_arena, f"n{number}", b"%d" % (number * number))
    return number


def look_in_pool(arena):
    return arena is pool_arena, arena.info()["kind"]


def finished(process):
    process.join(30)
    assert process.exitcode is not None, "the process does not end"
    return process.exitcode


class Processes(unittest.TestCase):
    def setUp(self):
        self.arena = create(limit_bytes=LIMIT_BYTES, root_count=200)
        self.addCleanup(self.arena.close)
        self.addCleanup(self.arena.verify)

    def child(self, code, *arguments, **options):
        done = subprocess.run([sys.executable, "-c", "import huma, socket, sys\n" + code,
                               *map(str, arguments)], timeout=60, check=False, **options)
        self.assertEqual(done.returncode, 0)

    def test_fork(self):
        put_text(self.arena, "question", b"abc")
        view = self.arena.view(self.arena.peek("question"))
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                view[1] = ord("A")
                view.release()
                answer(self.arena)
                self.arena.close()
                status = 0
            finally:
                os._exit(status)
        self.assertEqual(os.waitpid(pid, 0)[1], 0)
        view.release()
        self.assertEqual(take_text(self.arena, "answer"), b"cbA")
        self.assertEqual(self.arena.info()["process_count"], 1)

    def test_descriptor(self):
        put_text(self.arena, "question", b"abc")
        self.child("a = huma.attach(int(sys.argv[1]))\na.publish('answer', a.take('question'))",
                   self.arena.fileno(), pass_fds=[self.arena.fileno()])
        self.assertEqual(take_text(self.arena, "answer"), b"abc")

    def test_send(self):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            put_text(self.arena, "question", b"abc")
            ours.settimeout(30)
            self.arena.send(ours)
            self.child("a = huma.receive(int(sys.argv[1]))\n"
                       "a.publish('answer', a.take('question'))\n"
                       "a.send(int(sys.argv[1]), read_only=True)",
                       theirs.fileno(), pass_fds=[theirs.fileno()])
            with huma.receive(ours, read_only=True) as reader:
                self.assertIsNotNone(reader.peek("answer"))
                self.assertRaises(OSError, reader.alloc, 1)
            self.assertEqual(take_text(self.arena, "answer"), b"abc")

    def test_receive_errors(self):
        ours, theirs = socket.socketpair()
        with ours:
            ours.settimeout(0.1)
            self.assertRaises(TimeoutError, huma.receive, ours)
            ours.setblocking(False)
            self.assertRaises(BlockingIOError, huma.receive, ours)
            ours.setblocking(True)
            theirs.send(b"no arena")
            self.assertRaises(OSError, huma.receive, ours)
            theirs.close()
            self.assertRaises(ConnectionResetError, huma.receive, ours)
            self.assertRaises(OSError, self.arena.send, ours)

    def test_one_writer(self):
        with create(limit_bytes=2 << 20, flags=huma.ONE_WRITER) as arena:
            arena.alloc_to("a", 10)
            self.child("a = huma.attach(int(sys.argv[1]), read_only=True)\nassert a.peek('a')\n"
                       "try:\n    huma.attach(int(sys.argv[1]))\nexcept OSError:\n    sys.exit()\n"
                       "sys.exit('it can be written')",
                       arena.fileno(), pass_fds=[arena.fileno()])

    def test_interrupt(self):
        class Alarm(Exception):
            pass

        def handler(*_):
            raise Alarm
        before = signal.signal(signal.SIGALRM, handler)
        self.addCleanup(signal.signal, signal.SIGALRM, before)
        ring = self.arena.create_ring(2)
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        self.assertRaises(Alarm, ring.get)

    def test_threads(self):
        jobs, count = self.arena.create_ring(8), 2000
        seen = []

        def consume():
            for _ in range(count):
                block = jobs.get(30)
                seen.append(self.arena.view(block)[0])
                self.arena.free(block)
        threads = [threading.Thread(target=consume) for _ in range(2)]
        for thread in threads:
            thread.start()
        for i in range(2 * count):
            block = self.arena.alloc(64)
            self.arena.view(block)[0] = i % 251
            jobs.put(block, 30)
        for thread in threads:
            thread.join()
        self.assertEqual(sorted(seen), sorted(i % 251 for i in range(2 * count)))


class Multiprocessing:
    """The same by each way to start a process."""

    def setUp(self):
        super().setUp()
        self.start = multiprocessing.get_context(self.method)

    def process(self, target, *arguments):
        process = self.start.Process(target=target, args=arguments)
        process.start()
        return process

    def test_argument(self):
        put_text(self.arena, "question", b"hello")
        self.assertEqual(finished(self.process(answer, self.arena)), 0)
        self.assertEqual(take_text(self.arena, "answer"), b"olleh")

    def test_rings(self):
        for name in ("jobs", "results"):
            self.arena.publish(name, self.arena.create_ring(4).block)
        jobs, results = self.arena.ring("jobs"), self.arena.ring("results")
        process = self.process(work, self.arena)
        for number in (3, 5, 7, 0):
            block = self.arena.calloc(2)
            self.arena.view(block)[0] = number
            jobs.put(block, 30)
        for number in (3, 5, 7, 0):
            self.assertEqual(self.arena.read(results.get(30), 2), bytes([number, number * 2]))
        self.assertEqual(finished(process), 0)

    def test_killed(self):
        self.arena.alloc_to("table", 64)
        before = self.arena.info()["private_bytes"]
        is_ready = self.start.Event()
        process = self.process(die, self.arena, is_ready)
        self.assertTrue(is_ready.wait(30))
        self.assertGreater(self.arena.info()["private_bytes"], before)
        self.assertRaises(TimeoutError, self.arena.lock("table").acquire, 0.2)
        process.kill()
        self.assertEqual(finished(process), -signal.SIGKILL)
        self.assertEqual(self.arena.info()["dead_count"], 1)
        with self.arena.lock("table", timeout=30) as lock:
            self.assertTrue(lock.holder_died)
        self.arena.recover()
        self.assertEqual(self.arena.info()["private_bytes"], before)
        self.assertEqual(self.arena.info()["process_count"], 1)

    def test_queue(self):
        queue, results = self.start.Queue(), self.start.Queue()
        put_text(self.arena, "question", b"by queue")
        process = self.process(be_sent, queue, results)
        for _ in range(3):
            queue.put(self.arena)
        self.assertEqual(results.get(timeout=30), (1, b"by queue"))
        self.assertEqual(finished(process), 0)

    def test_pool(self):
        with self.start.Pool(2, start_in_pool, (self.arena,)) as pool:
            self.assertEqual(sorted(pool.map(publish_in_pool, range(50))), list(range(50)))
            self.assertEqual(set(pool.map(look_in_pool, [self.arena] * 6)), {(True, "memfd")})
        for number in range(50):
            self.assertEqual(take_text(self.arena, f"n{number}"), b"%d" % (number * number))

    def test_same_object(self):
        self.assertIs(pickle.loads(pickle.dumps(self.arena)), self.arena)


class Fork(Multiprocessing, Processes):
    method = "fork"


class Spawn(Multiprocessing, Processes):
    method = "spawn"


class Forkserver(Multiprocessing, Processes):
    method = "forkserver"


def load_tests(loader, _tests, _pattern):
    """What does not depend on the way to start a process runs once."""
    suite = unittest.TestSuite(map(Fork, loader.getTestCaseNames(Fork)))
    for case in (Spawn, Forkserver):
        suite.addTests(case(name) for name in loader.getTestCaseNames(Multiprocessing))
    return suite


if __name__ == "__main__":
    unittest.main()
