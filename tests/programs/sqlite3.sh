#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# sqlite3.sh - sqlite3: 300 000 rows, indexes, joins, updates, vacuum; in memory and in a file.
. "$(dirname "$0")/lib.sh"
need sqlite3

cat >"$tmp/work.sql" <<'SQL'
CREATE TABLE item(id INTEGER PRIMARY KEY, grp INTEGER, name TEXT, body BLOB);
BEGIN;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300000)
    INSERT INTO item
    SELECT i, (i * 7919) % 5003, 'name ' || ((i * 104729) % 1000003), zeroblob(i % 50) FROM n;
COMMIT;
CREATE INDEX by_name ON item(name, grp);
CREATE TABLE grp(id INTEGER PRIMARY KEY, title TEXT UNIQUE);
INSERT INTO grp SELECT DISTINCT grp, 'group ' || grp FROM item;
SELECT count(*), sum(length(body)), min(name), max(name) FROM item;
SELECT g.title, count(*) AS c, group_concat(i.id) FROM item i JOIN grp g ON g.id = i.grp
    GROUP BY g.id ORDER BY c DESC, g.title LIMIT 20;
SELECT a.id, b.id FROM item a JOIN item b ON b.name = 'name ' || a.id AND b.grp > a.grp
    WHERE a.id % 997 = 0 ORDER BY 1, 2;
SELECT id, row_number() OVER (PARTITION BY grp ORDER BY name) FROM item WHERE grp < 40
    ORDER BY grp, name, id;
UPDATE item SET name = upper(name) || printf('%.*c', id % 300, 'x') WHERE id % 5 = 0;
DELETE FROM item WHERE id % 3 = 0;
SELECT count(*), sum(length(name)) FROM item WHERE name LIKE 'NAME%';
PRAGMA integrity_check;
VACUUM;
SELECT count(*), sum(id) FROM item WHERE name >= 'name 5' AND name < 'name 7';
SQL
both sqlite3-memory sqlite3 -bail :memory: ".read $tmp/work.sql"
both sqlite3-file sqlite3 -bail file.db ".read $tmp/work.sql"
