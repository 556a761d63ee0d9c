# SPDX-License-Identifier: MIT
"""Memory on huge pages that processes share and allocate in together: libhuma's shared arenas.

    import huma

    with huma.Arena.create(limit_bytes=1 << 30) as arena:
        block = arena.alloc(100)
        arena.view(block)[:5] = b"hello"
        arena.publish("greeting", block)       # now any process may find it
        arena.send(socket)                     # ... that has the arena; there: huma.receive(socket)

A block is named by its offset, which is the same in all processes; view() and ndarray() give its
memory, nothing is copied. It is private to the process that allocated it until it is published in
a root, or put into a ring, from where any process may take it. Any process may be killed at any
moment: the others go on, and what only the dead one could reach is freed.

Processes have an arena by fork, by multiprocessing (an Arena may be an argument of a Process, the
initializer of a Pool, or go through a Queue or Pipe; with fork, spawn and forkserver), by a UNIX
socket, by an inherited descriptor (fileno(), subprocess's pass_fds), or by its name or path.

What fails raises OSError, or its subclass for the errno: FileExistsError, TimeoutError, ... with
the library's sentence. A closed arena raises ValueError, a view outside of its block too.

This file is all there is: copy it, or set PYTHONPATH to PREFIX/share/huma/python. The library is
libhuma.so.0, found as the loader does (ldconfig, LD_LIBRARY_PATH), or the file that HUMA_LIBRARY
names. numpy is needed by ndarray() and ndarray_at() only.
"""
from __future__ import annotations

import ctypes
import errno
import math
import os
import select
import time
import weakref
from typing import Any, Callable, Optional, Union

__all__ = ["Arena", "Lock", "Ring", "attach", "attach_memory", "open", "receive", "remove",
           "SAME_ADDRESS", "PREFAULT", "ONE_WRITER"]

SAME_ADDRESS, PREFAULT, ONE_WRITER, _READ_ONLY, _ANY_OWNER = 1, 2, 4, 8, 16

# A signal's handler runs between two calls of the library: none sleeps longer.
_SLICE_MS = 100

_Where = Union[str, int]  # the name of a root, or an offset

_size, _u64, _ptr, _str = ctypes.c_size_t, ctypes.c_uint64, ctypes.c_void_p, ctypes.c_char_p
_int, _uint, _never = ctypes.c_int, ctypes.c_uint, -1


class _Options(ctypes.Structure):
    _fields_ = [("struct_size", _size), ("name", _str), ("path", _str), ("backing", _str),
                ("nodes", _str), ("limit_bytes", _size), ("initial_bytes", _size),
                ("process_bytes", _size), ("memory", _ptr), ("memory_bytes", _size),
                ("process_count", _uint), ("root_count", _uint), ("mode", _uint),
                ("reserved", _uint), ("flags", _u64)]


class _State(ctypes.Structure):
    _fields_ = [("struct_size", _size), ("private_bytes", _u64), ("published_bytes", _u64),
                ("heap_bytes", _u64), ("ready_bytes", _u64), ("limit_bytes", _u64),
                ("page_bytes", _u64), ("resident_bytes", _u64), ("huge_bytes", _u64),
                ("process_count", _u64), ("dead_count", _u64), ("kind", _uint), ("risks", _uint)]


_KINDS = ("memfd", "file", "memory")
_RISKS = ("may be cut", "may be holed", "may be zeroed", "may change")

# By name without "huma_shared_": what a function returns, which result says that it has failed, and
# what it takes, after the arena.
_METHODS = {
    "alloc": (_u64, 0, _size), "calloc": (_u64, 0, _size, _size),
    "aligned_alloc": (_u64, 0, _size, _size), "realloc": (_u64, 0, _u64, _size),
    "free": (_int, -1, _u64), "usable_size": (_size, _never, _u64), "at": (_ptr, None, _u64),
    "offset": (_u64, 0, _ptr), "read": (_int, -1, _u64, _ptr, _size),
    "write": (_int, -1, _u64, _str, _size), "sync": (_int, -1, _u64, _size),
    "root": (_u64, 0, _str), "publish": (_int, -1, _u64, _u64), "take": (_u64, 0, _u64),
    "peek": (_u64, 0, _u64), "alloc_to": (_u64, 0, _u64, _size), "ring_create": (_u64, 0, _size),
    "ring_put": (_int, -1, _u64, _u64, _int), "ring_get": (_u64, 0, _u64, _int),
    "ring_destroy": (_int, -1, _u64), "lock": (_int, -1, _u64, _int), "unlock": (_int, -1, _u64),
    "recover": (_int, -1), "trim": (_size, _never), "verify": (_int, -1),
    "info": (_int, -1, ctypes.POINTER(_State)), "fd": (_int, -1), "send": (_int, -1, _int, _u64),
    "detach": (None, _never),
}
_FUNCTIONS = {
    "create": (_ptr, None, ctypes.POINTER(_Options)), "attach": (_ptr, None, _int, _u64),
    "open": (_ptr, None, _str, _u64), "attach_memory": (_ptr, None, _ptr, _size, _str, _u64),
    "receive": (_ptr, None, _int, _u64), "remove": (_int, -1, _str),
}


