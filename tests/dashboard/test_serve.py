"""Several processes behind nginx: its configuration is valid, and what is missing is said."""

import argparse
import shutil
import subprocess

import pytest

from dashboard import serve

ARGUMENTS = {"address": "127.0.0.1", "port": 8080, "host": ["crm.example"], "certificate": None, "key": None}


def test_each_process_is_in_the_configuration_and_only_the_given_name_is_answered(tmp_path):
    text = serve.config(tmp_path, argparse.Namespace(**ARGUMENTS), [18501, 18502])
    assert [line.strip() for line in text.splitlines() if "server 127" in line] == [
        "server 127.0.0.1:18501;",
        "server 127.0.0.1:18502;",
    ]
    assert "server_name crm.example;" in text
    assert "return 421;" in text
    assert "Secure" not in text


def test_with_a_certificate_the_cookie_is_for_tls_alone(tmp_path):
    secure = ARGUMENTS | {"certificate": tmp_path / "cert.pem", "key": tmp_path / "key.pem"}
    text = serve.config(tmp_path, argparse.Namespace(**secure), [18501])
    assert "SameSite=Lax; Secure" in text
    assert text.count("listen 127.0.0.1:8080 ssl") == 2


@pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed")
def test_nginx_accepts_the_configuration(tmp_path):
    (tmp_path / "nginx.conf").write_text(serve.config(tmp_path, argparse.Namespace(**ARGUMENTS), [18501, 18502]))
    command = ["nginx", "-t", "-c", str(tmp_path / "nginx.conf"), "-p", str(tmp_path)]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize(
    ("arguments", "found", "said"),
    [
        ([], None, "expected nginx, found none"),
        (["--key", "k.pem"], "nginx", "expected --certificate and --key together"),
    ],
)
def test_what_is_missing_is_said(monkeypatch, capsys, arguments, found, said):
    monkeypatch.setattr(shutil, "which", lambda name: found)
    assert serve.main(arguments) == 2
    assert capsys.readouterr().err.startswith(f"error: {said}")
