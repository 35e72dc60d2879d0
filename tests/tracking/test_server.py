"""A port on which no server can listen is refused before an address is printed."""

from __future__ import annotations

import socket

import pytest

from ulmfit_lab.tracking.server import check_port
from ulmfit_lab.utils.errors import ConfigError


def test_a_port_in_use_or_out_of_range_is_refused_with_what_to_do() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"No server can listen on 127.0.0.1:{port} .* give another --port"):
            check_port("127.0.0.1", port)
    check_port("127.0.0.1", port)
    for port in (0, 99999):
        with pytest.raises(ConfigError, match=f"--port {port} must be from 1 to 65535"):
            check_port("127.0.0.1", port)