def _checker(failed: Optional[int]) -> Callable[..., Any]:
    def check(result: Any, function: Any, _arguments: Any) -> Any:
        if result != failed:
            return result
        number = ctypes.get_errno()
        text = _last_error().decode(errors="replace")
        # _Where a failure is rather an answer, the library says nothing, and the text is older.
        raise OSError(number, text if text.startswith(function.__name__) else os.strerror(number))
    return check


try:
    _library = ctypes.CDLL(os.environ.get("HUMA_LIBRARY") or "libhuma.so.0", use_errno=True)
except OSError as _missing:
    raise ImportError(f"{_missing}; install libhuma and run ldconfig, or set HUMA_LIBRARY to the "
                      "path of libhuma.so.0") from None
_last_error = _library.huma_last_error
_last_error.restype = _str
_c: dict = {}
for _table, _first in ((_METHODS, [_ptr]), (_FUNCTIONS, [])):
    for _name, (_result, _failed, *_arguments) in _table.items():
        _c[_name] = getattr(_library, "huma_shared_" + _name)
        _c[_name].restype, _c[_name].argtypes = _result, _first + _arguments
        _c[_name].errcheck = _checker(_failed)


def _flags(read_only: bool, any_owner: bool) -> int:
    return (_READ_ONLY if read_only else 0) | (_ANY_OWNER if any_owner else 0)


def _encode(text: Optional[str]) -> Optional[bytes]:
    return None if text is None else os.fsencode(text)


def _in_slices(call: Callable[[int], int], timeout: Optional[float]) -> int:
    """Call with milliseconds, until it succeeds or `timeout` seconds are over (None: never)."""
    end = math.inf if timeout is None else time.monotonic() + timeout
    while True:
        left_ms = min((end - time.monotonic()) * 1000, _SLICE_MS)
        try:
            return call(max(0, math.ceil(left_ms)))
        except (BlockingIOError, TimeoutError):
            if time.monotonic() >= end:
                raise


def _wait_for(sock: Any, event: int) -> int:
    """A socket's descriptor, when it is ready: one with a timeout does not block by itself."""
    fd = sock if isinstance(sock, int) else sock.fileno()
    timeout = sock.gettimeout() if hasattr(sock, "gettimeout") else None
    poll = select.poll()
    poll.register(fd, event)
    if timeout != 0 and not poll.poll(None if timeout is None else math.ceil(timeout * 1000)):
        raise TimeoutError(f"the socket was not ready within {timeout} s")
    return fd


def _memory_of(buffer: Any) -> tuple:
    """Address and length of what somebody else mapped, and what keeps it there."""
    if buffer is None:
        return None, 0, None
    size = memoryview(buffer).nbytes
    pin = (ctypes.c_ubyte * size).from_buffer(buffer)
    return ctypes.addressof(pin), size, pin


def _layout(shape: Any, dtype: Any) -> tuple:
    """Of a numpy array: shape, dtype, length in bytes."""
    import numpy
    dtype = numpy.dtype(dtype)
    if dtype.hasobject:
        raise TypeError("arrays of Python's objects hold pointers; only numbers can be shared")
    shape = tuple(int(n) for n in numpy.atleast_1d(shape))
    return shape, dtype, math.prod(shape) * dtype.itemsize


# --- arenas ---------------------------------------------------------------------------------------

# Arenas of this process that have a descriptor, by file: what is unpickled is one of them, if it is
# there, so that a worker which gets an arena with each task does not attach each time.
_known: weakref.WeakValueDictionary = weakref.WeakValueDictionary()


