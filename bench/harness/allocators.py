# SPDX-License-Identifier: MIT
"""Which allocators are compared: what the user names, or what is found on this machine."""
import os
import subprocess

# name, soname, Debian's package
DEBIAN = (
    ("jemalloc", ("libjemalloc.so.2",), "libjemalloc2"),
    ("mimalloc", ("libmimalloc.so.2.0", "libmimalloc.so.2"), "libmimalloc2.0"),
    ("tcmalloc", ("libtcmalloc_minimal.so.4",), "libtcmalloc-minimal4"),
)
BARE = ("glibc", "huma") + tuple(row[0] for row in DEBIAN)
ACCEPTED = ("accepted: NAME=PATH[;ENV=VALUE;...], PATH empty for libc's own malloc, or one of "
            + ", ".join(BARE))


class Refused(Exception):
    """What the user gave cannot be run; the text says what is accepted."""


class Allocator:
    """A name, the library to preload (empty: none) and settings of its own."""

    def __init__(self, name, path, env=None):
        self.name = name
        self.path = path
        self.env = dict(env or {})

    def settings(self):
        """NAME=VALUE for a program that is to run under it."""
        out = ["%s=%s" % pair for pair in sorted(self.env.items())]
        if self.path:
            before = self.env.get("LD_PRELOAD")
            out = [word for word in out if not word.startswith("LD_PRELOAD=")]
            out.append("LD_PRELOAD=" + (self.path + ":" + before if before else self.path))
        return out

    def describe(self):
        return {"name": self.name, "path": self.path, "env": self.env}


def find_library(sonames):
    """Where the loader has a library of one of these names; None without one."""
    paths = os.pathsep.join([os.environ.get("PATH", ""), "/sbin", "/usr/sbin"])
    try:
        listing = subprocess.run(["ldconfig", "-p"], env=dict(os.environ, PATH=paths),
                                 stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                 check=False).stdout.decode()
    except OSError:
        return None
    for soname in sonames:
        for line in listing.splitlines():
            words = line.split()
            if words[:1] == [soname]:
                return words[-1]
    return None


def named(name, huma_path):
    """The allocator behind a bare name; None where it is not installed."""
    if name == "glibc":
        return Allocator("glibc", "")
    if name == "huma":
        return Allocator("huma", huma_path)
    for row in DEBIAN:
        if row[0] == name:
            path = find_library(row[1])
            return Allocator(name, path) if path else None
    raise Refused("'%s' is no allocator; %s" % (name, ACCEPTED))


def parse(word, huma_path):
    """One argument of the command line."""
    if "=" not in word:
        found = named(word, huma_path)
        if found is None:
            package = next(row[2] for row in DEBIAN if row[0] == word)
            raise Refused("%s is not installed: apt-get install %s, or %s=PATH" % (word, package, word))
        return found
    name, _, rest = word.partition("=")
    path, *settings = rest.split(";")
    if not name or not all(c.isalnum() or c in "-_.+" for c in name):
        raise Refused("'%s': a name has letters, digits, '-', '_', '.' and '+'; %s" % (word, ACCEPTED))
    env = {}
    for setting in filter(None, settings):
        key, equals, value = setting.partition("=")
        if not key or not equals:
            raise Refused("'%s': '%s' is no ENV=VALUE; %s" % (word, setting, ACCEPTED))
        env[key] = value
    return Allocator(name, os.path.abspath(path) if path else "", env)


def choose(words, huma_path, say):
    """The allocators of the command line; without any: glibc, huma and Debian's three."""
    if not words:
        out = []
        for name in BARE:
            found = named(name, huma_path)
            if found is None:
                package = next(row[2] for row in DEBIAN if row[0] == name)
                say("%s is not installed, left out (apt-get install %s)" % (name, package))
            else:
                out.append(found)
        return out
    out = [parse(word, huma_path) for word in words]
    names = [allocator.name for allocator in out]
    for name in names:
        if names.count(name) > 1:
            raise Refused("two allocators are called %s; give each a name of its own" % name)
    return out


def probe(allocator, launcher):
    """Refuse a library that is not there, does not load, or has no malloc."""
    if allocator.path and not os.path.isfile(allocator.path):
        hint = "; build it first: make" if allocator.name == "huma" else ""
        raise Refused("%s: there is no file %s%s" % (allocator.name, allocator.path, hint))
    env = dict(os.environ)
    env.update(setting.split("=", 1) for setting in allocator.settings())
    try:
        done = subprocess.run([launcher, "--whose"], env=env, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=30, check=False)
    except subprocess.TimeoutExpired as error:
        raise Refused("%s: a program under %s did not end within 30 s" % (
            allocator.name, allocator.path)) from error
    said = (done.stderr.decode(errors="replace").strip().splitlines() or [""])[0]
    if done.returncode != 0 or "cannot be preloaded" in said:
        raise Refused("%s: %s does not load: %s" % (
            allocator.name, allocator.path or "libc", said or "status %d" % done.returncode))
    whose = done.stdout.decode().strip()
    if allocator.path and os.path.realpath(whose) != os.path.realpath(allocator.path):
        raise Refused("%s: malloc comes from %s, not from %s: is it a malloc library?" % (
            allocator.name, whose, allocator.path))
