"""One registry of importers: the command line and the upload page offer what it lists."""

from pathlib import Path

import pytest

from crm_models.cli.commands import main
from crm_models.data import sources
from crm_models.data.sources import FORMS, importer_of

FOLDER = Path(sources.__file__).parent


def test_every_module_with_an_importer_is_listed():
    assert {file.stem for file in FOLDER.glob("*.py") if "\nIMPORTER = " in file.read_text(encoding="utf-8")} == set(
        FORMS
    )


@pytest.mark.parametrize("form", FORMS)
def test_an_importer_says_what_it_reads_and_which_options_it_has(form):
    importer = importer_of(form)
    assert importer.title
    assert importer.files
    settling = {"encoding", "as_of", "recipe", "answers", "accept_doubts", "skip_bad_rows"}
    assert set(importer.options) <= {"churn_days", "columns", "positive", "drop", *settling}


def test_the_command_line_offers_every_form(capsys):
    with pytest.raises(SystemExit):
        main(["import", "--help"])
    assert "{" + ",".join([*FORMS, "sql"]) + "}" in capsys.readouterr().out