def _file_key(fd: int, flags: int) -> tuple:
    stat = os.fstat(fd)
    return stat.st_dev, stat.st_ino, flags & _READ_ONLY


def _unpickle(descriptor: Any, flags: int) -> Arena:
    fd = descriptor.detach()
    try:
        arena = _known.get(_file_key(fd, flags))
        if arena is None or arena.closed:
            arena = Arena(_c["attach"](fd, flags), flags)
        return arena
    finally:
        os.close(fd)


class Arena:
    """A shared arena that this process has attached: by Arena.create, or by the functions attach,
    open, receive and attach_memory of this module, rather than by the constructor."""

    def __init__(self, handle: int, flags: int, pin: Any = None) -> None:
        self._handle: Optional[int] = handle
        self._flags = flags
        self._others_flags = 0  # besides, for those who attach it
        self._pin = pin
        self._views: dict = {}
        # Not at exit: somebody may still have a view then, and the kernel cleans up anyway.
        self._finalizer = weakref.finalize(self, _c["detach"], handle)
        self._finalizer.atexit = False
        if pin is None:
            _known[_file_key(self.fileno(), flags)] = self

    @classmethod
    def create(cls, limit_bytes: int = 0, *, name: Optional[str] = None,
               path: Optional[str] = None, backing: Optional[str] = None,
               nodes: Optional[str] = None, initial_bytes: int = 0, process_bytes: int = 0,
               memory: Any = None, process_count: int = 0, root_count: int = 0, mode: int = 0,
               flags: int = 0) -> Arena:
        """Create an arena. Arguments are the members of struct huma_shared_options, see there:
        limit_bytes is what it may grow to; path a name, or a path with a '/', by which open() finds
        it (None: a memfd, gone with the last process that has it); backing where memory comes from
        ("hugetlb,thp,4k", or a part of that); memory a writable buffer that others share, as
        mmap.mmap; flags SAME_ADDRESS, PREFAULT and ONE_WRITER."""
        address, size, pin = _memory_of(memory)
        options = _Options(ctypes.sizeof(_Options), _encode(name), _encode(path), _encode(backing),
                           _encode(nodes), limit_bytes, initial_bytes, process_bytes, address,
                           size, process_count, root_count, mode, 0, flags)
        arena = cls(_c["create"](options), 0, pin)
        arena._others_flags = _READ_ONLY if flags & ONE_WRITER else 0
        return arena

    @property
    def closed(self) -> bool:
        return self._handle is None

    def close(self) -> None:
        """Free all blocks that are private to this process, and forget the arena. BufferError if
        views or arrays of it are still there. It closes by itself when nothing refers to it, or to
        a view of it, any more; no other thread may be in a call then."""
        if self._handle is None:
            return
        if self._views:
            raise BufferError(f"{len(self._views)} views of the arena exist; release them, and the "
                              "arrays made of them, before it is closed")
        self._handle = None
        self._finalizer()
        self._pin = None

    def __enter__(self) -> Arena:
        return self

    def __exit__(self, *exception: Any) -> None:
        self.close()

    def __reduce__(self) -> tuple:
        from multiprocessing import reduction
        return _unpickle, (reduction.DupFd(self.fileno()), self._flags | self._others_flags)

    def _call(self, name: str, *arguments: Any) -> int:
        if self._handle is None:
            raise ValueError("the arena is closed")
        return _c[name](self._handle, *arguments)

    def fileno(self) -> int:
        """The descriptor, which stays the arena's: for attach(), and subprocess's pass_fds."""
        return self._call("fd")

    def send(self, sock: Any, *, read_only: bool = False) -> None:
        """Send the arena over a UNIX socket, for receive(). read_only: only to be read there."""
        self._call("send", _wait_for(sock, select.POLLOUT), _flags(read_only, False))

    # --- blocks ---

    def alloc(self, size: int) -> int:
        """Allocate a private block, and return its offset. Its bytes may be anything."""
        return self._call("alloc", size)

    def calloc(self, count: int, size: int = 1) -> int:
        """Allocate a private block of zeros."""
        return self._call("calloc", count, size)

    def aligned_alloc(self, alignment: int, size: int) -> int:
        """Allocate a private block at a multiple of a power of two up to 2 MiB."""
        return self._call("aligned_alloc", alignment, size)

    def realloc(self, block: int, size: int) -> int:
        """Resize a private block, and return it: it may move. No view of it may be in use."""
        return self._call("realloc", block, size)

    def free(self, block: int) -> None:
        """Free a block, whoever allocated it. Views of it then show what others put there."""
        self._call("free", block)

    def usable_size(self, block: int) -> int:
        """How many bytes of a block may be used; 0: there is none at this offset."""
        return self._call("usable_size", block)

    def view(self, block: int, size: Optional[int] = None) -> memoryview:
        """The memory of a block, from its beginning; None: all that may be used. Nothing is copied.
        The arena cannot be closed before the view, and all that was made of it, is released."""
        room = self.usable_size(block)
        if room == 0:
            raise ValueError(f"there is no block at the offset {block}")
        size = room if size is None else size
        if not 0 <= size <= room:
            raise ValueError(f"the block has {room} bytes, not {size}")
        memory = (ctypes.c_ubyte * size).from_address(self._call("at", block))
        memory.arena = self
        key, views = id(memory), self._views
        views[key] = weakref.ref(memory, lambda _: views.pop(key, None))
        view = memoryview(memory).cast("B")
        return view.toreadonly() if self._flags & _READ_ONLY else view

    def ndarray(self, shape: Any, dtype: Any = float) -> Any:
        """A numpy array, of any content, in a block of its own: offset() tells which."""
        shape, dtype, size = _layout(shape, dtype)
        return self.ndarray_at(self.alloc(size), shape, dtype)

    def ndarray_at(self, block: int, shape: Any, dtype: Any = float) -> Any:
        """A numpy array of what is in a block; nothing is copied."""
        import numpy
        shape, dtype, size = _layout(shape, dtype)
        return numpy.ndarray(shape, dtype, self.view(block, size))

    def offset(self, memory: Any) -> int:
        """The offset of an array's or a writable view's first byte: of the block that it is of."""
        if hasattr(memory, "__array_interface__"):
            address = memory.__array_interface__["data"][0]
        else:
            address = ctypes.addressof(ctypes.c_ubyte.from_buffer(memory))
        return self._call("offset", address)

    def read(self, off: int, size: int) -> bytes:
        """Copy out of the arena; OSError where a touch would end the process (info()["risks"])."""
        buffer = ctypes.create_string_buffer(size)
        self._call("read", off, buffer, size)
        return buffer.raw

    def write(self, off: int, data: Union[bytes, bytearray, memoryview]) -> None:
        """Copy into the arena, likewise."""
        self._call("write", off, bytes(data), len(data))

    def sync(self, off: int = 0, size: int = 0) -> None:
        """Write a range of an arena in a file to the disk; without arguments all of it."""
        self._call("sync", off, size)

    # --- cells ---

    def root(self, name: str) -> int:
        """The cell with a name, made if it is not there yet. It is an offset, as are other cells:
        words of 8 bytes in blocks, set to 0 before."""
        return self._call("root", _encode(name))

    def _cell(self, cell: _Where) -> int:
        return self.root(cell) if isinstance(cell, str) else cell

    def _block(self, where: _Where) -> int:
        block = self.peek(where) if isinstance(where, str) else where
        if block is None:
            raise FileNotFoundError(errno.ENOENT, "the root holds no block", where)
        return block

    def _or_none(self, call: str, cell: _Where) -> Optional[int]:
        try:
            return self._call(call, self._cell(cell))
        except FileNotFoundError:
            return None

    def publish(self, cell: _Where, block: int) -> None:
        """Put a private block into a root, by its name, or another cell. FileExistsError: there is
        one in it."""
        self._call("publish", self._cell(cell), block)

    def take(self, cell: _Where) -> Optional[int]:
        """Take the block out of a cell: it is private to this process then. None: it is empty."""
        return self._or_none("take", cell)

    def peek(self, cell: _Where) -> Optional[int]:
        """The block that a cell holds now, and that stays there. None: it is empty."""
        return self._or_none("peek", cell)

    def alloc_to(self, cell: _Where, size: int) -> int:
        """Allocate a block of zeros into a cell, whole or not at all."""
        return self._call("alloc_to", self._cell(cell), size)

    # --- rings and locks ---

    def create_ring(self, slot_count: int) -> Ring:
        """Create a queue for so many blocks. It is a private block itself: publish its `block`."""
        return Ring(self, self._call("ring_create", slot_count))

    def ring(self, where: _Where) -> Ring:
        """The ring that a root holds, or at an offset."""
        return Ring(self, self._block(where))

    def lock(self, where: _Where, timeout: Optional[float] = None) -> Lock:
        """The lock that is a word of 8 bytes, set to 0 before: the first of a root's block, or at
        an offset. A `with` waits for it for `timeout` seconds; None: for ever."""
        return Lock(self, self._block(where), timeout)

    # --- the whole ---

    def info(self) -> dict:
        """What the arena holds, as struct huma_shared_state tells, by name. `kind` is "memfd",
        "file" or "memory"; `risks` a list of what others may do to this process."""
        state = _State(ctypes.sizeof(_State))
        self._call("info", state)
        told = {name: getattr(state, name) for name, _ in state._fields_[1:]}
        told["kind"] = _KINDS[state.kind]
        told["risks"] = [risk for bit, risk in enumerate(_RISKS) if state.risks >> bit & 1]
        return told

    def verify(self) -> None:
        """Look at the whole state. OSError with errno.EUCLEAN says what is wrong."""
        self._call("verify")

    def recover(self) -> int:
        """Free what processes that are dead had to themselves. Returns how many there were."""
        return self._call("recover")

    def trim(self) -> int:
        """Give memory without a block back to the system. Returns how many bytes."""
        return self._call("trim")


