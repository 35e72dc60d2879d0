"""MLflow's web UI in a subprocess."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Mapping

from ulmfit_lab.utils import interrupts
from ulmfit_lab.utils.errors import ConfigError
from ulmfit_lab.utils.home import Home, redact

LOOPBACK = ("127.0.0.1", "localhost", "::1")
PAGE_HOST = "lab.localhost"
"""Host of the printed addresses; browsers resolve names under localhost to the loopback address (RFC 6761).

On 127.0.0.1 and localhost, MLflow opens its assistant at the first visit, which takes a quarter of the screen.
"""


def server_command(home: Home, uri: str, host: str, port: int) -> tuple[list[str], dict[str, str]]:
    """Arguments and environment of MLflow's server; URIs go into the environment, since they may hold a password."""
    mlflow = [sys.executable, "-m", interrupts.__name__, "mlflow"]  # so that it ends with this process
    command = [*mlflow, "server", "--host", host, "--port", str(port), "--workers", "1"]
    if host in LOOPBACK:
        names = ("localhost", "127.0.0.1", "[::1]", PAGE_HOST)
        command += ["--allowed-hosts", ",".join(f"{name}:*" for name in names)]
        command += ["--cors-allowed-origins", f"http://{PAGE_HOST}:{port}"]
    stores = {"MLFLOW_BACKEND_STORE_URI": uri, "MLFLOW_DEFAULT_ARTIFACT_ROOT": home.artifacts.as_uri()}
    return command, {**os.environ, **stores}


def check_port(host: str, port: int) -> None:
    """Raise ConfigError if a server cannot listen on a port."""
    if not 1 <= port <= 65535:
        raise ConfigError(f"--port {port} must be from 1 to 65535.")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does
            tried.bind(address)
    except OSError as error:
        raise ConfigError(f"No server can listen on {host}:{port} ({error.strerror}); give another --port.") from error


def serve(home: Home, uri: str, host: str, port: int, pages: Mapping[str, Mapping[str, str]]) -> int:
    """Run MLflow's web UI in the foreground; returns its exit status.

    pages: experiment -> name of a page -> path, printed as links
    """
    check_port(host, port)
    shown = PAGE_HOST if host in LOOPBACK else host
    if host not in LOOPBACK:
        print(f"warning: {host} can be reached from other machines, and MLflow asks for no password", file=sys.stderr)
    lines = [f"MLflow on http://{host}:{port} over {redact(uri)}; Ctrl-C ends it."]
    for name, found in pages.items():
        lines += [name, *(f"  {what:9} http://{shown}:{port}/{page}" for what, page in found.items())]
    print("\n".join(lines if pages else ["There are no runs yet.", *lines]), flush=True)
    command, environment = server_command(home, uri, host, port)
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE) as server:
        try:
            return server.wait()
        except KeyboardInterrupt:
            server.terminate()
            return 0
