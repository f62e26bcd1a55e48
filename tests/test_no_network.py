"""Nothing is ever fetched: a whole run works while every attempt at a connection fails."""

import socket

import pytest

from portrait3d_core.cli import main

pytest.importorskip("diffusers")

QUICK = ["--steps", "1", "--invert-steps", "1", "--frames", "1", "--resolution", "32", "--mesh-resolution", "16"]


class NetworkUsed(BaseException):
    """Not an Exception, so that no fallback swallows it."""


def refuse(*args, **kwargs):
    raise NetworkUsed(f"a connection was attempted: {args[1:]}")


def test_generate_makes_no_connection(tmp_path, monkeypatch):
    for name in ("connect", "connect_ex", "sendto", "bind"):
        monkeypatch.setattr(socket.socket, name, refuse)
    for name in ("getaddrinfo", "gethostbyname", "create_connection"):
        monkeypatch.setattr(socket, name, refuse)
    assert main(["generate", "a person with long red hair", "--output", str(tmp_path), *QUICK]) == 0
    assert (tmp_path / "portrait.glb").is_file()