class Ring:
    """A queue of blocks between any processes; nothing is copied. `timeout` is in seconds, None
    for ever; TimeoutError follows (0: BlockingIOError)."""

    def __init__(self, arena: Arena, block: int) -> None:
        self.arena, self.block = arena, block

    def put(self, block: int, timeout: Optional[float] = None) -> None:
        """Put a private block into the ring."""
        _in_slices(lambda ms: self.arena._call("ring_put", self.block, block, ms), timeout)

    def get(self, timeout: Optional[float] = None) -> int:
        """Get the oldest block, which is private to this process then."""
        return _in_slices(lambda ms: self.arena._call("ring_get", self.block, ms), timeout)

    def destroy(self) -> None:
        """Free the blocks in the ring, and it. Nobody uses it any more, and no cell names it."""
        self.arena._call("ring_destroy", self.block)


class Lock:
    """A lock of processes (not of their threads) for what is in an arena, besides its own word:
    `with arena.lock("table") as lock:`, and `lock.holder_died`: who held it died with it, so that
    what it guards may be half changed."""

    def __init__(self, arena: Arena, word: int, timeout: Optional[float] = None) -> None:
        self.arena, self.word, self.timeout = arena, word, timeout
        self.holder_died = False

    def acquire(self, timeout: Optional[float] = None) -> None:
        """Lock. holder_died tells afterwards whether who held it last has died with it.
        TimeoutError (timeout 0: BlockingIOError): another process has it."""
        got = _in_slices(lambda ms: self.arena._call("lock", self.word, ms), timeout)
        self.holder_died = got == 1

    def release(self) -> None:
        """Unlock."""
        self.arena._call("unlock", self.word)

    def __enter__(self) -> Lock:
        self.acquire(self.timeout)
        return self

    def __exit__(self, *exception: Any) -> None:
        self.release()


