"""Certificates for servers on loopback, made when a test needs one."""

from __future__ import annotations

import subprocess
from pathlib import Path

_REQUEST = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=stranger"


def self_signed(path: Path) -> Path:
    """A certificate for 127.0.0.1, signed by nobody else, and its key, in one PEM file at `path`."""
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(path), "-out", f"{path}.crt"]
    subprocess.run(["openssl", *_REQUEST.split(), *names], check=True, capture_output=True, timeout=30)
    certificate = Path(f"{path}.crt")
    path.write_text(path.read_text() + certificate.read_text())
    certificate.unlink()
    return path
