"""What the command line says when it refuses."""

from crm_models.cli.commands import main


def refused(capsys, *arguments: object) -> str:
    """The one line with which the command refuses; fails on any other status, form or output."""
    try:
        status = main([str(a) for a in arguments])
    except SystemExit as stop:
        status = stop.code
    printed = capsys.readouterr()
    lines = printed.err.strip().splitlines()
    assert status == 2
    assert printed.out == ""
    assert len(lines) == 1, printed.err
    assert lines[0].startswith("error: ")
    assert "Traceback" not in lines[0]
    assert "unexpected" not in lines[0]
    return lines[0]
