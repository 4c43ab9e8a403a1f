"""The app for a team: several processes behind nginx, which keeps a viewer with one of them. `make serve` starts it.

A Streamlit session lives in one process, so a cookie names the process; what is in the workspace is shared by all. Each
process uses a core, which one process alone cannot exceed.
"""

from __future__ import annotations

import argparse
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
START_SECONDS = 120.0

CONFIG = """
worker_processes auto;
pid {folder}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  server_tokens off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  map $http_upgrade $connection_upgrade {{ default upgrade; "" close; }}
  map $cookie_crm_process $viewer {{ default $cookie_crm_process; "" $request_id; }}
  map $cookie_crm_process $new_cookie {{
    default "";
    "" "crm_process=$request_id; Path=/; HttpOnly; SameSite=Lax{secure}";
  }}
  upstream app {{
    hash $viewer consistent;
{servers}
  }}
  server {{
    listen {listen} default_server;
{tls}
    return 421;
  }}
  server {{
    listen {listen};
{tls}
    server_name {names};
    client_max_body_size 250m;
    location / {{
      proxy_pass http://app;
      proxy_http_version 1.1;
      proxy_set_header Host $host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_upgrade;
      proxy_read_timeout 1d;
      proxy_buffering off;
      proxy_hide_header Server;
      add_header Set-Cookie $new_cookie;
      add_header X-Content-Type-Options nosniff always;
      add_header X-Frame-Options SAMEORIGIN always;
      add_header Content-Security-Policy "frame-ancestors 'self'" always;
      add_header Referrer-Policy same-origin always;
      add_header Permissions-Policy "camera=(), microphone=(), geolocation=()" always;
{hsts}
    }}
    location = /_stcore/metrics {{ return 404; }}
  }}
}}
"""


def config(folder: Path, args: argparse.Namespace, ports: list[int]) -> str:
    """The configuration of nginx. folder: for its own files."""
    is_secure = args.certificate is not None
    tls = [f"    ssl_certificate {args.certificate};", f"    ssl_certificate_key {args.key};"] if is_secure else []
    return CONFIG.format(
        folder=folder,
        servers="\n".join(f"    server 127.0.0.1:{port};" for port in ports),
        listen=f"{args.address}:{args.port}{' ssl' if is_secure else ''}",
        names=" ".join(args.host),
        tls="\n".join(tls),
        secure="; Secure" if is_secure else "",
        hsts='      add_header Strict-Transport-Security "max-age=31536000" always;' if is_secure else "",
    )


def parser() -> argparse.ArgumentParser:
    """The options of the command."""
    options = argparse.ArgumentParser(prog="python -m dashboard.serve", description=__doc__)
    options.add_argument(
        "--processes", type=int, default=max(1, (os.cpu_count() or 2) - 1), help="default: cores but one"
    )
    options.add_argument("--address", default="0.0.0.0")
    options.add_argument("--port", type=int, default=8080)
    options.add_argument("--first-port", type=int, default=18501, help="of the processes, on this machine alone")
    options.add_argument(
        "--host", action="append", help="name that viewers call it by (default: localhost); no other name is answered"
    )
    options.add_argument("--certificate", type=Path, help="TLS certificate (PEM), with --key")
    options.add_argument("--key", type=Path)
    return options


def main(arguments: list[str] | None = None) -> int:
    """Run until interrupted; if one process ends, all do, so that whoever watches this one starts it again."""
    args = parser().parse_args(arguments)
    args.host = args.host or ["localhost", "127.0.0.1"]
    if shutil.which("nginx") is None:
        return _fail("expected nginx, found none; install it, on Debian with `apt-get install nginx-light`")
    if (args.certificate is None) != (args.key is None):
        return _fail("expected --certificate and --key together, found one of them")
    ports = [args.first_port + k for k in range(args.processes)]
    with tempfile.TemporaryDirectory(prefix="crm-serve-") as name:
        folder = Path(name)
        (folder / "nginx.conf").write_text(config(folder, args, ports), encoding="utf-8")
        return _run(folder, ports, args.host)


def _run(folder: Path, ports: list[int], hosts: list[str]) -> int:
    # One secret for all, so that a viewer whose process is gone can go on with another.
    environment = os.environ | {"STREAMLIT_SERVER_COOKIE_SECRET": secrets.token_hex(32)}
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    known = [
        text
        for host in hosts
        for text in ("--server.corsAllowedOrigins", f"https://{host}", "--server.allowedHosts", host)
    ]
    children: list[subprocess.Popen[bytes]] = []
    try:
        for port in ports:
            options = ["--server.port", str(port), "--server.address", "127.0.0.1", "--server.headless", "true"]
            command = [sys.executable, "-m", "dashboard", *options, *known]
            children.append(subprocess.Popen(command, cwd=ROOT, env=environment))
        for port, child in zip(ports, children, strict=True):
            if not _is_up(port, child):
                return _fail(f"expected the app on port {port}, found none; its output says why")
        nginx = ["nginx", "-e", "stderr", "-c", str(folder / "nginx.conf"), "-p", str(folder), "-g", "daemon off;"]
        children.append(subprocess.Popen(nginx))
        while all(child.poll() is None for child in children):
            time.sleep(0.5)
        return _fail("a process has ended, so all are stopped")
    except KeyboardInterrupt:
        return 0
    finally:
        for child in children:
            child.terminate()
        for child in children:
            child.wait()


def _is_up(port: int, child: subprocess.Popen[bytes]) -> bool:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and child.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=1):
                return True
        except OSError:
            time.sleep(0.2)
    return False


def _fail(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
