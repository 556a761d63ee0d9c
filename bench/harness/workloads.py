# SPDX-License-Identifier: MIT
"""The workloads: what each runs, and how much memory is touched before."""
import os
import shutil
import subprocess
import sys

from . import inputs
from .allocators import Refused


class Workload:
    """A name, what it does, and how it is run.

    program    one of bench's own, in the build folder; or None
    touch_mib  about what it needs at full size
    least_mib  about what it needs at any size
    full_at    the scale from which on it needs that and no more; None: it grows with the scale
    prepare    for real programs: (context) -> Run
    """

    def __init__(self, name, text, touch_mib, program=None, prepare=None, least_mib=1,
                 full_at=None):
        self.name = name
        self.text = text
        self.touch_mib = touch_mib
        self.least_mib = least_mib
        self.full_at = full_at
        self.program = program
        self.prepare = prepare


class Run:
    """A command with its settings, and a shell script to run beside it."""

    def __init__(self, command, env=None, companion=None, is_jemalloc_linked=False):
        self.command = command
        self.env = env or {}
        self.companion = companion
        self.is_jemalloc_linked = is_jemalloc_linked


class Missing(Exception):
    """A program that a workload needs is not installed."""


class Context:
    """What workloads need to know: where things are, and how large the run is."""

    def __init__(self, bench_dir, program_dir, work_dir, scale, redis):
        self.bench_dir = bench_dir
        self.program_dir = program_dir
        self.work_dir = work_dir
        self.scale = scale
        self.redis = redis

    def count(self, base, least=1):
        return max(least, int(base * self.scale))

    def script(self, name):
        return os.path.join(self.bench_dir, "programs", name)

    def own(self, program):
        return os.path.join(self.program_dir, program)


def need(program):
    path = shutil.which(program)
    if path is None:
        raise Missing("%s is not installed" % program)
    return path


def perl(context):
    return Run([need("perl"), context.script("hash.pl"), str(context.count(1500000, 1000))],
               {"PERL_HASH_SEED": "0"})


def python3(context):
    # The one in PATH may be a shell script that starts the real one.
    return Run([sys.executable, "-S", context.script("objects.py"), str(context.count(150000, 100))],
               {"PYTHONMALLOC": "malloc", "PYTHONHASHSEED": "0"})


def sqlite(context):
    name = inputs.write(context.work_dir, "table.sql", 
                        inputs.sql(context.count(400000, 100), context.script("memory.sh")))
    return Run([need("sqlite3"), "-bail", ":memory:", ".read " + name])


def gxx(context):
    name = inputs.write(context.work_dir, "large.cc", inputs.cxx(context.count(5000, 60)))
    return Run([need("g++"), "-O2", "-S", "-o", "/dev/null", name])


def redis(context):
    server = context.redis or need("redis-server")
    beside = os.path.join(os.path.dirname(server), "redis-cli")
    client = beside if os.access(beside, os.X_OK) else need("redis-cli")
    commands = inputs.write(context.work_dir, "commands.redis",
                            inputs.redis(context.count(200000, 100)))
    socket = os.path.join(context.work_dir, "redis.sock")
    if len(socket) > 100:
        raise Missing("the name %s is too long for a socket: choose another --out" % socket)
    companion = "sh '%s' '%s' '%s' '%s' '%s'" % (
        context.script("redis.sh"), client, socket, commands, context.script("memory.sh"))
    return Run([server, "--port", "0", "--unixsocket", socket, "--save", "", "--appendonly", "no",
                "--dir", context.work_dir, "--daemonize", "no", "--loglevel", "warning"],
               companion=companion, is_jemalloc_linked=needs_jemalloc(server))


def needs_jemalloc(program):
    """Is the program linked with libjemalloc, so that libc's malloc must be preloaded too?"""
    listing = subprocess.run(["ldd", program], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                             check=False).stdout.decode()
    return "libjemalloc" in listing


ALL = (
    Workload("churn-small", "16-512 B, 10^7 operations over 10^5 slots", 64, "bench_churn",
             full_at=1.0),
    Workload("churn-mixed", "16 B-1 MiB (Pareto), 10^7 operations over 10^5 slots", 160, "bench_churn",
             full_at=1.0),
    Workload("server", "8 threads, 10^4 slots each, handed to successor threads", 160, "bench_threads"),
    Workload("queue", "one producer, one consumer, 64-1024 B", 32, "bench_threads", full_at=1.0),
    Workload("batch", "10^5 blocks freed newest first, oldest first, at random", 160, "bench_batch"),
    Workload("large", "1-64 MiB swinging, 16 live", 800, "bench_large", least_mib=150, full_at=0.05),
    Workload("realloc", "1 MiB to 1 GiB in steps of 1 MiB", 1200, "bench_large"),
    Workload("index", "nodes of 24-1000 B, 2 GiB, 10^7 look-ups, 75 % freed, refilled", 2400,
             "bench_index"),
    Workload("threads", "10^4 threads that allocate a little", 64, "bench_threads", full_at=1.0),
    Workload("fork", "2 GiB heap, 100 forks while the parent writes", 2400, "bench_process"),
    Workload("startup", "500 x /bin/true", 4, "bench_process", full_at=1.0),
    Workload("perl", "hash of 1.5 million strings", 500, prepare=perl),
    Workload("python3", "objects and JSON, PYTHONMALLOC=malloc", 500, prepare=python3),
    Workload("sqlite", "400000 rows in memory", 300, prepare=sqlite),
    Workload("g++", "-O2 of 5000 lines", 400, prepare=gxx, least_mib=120),
    Workload("redis", "1.4 million commands by redis-cli --pipe", 200, prepare=redis),
)


def choose(words):
    """The workloads of --workloads A,B; all without it."""
    if words is None:
        return list(ALL)
    by_name = {workload.name: workload for workload in ALL}
    out = []
    for word in words.split(","):
        if word not in by_name:
            raise Refused("'%s' is no workload; accepted: %s" % (word, ",".join(by_name)))
        out.append(by_name[word])
    return out


def plan(workload, context):
    """How to run it; raises Missing if a program is not installed."""
    if workload.program:
        return Run([context.own(workload.program), workload.name, repr(context.scale)])
    return workload.prepare(context)
