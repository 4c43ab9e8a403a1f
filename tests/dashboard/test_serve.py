"""Several processes behind nginx: its configuration is valid, and what is missing is said."""

import argparse
import shutil
import socket
import subprocess
import threading
import time
from contextlib import suppress
from fnmatch import fnmatch
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from dashboard import serve

ARGUMENTS = {"address": "127.0.0.1", "port": 8080, "host": ["crm.example"], "certificate": None, "key": None}
ROOT = Path(__file__).resolve().parents[2]
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "SAMEORIGIN",
    "Content-Security-Policy": "frame-ancestors 'self'",
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}


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
    assert 'add_header Strict-Transport-Security "max-age=31536000" always;' in text


@pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed")
def test_nginx_accepts_the_configuration(tmp_path):
    (tmp_path / "nginx.conf").write_text(serve.config(tmp_path, argparse.Namespace(**ARGUMENTS), [18501, 18502]))
    command = ["nginx", "-t", "-c", str(tmp_path / "nginx.conf"), "-p", str(tmp_path)]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr


class Upstream(BaseHTTPRequestHandler):
    """Stands for the app: answers its own name."""

    def do_GET(self):
        self.send_response(404 if self.path == "/gone" else 200)
        self.end_headers()
        self.wfile.write(str(self.server.server_address[1]).encode())

    def log_message(self, *_):
        """Say nothing."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def proxy(tmp_path):
    """The address of nginx, before two that stand for the app."""
    servers = [ThreadingHTTPServer(("127.0.0.1", 0), Upstream) for _ in range(2)]
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    port = free_port()
    arguments = argparse.Namespace(**ARGUMENTS | {"port": port})
    text = serve.config(tmp_path, arguments, [server.server_address[1] for server in servers])
    (tmp_path / "nginx.conf").write_text(text)
    nginx = subprocess.Popen(
        ["nginx", "-c", str(tmp_path / "nginx.conf"), "-p", str(tmp_path), "-g", "daemon off;"],
        stderr=subprocess.DEVNULL,
    )
    address = f"http://127.0.0.1:{port}"
    for _ in range(100):
        with suppress(httpx.ConnectError):
            httpx.get(address)
            break
        time.sleep(0.05)
    yield address
    nginx.terminate()
    nginx.wait()
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed")
def test_every_answer_has_the_security_headers_and_a_viewer_stays_with_one_process(proxy):
    named = {"Host": "crm.example"}
    for path, status in (("/", 200), ("/gone", 404)):
        answer = httpx.get(proxy + path, headers=named)
        assert answer.status_code == status
        assert {name: answer.headers[name] for name in HEADERS} == HEADERS
        assert not any(character.isdigit() for character in answer.headers["Server"])
    assert httpx.get(proxy, headers={"Host": "evil.example"}).status_code == 421
    assert httpx.get(f"{proxy}/_stcore/metrics", headers=named).status_code == 404
    with httpx.Client(headers=named) as viewer:
        cookie = viewer.get(proxy).headers["Set-Cookie"]
        assert cookie.endswith("; Path=/; HttpOnly; SameSite=Lax")
        viewer.headers["Cookie"] = cookie.split(";")[0]
        answers = [viewer.get(proxy) for _ in range(8)]
    assert len({answer.text for answer in answers}) == 1
    assert "Set-Cookie" not in answers[0].headers
    assert len({httpx.get(proxy, headers=named).text for _ in range(40)}) == 2  # others come to either process


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


def test_the_container_holds_what_it_starts():
    lines = (ROOT / "Containerfile").read_text().splitlines()
    copied = [
        name for line in lines if line.startswith("COPY ") and "--from" not in line for name in line.split()[1:-1]
    ]
    assert {"crm_models", "dashboard", "assets", ".streamlit", "requirements.lock"} <= set(copied)
    assert [name for name in copied if not (ROOT / name).exists()] == []
    sent = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert [name for name in copied if not any(fnmatch(name, p) or p.startswith(f"{name}/") for p in sent)] == []
    first_port = next(action.default for action in serve.parser()._actions if action.dest == "first_port")
    assert any(f"http://127.0.0.1:{first_port}/_stcore/health" in line for line in lines)
