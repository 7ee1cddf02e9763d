#!/bin/sh
# What psql says: statements, several in one message, backslash commands, \copy, an error.
set -e
run() { psql -X -q -v ON_ERROR_STOP=1 -h 127.0.0.1 -U traffic -d laminardb "$@" >/dev/null; }
run -c "CREATE TABLE shelf (id BIGINT PRIMARY KEY, name VARCHAR)" \
  -c "INSERT INTO shelf VALUES (1, 'one'), (2, 'two')" \
  -c "SELECT id, name FROM shelf ORDER BY id" \
  -c "SELECT 1; SELECT 'both'" \
  -c "BEGIN" -c "INSERT INTO shelf VALUES (3, 'three')" -c "ROLLBACK" \
  -c "SELECT count(*) FROM shelf"
printf '4\tfour\n' | run -c "\\copy shelf FROM STDIN"
run -c "\\d" -c "\\dt" -c "\\d shelf" -c "\\dm" -c "\\l" -c "\\dn" -c "\\du"
run -c "SELECT nope FROM shelf" 2>/dev/null || true