def attach(fd: int, *, read_only: bool = False, any_owner: bool = False) -> Arena:
    """Attach an arena by its descriptor, inherited or received, which stays the caller's.
    any_owner: also if it belongs to another user than this one and root"""
    flags = _flags(read_only, any_owner)
    return Arena(_c["attach"](fd, flags), flags)


def open(path: str, *, read_only: bool = False, any_owner: bool = False) -> Arena:
    """Attach an arena by its name or path. FileNotFoundError: there is none."""
    flags = _flags(read_only, any_owner)
    return Arena(_c["open"](_encode(path), flags), flags)


def receive(sock: Any, *, read_only: bool = False, any_owner: bool = False) -> Arena:
    """Attach the arena that the other side of a UNIX socket has sent."""
    flags = _flags(read_only, any_owner)
    return Arena(_c["receive"](_wait_for(sock, select.POLLIN), flags), flags)


def attach_memory(memory: Any, path: Optional[str] = None, *, read_only: bool = False,
                  any_owner: bool = False) -> Arena:
    """Attach the arena that another process has created in memory of both, with that path."""
    flags = _flags(read_only, any_owner)
    address, size, pin = _memory_of(memory)
    return Arena(_c["attach_memory"](address, size, _encode(path), flags), flags, pin)


def remove(path: str) -> None:
    """Remove an arena's name or path, if no living process has it attached."""
    _c["remove"](_encode(path))
