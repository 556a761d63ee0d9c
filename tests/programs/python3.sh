#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# python3.sh - python3: json, regular expressions, sorting, threads, zlib, child processes. CPython
# serves objects up to 512 bytes from arenas of its own unless PYTHONMALLOC=malloc: so both ways.
. "$(dirname "$0")/lib.sh"
need python3
# In PATH it may be a shell script that starts the real one.
python=$(python3 -c 'import sys; print(sys.executable)')

cat >"$tmp/work.py" <<'PYTHON'
import collections, hashlib, json, random, re, subprocess, sys, threading, zlib

rnd = random.Random(7)
docs = [{"id": i, "name": "n" * rnd.randrange(60), "f": rnd.random(),
         "tags": [str(rnd.randrange(99)) for _ in range(rnd.randrange(9))],
         "sub": {"deep": [[i] * rnd.randrange(5)]}} for i in range(40000)]
text = json.dumps(docs, sort_keys=True)
assert json.loads(text) == docs
print(len(text), hashlib.sha256(text.encode()).hexdigest())

words = re.findall(r'"(n+)"|(\d+)\.(\d{3})', text)
count = collections.Counter(a or b for a, b, _ in words)
print(sorted(count.items(), key=lambda kv: (-kv[1], kv[0]))[:20])
print(hashlib.sha256(re.sub(r'"id": (\d+)', lambda m: hex(int(m[1])), text).encode()).hexdigest())

def work(k, out):
    r, live = random.Random(k), []
    for i in range(15000):
        live.append(bytes([i & 255]) * r.choice((8, 100, 700, 5000, 70000)))
        if len(live) > 200:
            live[r.randrange(200)] = live.pop()
    out[k] = zlib.crc32(b"".join(live))

out = [0] * 8
threads = [threading.Thread(target=work, args=(k, out)) for k in range(8)]
for t in threads: t.start()
for t in threads: t.join()
print(out)

blob = b"".join(rnd.randbytes(1000) * 3 for _ in range(3000))
packed = zlib.compress(blob, 6)
assert zlib.decompress(packed) == blob
print(len(packed), hashlib.sha256(packed).hexdigest())

code = "import sys; d = sys.stdin.read(); print(len(d), sum(map(ord, d)))"
for i in range(4):
    print(subprocess.run([sys.executable, "-c", code], input="z" * 100000 * i,
                         capture_output=True, text=True, check=True).stdout)
big = sorted(rnd.sample(range(10**9), 300000))
print(sum(a * b for a, b in zip(big, reversed(big))) % (10**9 + 7), 3**200000 % 10**40)
PYTHON
both python3 "$python" "$tmp/work.py"
both python3-malloc env PYTHONMALLOC=malloc "$python" "$tmp/work.py"
