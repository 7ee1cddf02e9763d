#!/usr/bin/env python3
"""What SQLAlchemy says on psycopg: connecting, reflection, the ORM's inserts and selects."""

import os

import sqlalchemy as sa

engine = sa.create_engine(f"postgresql+psycopg://traffic@127.0.0.1:{os.environ['PGPORT']}/laminardb")
with engine.begin() as connection:
    connection.execute(sa.text("CREATE TABLE alchemy (id BIGINT PRIMARY KEY, name VARCHAR)"))
metadata = sa.MetaData()
table = sa.Table("alchemy", metadata, sa.Column("id", sa.BigInteger, primary_key=True), sa.Column("name", sa.String))
with engine.begin() as connection:
    connection.execute(table.insert(), [{"id": 1, "name": "one"}, {"id": 2, "name": "two"}])
with engine.connect() as connection:
    rows = connection.execute(sa.select(table.c.id, table.c.name).where(table.c.id > 0).order_by(table.c.id)).all()
    assert rows == [(1, "one"), (2, "two")], rows
    assert connection.execute(sa.select(sa.func.count()).select_from(table)).scalar() == 2
inspector = sa.inspect(engine)
assert "alchemy" in inspector.get_table_names(), inspector.get_table_names()
columns = [column["name"] for column in inspector.get_columns("alchemy")]
assert columns == ["id", "name"], columns
assert inspector.get_pk_constraint("alchemy")["constrained_columns"] == ["id"]
assert inspector.has_table("alchemy")
