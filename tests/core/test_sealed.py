"""Records, tables and logs: a flipped bit is found, an edit is not mistaken for one, a newer version is refused."""

import json

import numpy as np
import pandas as pd
import pytest

from crm_models.core.errors import DataError
from crm_models.core.lines import append_line, read_lines
from crm_models.core.sealed import read_record, write_record
from crm_models.core.tables import read_frame, write_table

RECORD = {"format": 1, "name": "größer", "share": 0.61, "run": "/some/where", "rules": [{"most": 3}, None, True]}


def read(file, **options):
    return read_record(file, "a thing", {"name": str, "share": float}, remedy="make it again", **options)


def flips(file):
    """Write the file with each of its bits flipped, one after the other."""
    content = file.read_bytes()
    for bit in range(0, 8 * len(content), 3):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        file.write_bytes(changed)
        yield bit


def test_no_flipped_bit_of_a_record_gives_another_value(tmp_path):
    file = tmp_path / "thing.json"
    write_record(file, RECORD)
    assert read(file) == RECORD
    found = 0
    for _ in flips(file):
        try:
            content = read(file)
        except DataError:
            found += 1
            continue
        # A place is not covered, because a workspace may be moved; nor is the name of the checksum itself.
        assert {k: content[k] for k in ("format", "name", "share", "rules")} == {
            k: RECORD[k] for k in ("format", "name", "share", "rules")
        }
    assert found > 300


def test_a_record_that_somebody_edited_is_checked_for_its_types(tmp_path):
    file = tmp_path / "thing.json"
    write_record(file, RECORD)
    edited = json.loads(file.read_text()) | {"name": "a longer name than before"}
    file.write_text(json.dumps(edited))
    assert read(file)["name"] == edited["name"]
    file.write_text(json.dumps(edited | {"share": "0.61"}))
    with pytest.raises(DataError, match=r"thing.json: expected a thing with 'share' of type float, found '0.61'; make"):
        read(file)


def test_another_place_is_no_damage(tmp_path):
    file = tmp_path / "thing.json"
    write_record(file, RECORD)
    file.write_text(file.read_text().replace("/some/where", "/else"))
    assert read(file) == RECORD | {"run": "/else"}
    file.write_text(file.read_text().replace("0.61", "0.60"))
    with pytest.raises(DataError, match="as it was written, found it changed or damaged"):
        read(file)


@pytest.mark.parametrize("found", [2, 17])
def test_what_a_newer_version_wrote_is_refused_in_one_sentence(tmp_path, found):
    file = tmp_path / "thing.json"
    file.write_text(json.dumps(RECORD | {"format": found, "share": "of another kind"}))
    with pytest.raises(DataError, match=rf"a thing written by a newer version .*format {found}.*up to 1.*update"):
        read(file)


TABLE = pd.DataFrame(
    {
        "id": ["a", None, "ü"],
        "p": [0.5, np.nan, 1.0],
        "known": pd.array([True, None, False], dtype="boolean"),
        "part": pd.Categorical(["x", "y", "x"]),
    }
)


def test_no_flipped_bit_of_a_table_gives_another_value(tmp_path):
    file = tmp_path / "table.parquet"
    write_table(file, TABLE)
    pd.testing.assert_frame_equal(read_frame(file, "a table", remedy=""), TABLE)
    assert read_frame(file, "a table", ["p"], remedy="")["p"].tolist()[0] == 0.5
    content, found = file.read_bytes(), 0
    for bit in range(0, 8 * len(content), 23):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        file.write_bytes(changed)
        try:
            table = read_frame(file, "a table", ["p", "part"], remedy="")
        except DataError as error:
            found += 1
            assert str(file) in str(error)
            continue
        # Where the name of the checksums itself is hit, what pandas noted may be lost as well: values, not their types.
        assert [value if value == value else None for value in table["p"].tolist()] == [0.5, None, 1.0]
        assert [str(value) for value in table["part"]] == ["x", "y", "x"]
    assert found > 500


def test_a_half_written_line_is_no_line_and_the_next_one_takes_its_place(tmp_path):
    file = tmp_path / "log.jsonl"
    append_line(file, {"k": 1})
    with file.open("a") as handle:
        handle.write('{"k": 2, "te')
    assert read_lines(file) == ['{"k": 1}']
    append_line(file, {"k": 3})
    assert read_lines(file) == ['{"k": 1}', '{"k": 3}']


def test_a_last_line_that_only_lacks_its_newline_counts_and_stays(tmp_path):
    file = tmp_path / "log.jsonl"
    file.write_text('{"k": 1}')
    assert read_lines(file) == ['{"k": 1}']
    append_line(file, {"k": 2})
    assert read_lines(file) == ['{"k": 1}', '{"k": 2}']
