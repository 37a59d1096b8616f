"""The `octodns` backend: any provider of octoDNS, given by its class and keyword arguments."""

from dnsworker.errors import ConfigError

try:
    from backends.octodns.backend import OctoDNSBackend
except ModuleNotFoundError as exc:
    if (exc.name or "").partition(".")[0] != "octodns":
        raise
    raise ConfigError("the octodns backend needs octodns: pip install 'dnsworker[octodns]'") from exc

BACKEND = OctoDNSBackend
