"""Certificates for servers on loopback, made when a test needs one."""

from __future__ import annotations

import subprocess
from pathlib import Path

#: An authority that has signed nothing, and whose key was never kept.
NOBODY = Path(__file__).with_name("nobody.pem")
_NEW = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1"


def self_signed(path: Path) -> Path:
    """A certificate for 127.0.0.1, signed by nobody else, and its key, in one PEM file at `path`."""
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(path), "-out", f"{path}.crt"]
    _openssl(f"{_NEW} -subj /CN=stranger", *names)
    certificate = Path(f"{path}.crt")
    path.write_text(path.read_text() + certificate.read_text())
    certificate.unlink()
    return path


class Authority:
    """A private CA: `certificate` is what its clients are given."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.certificate = folder / "ca.crt"
        self._key = folder / "ca.key"
        subject = ["-subj", "/CN=private CA", "-keyout", str(self._key), "-out", str(self.certificate)]
        _openssl(f"{_NEW} -addext basicConstraints=critical,CA:TRUE", *subject)

    def issue(self, name: str) -> tuple[Path, Path]:
        """A certificate for a server at 127.0.0.1, and its key."""
        certificate, key = self._folder / f"{name}.crt", self._folder / f"{name}.key"
        signed = ["-CA", str(self.certificate), "-CAkey", str(self._key)]
        names = ["-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"]
        _openssl(f"{_NEW} -subj /CN={name}", *signed, *names, "-keyout", str(key), "-out", str(certificate))
        return certificate, key


def _openssl(words: str, *more: str) -> None:
    subprocess.run(["openssl", *words.split(), *more], check=True, capture_output=True, timeout=30)
