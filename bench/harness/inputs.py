# SPDX-License-Identifier: MIT
"""Inputs of the real programs, the same text each time."""
import os


def write(folder, name, lines):
    """Write the lines; returns the file's name."""
    path = os.path.join(folder, name)
    with open(path, "w", encoding="ascii") as out:
        out.writelines(line + "\n" for line in lines)
    return path


def mixed(number):
    """A scattered 32-bit number."""
    return (number * 2654435761 + 40503) % 4294967296


def sql(row_count, memory_script):
    """Rows, indexes, a join, updates, deletes; all dropped at the end."""
    yield "CREATE TABLE item(id INTEGER PRIMARY KEY, grp INTEGER, name TEXT, body BLOB);"
    yield "BEGIN;"
    yield "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d)" % row_count
    yield "    INSERT INTO item SELECT i, (i * 7919) % 5003, 'name ' || ((i * 104729) % 1000003),"
    yield "        zeroblob(i % 200) FROM n;"
    yield "COMMIT;"
    yield "CREATE INDEX by_name ON item(name, grp);"
    yield "CREATE INDEX by_grp ON item(grp);"
    yield "SELECT count(*), sum(length(body)), min(name), max(name) FROM item;"
    yield "SELECT count(*) FROM (SELECT group_concat(name) FROM item GROUP BY grp);"
    yield "SELECT count(*) FROM item a JOIN item b ON b.name = 'name ' || a.id AND b.grp > a.grp;"
    yield "UPDATE item SET name = upper(name) || printf('%.*c', id % 300, 'x') WHERE id % 5 = 0;"
    yield "DELETE FROM item WHERE id % 3 = 0;"
    yield "SELECT count(*), sum(length(name)) FROM item WHERE name LIKE 'NAME%';"
    yield "VACUUM;"
    yield "SELECT count(*) FROM (SELECT row_number() OVER (PARTITION BY grp ORDER BY name) FROM item);"
    yield "DROP TABLE item;"
    yield ".shell sh '%s' $PPID" % memory_script


CXX_HEAD = """#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>
template <class T, int N> struct Table {
    T cells[N]; int used = 0;
    T &at(int i) { return cells[(i % N + N) % N]; }
    T sum() const { T s{}; for (const auto &c : cells) s += c; return s; }
};"""

CXX_BODY = """struct Shape{i} {{
    int key, used; double points[{m}]; std::string name;
    bool operator<(const Shape{i} &o) const {{ return key < o.key; }}
}};
static double
area{i}(const Shape{i} &shape, int limit)
{{
    double edge = shape.key, last = {i}.5;
    for (int k = 1; k < shape.used && k < {m}; k++) {{
        edge += shape.points[k] * shape.points[k - 1] - shape.key % {m};
        if (edge > limit * {i}.25)
            edge = edge / 2 + last;
        last = edge - shape.points[k];
    }}
    switch ((shape.key + limit) % {m}) {{
    case 0: return edge;
    case 1: return edge * {i};
    case 2: return edge * 0.5 + last;
    default: return double(shape.name.size()) / (edge + 1);
    }}
}}
static int
step{i}(const unsigned char *text, int len, int *out_cells)
{{
    unsigned sum = {i};
    for (int k = 0; k < len; k++) {{
        switch ((text[k] + {i}) % {m}) {{
        case 0: sum += text[k] * {m}u; break;
        case 1: sum ^= (sum << 5) + {i}u; break;
        case 2: out_cells[k % {m}] += int(sum); break;
        default: sum -= unsigned(k);
        }}
        if (sum % {m}u == 1)
            out_cells[sum % 3] ^= k;
    }}
    for (int k = 0; k < {m}; k++)
        sum += unsigned(out_cells[k]) >> (k % 7);
    return int(sum);
}}
long
work{i}(int count)
{{
    int cells[{m} + 3] = {{}};
    unsigned char text[64];
    double total = 0;
    for (int k = 0; k < count; k++) {{
        Shape{i} shape{{k % {m}, k, {{}}, std::string(k % 30, 'x')}};
        for (int p = 0; p < {m}; p++)
            shape.points[p] = p * {i} + k;
        text[k % 64] = (unsigned char)(k * {m});
        total += area{i}(shape, count);
    }}
    return long(total) + step{i}(text, count % 64, cells);
}}"""

# Every fourth part has this too: what containers cost a compiler.
CXX_CONTAINERS = """long
sort{i}(int count)
{{
    std::vector<Shape{i}> shapes;
    std::map<std::string, int> names;
    Table<long, {m}> table{{}};
    for (int k = 0; k < count; k++) {{
        shapes.push_back(Shape{i}{{count - k, k, {{}}, std::to_string(k)}});
        names[shapes.back().name] += k;
        table.at(k) += k * {i};
    }}
    std::sort(shapes.begin(), shapes.end());
    return long(names.size()) + table.sum() + shapes[0].key;
}}"""


def cxx(line_count):
    """C++ of about LINE_COUNT lines: structs, loops, switches, containers, templates."""
    yield from CXX_HEAD.splitlines()
    left, calls = line_count - 13, []
    while left > 0 or not calls:
        i = len(calls)
        part = CXX_BODY + ("\n" + CXX_CONTAINERS if i % 4 == 0 else "")
        lines = part.format(i=i, m=i % 11 + 3).splitlines()
        yield from lines
        left -= len(lines) + 1
        calls.append("work%d(%d)%s" % (i, i % 50, " + sort%d(%d)" % (i, i + 1) if i % 4 == 0 else ""))
    yield "int main() { long t = 0;"
    for call in calls:
        yield "    t += %s;" % call
    yield "    return int(t & 1); }"


def redis(key_count):
    """Strings, hashes, lists and sets; half deleted, written again in other sizes, read."""
    for i in range(key_count):
        yield "SET s:%d %0*d" % (i, 16 + mixed(i) % 497, i)
        yield "HSET h:%d f%d %0*d" % (i % (key_count // 20 + 1), i, 1 + mixed(i) % 90, i)
    for i in range(key_count):
        yield "RPUSH l:%d %0*d" % (i % 300, 1 + mixed(i) % 60, i)
        yield "SADD u:%d m%d" % (i % 200, mixed(i) % 100000)
    for i in range(0, key_count, 2):
        yield "DEL s:%d" % (mixed(i) % key_count)
    for i in range(key_count):
        yield "SET s:%d %0*d" % (mixed(i) % key_count, 16 + mixed(i + 7) % 1009, i)
        yield "GET s:%d" % (mixed(i + 3) % key_count)
    for i in range(key_count // 2):
        yield "LPOP l:%d" % (i % 300)
