"""Tables from databases: SQLite, DuckDB files and a PostgreSQL server; the address is never shown."""

from datetime import UTC, datetime, timedelta

import duckdb
import pytest

from crm_models.cli.commands import main
from crm_models.core.errors import ConfigError, DataError
from crm_models.data.sources.sql import URL, import_sql

sqlalchemy = pytest.importorskip("sqlalchemy")

CREATE = (
    "CREATE TABLE customers (customer_id NUMERIC(30, 0), churned BOOLEAN, spend NUMERIC(10, 2), plan VARCHAR(20))",
    "CREATE TABLE events (customer_id NUMERIC(30, 0), action VARCHAR(20), timestamp TIMESTAMP)",
    "INSERT INTO customers VALUES (100000000000000000000000000001, true, 12.50, 'Pro'), "
    "(100000000000000000000000000002, false, NULL, 'None')",
    "INSERT INTO events VALUES (100000000000000000000000000001, 'call', '2026-01-02 10:00:00'), "
    "(100000000000000000000000000002, 'mail', '2026-01-03 11:30:00')",
)
"""Ids of 30 digits, as warehouses have them; SQLite keeps 15 of them and gets text instead."""
IDS = ["100000000000000000000000000001", "100000000000000000000000000002"]


def filled(url: str, *statements: str) -> None:
    engine = sqlalchemy.create_engine(url)
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(sqlalchemy.text(statement))
    engine.dispose()


def check(cohort) -> None:
    assert cohort.customers["customer_id"].tolist() == IDS
    assert cohort.customers["churned"].tolist() == [True, False]
    assert cohort.customers["spend"].tolist()[0] == 12.5
    assert cohort.interactions["action"].astype(str).tolist() == ["call", "mail"]
    assert str(cohort.interactions["timestamp"][1]) == "2026-01-03 11:30:00"
    assert cohort.documents["receipt.json"]["rows"] == {"read": 4, "kept": 4, "rejected": 0, "explained": 0}


@pytest.fixture
def sqlite(tmp_path, monkeypatch):
    """A SQLite database with both tables, its address in the environment."""
    url = f"sqlite:///{tmp_path / 'crm.db'}"
    filled(url, *(s.replace("NUMERIC(30, 0)", "TEXT").replace("(1000", "('1000") for s in CREATE[:2]))
    filled(url, *(s.replace("001,", "001',").replace("002,", "002',").replace("(1000", "('1000") for s in CREATE[2:]))
    monkeypatch.setenv(URL, url)
    return url


def test_tables_and_queries_of_sqlite_become_a_cohort(sqlite):
    check(import_sql(tables=["customers", "events"]))
    check(import_sql(tables=["customers"], queries=["SELECT * FROM events WHERE action <> 'gone'"]))


def test_the_command_writes_the_cohort_and_not_the_address(sqlite, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["import", "sql", "--table", "customers", "--table", "events", "--out", str(out)]) == 0
    said = capsys.readouterr()
    assert "2 customers, 2 interactions" in said.out
    for file in out.iterdir():
        assert b"crm.db" not in file.read_bytes(), file
    assert main(["import", "sql", "--table", "nobody", "--out", str(tmp_path / "none")]) == 2
    assert not (tmp_path / "none").exists()
    assert "crm.db" not in capsys.readouterr().err


def test_a_duckdb_file_is_read_without_another_library(tmp_path, monkeypatch):
    with duckdb.connect(str(tmp_path / "crm.duckdb")) as database:
        for statement in CREATE:
            database.execute(statement)
    monkeypatch.setenv(URL, f"duckdb:///{tmp_path / 'crm.duckdb'}")
    check(import_sql(tables=["customers", "events"]))


def test_what_is_missing_is_named(sqlite, monkeypatch):
    with pytest.raises(ConfigError, match="needs --table NAME or --query SQL"):
        import_sql()
    with pytest.raises(DataError, match="no such table: nobody"):
        import_sql(tables=["nobody"])
    monkeypatch.delenv(URL)
    with pytest.raises(ConfigError, match="CRM_DATABASE_URL, found none"):
        import_sql(tables=["customers"])


def test_a_password_does_not_stand_in_the_error(monkeypatch):
    pytest.importorskip("psycopg")
    monkeypatch.setenv(URL, "postgresql+psycopg://somebody:sesame99@127.0.0.1:1/base")
    with pytest.raises(DataError) as refusal:
        import_sql(tables=["customers"])
    assert not {"sesame99", "somebody"} & set(str(refusal.value).replace('"', " ").split())


def test_a_postgresql_server_is_read_in_streams(postgres, monkeypatch):
    filled(postgres, *CREATE)
    monkeypatch.setenv(URL, postgres)
    check(import_sql(tables=["customers", "public.events"]))
    zoned = import_sql(
        tables=["customers"],
        queries=["SELECT customer_id, action, timestamp AT TIME ZONE 'America/New_York' AS timestamp FROM events"],
    )
    moment = zoned.interactions["timestamp"][0].to_pydatetime().replace(tzinfo=UTC)
    assert moment - datetime(2026, 1, 2, 10, tzinfo=UTC) == timedelta(hours=5)
