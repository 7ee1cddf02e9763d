#!/usr/bin/env python3
"""What psycopg 3 says: simple and prepared statements, parameters both ways, COPY, transactions, errors, a pipeline."""

import datetime
import decimal
import os

import psycopg

place = dict(host="127.0.0.1", port=os.environ["PGPORT"], user="traffic", dbname="laminardb")
with psycopg.connect(**place) as connection:
    connection.execute("CREATE TABLE pairs (id BIGINT PRIMARY KEY, name VARCHAR, price DECIMAL(10,2), made TIMESTAMP)")
    connection.commit()
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO pairs VALUES (%s, %s, %s, %s)",
            (1, "one", decimal.Decimal("1.50"), datetime.datetime(2026, 1, 1)),
        )
        cursor.executemany("INSERT INTO pairs (id, name) VALUES (%s, %s)", [(2, "two"), (3, "three")])
    connection.commit()
    # COPY is a transaction of its own.
    connection.autocommit = True
    with connection.cursor() as cursor, cursor.copy("COPY pairs (id, name) FROM STDIN") as copy:
        copy.write_row((4, "four"))
    connection.autocommit = False
    assert connection.execute("SELECT count(*) FROM pairs").fetchone() == (4,)
    for _ in range(7):  # prepared from the fifth time on
        row = connection.execute("SELECT name, price FROM pairs WHERE id = %s", (1,), prepare=True).fetchone()
        assert row == ("one", decimal.Decimal("1.50")), row
    with connection.cursor(binary=True) as cursor:
        assert cursor.execute("SELECT id, made FROM pairs WHERE id = %s", (1,)).fetchone()[0] == 1
    connection.commit()
    try:
        connection.execute("SELECT nope FROM pairs")
        raise AssertionError("an unknown column is an error")
    except psycopg.errors.UndefinedColumn:
        connection.rollback()
    connection.execute("SET application_name TO 'traffic'")
    assert connection.execute("SHOW application_name").fetchone() == ("traffic",)
    connection.commit()
