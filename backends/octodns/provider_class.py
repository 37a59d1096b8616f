"""A provider's class by its path, and what can be told from the class alone, without making an object.

Separate because all of it is asked when pools.yaml is loaded, on machines that may not reach the provider.
"""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Mapping
from typing import Any

from octodns.provider.base import BaseProvider
from octodns.record import Record

from dnsworker.errors import InvalidRecord
from dnsworker.records import RRset

#: What dnsworker decides itself: the guard against large deletions is the pool's, and a provider that leaves
#: out what it can't hold, or does nothing at all, would be taken for one that has done it.
RESERVED = frozenset({"id", "apply_disabled", "strict_supports"})


@functools.cache
def load_class(path: str) -> type[Any]:
    """The provider class at `package.Class`. Raises `ValueError`, in words for the operator."""
    module_name, _, name = path.rpartition(".")
    if not module_name:
        raise ValueError(f"{path!r} is no path of a class like octodns_powerdns.PowerDnsProvider")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as exc:
        raise ValueError(f"{path}: {_how_to_install(exc.name or module_name)}") from exc
    except Exception as exc:
        raise ValueError(f"{path}: its module can't be imported: {type(exc).__name__}: {exc}") from exc
    found: Any = getattr(module, name, None)
    if found is None:
        raise ValueError(f"{path}: the module {module_name} has no {name}")
    if not (isinstance(found, type) and issubclass(found, BaseProvider)):
        raise ValueError(f"{path} is no octoDNS provider (a source or processor only reads)")
    provider_class: Any = found
    if provider_class._apply is BaseProvider._apply:
        raise ValueError(f"{path} can't be written to")
    return found


def check_keywords(cls: type[Any], given: Mapping[str, Any]) -> None:
    """Whether the constructor takes these keyword arguments. Raises `ValueError`."""
    accepted, required = keywords_of(cls)
    for name in given:
        if name in RESERVED:
            raise ValueError(f"{name!r} is set by dnsworker")
        if name not in accepted:
            takes = ", ".join(sorted(accepted - RESERVED))
            raise ValueError(f"{cls.__name__} takes no {name!r}; it takes: {takes}")
    if missing := sorted(required - set(given) - RESERVED):
        raise ValueError(f"{cls.__name__} needs {', '.join(missing)}")


def keywords_of(cls: type[Any]) -> tuple[set[str], set[str]]:
    """The keyword arguments that a constructor takes, and those that it can't do without.

    Constructors pass on to their base what they don't know, so the bases' arguments count too.
    """
    accepted: set[str] = set()
    required: set[str] | None = None
    for base in cls.__mro__[:-1]:
        if "__init__" not in vars(base):
            continue
        parameters = list(inspect.signature(vars(base)["__init__"]).parameters.values())[1:]
        named = [each for each in parameters if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)]
        accepted |= {each.name for each in named}
        if required is None:
            required = {each.name for each in named if each.default is each.empty}
        if not any(each.kind is each.VAR_KEYWORD for each in parameters):
            break
    return accepted, required or set()


def types_of(cls: type[Any]) -> frozenset[str]:
    """The DNS types that the class says it holds, those that only octoDNS or the provider has left out."""
    known = {type_ for type_ in Record.registered_types() if _is_writable(type_)}
    supports = cls.SUPPORTS
    # A property: the object tells. What it doesn't take is refused when it is sent.
    return frozenset(known & set(supports)) if isinstance(supports, set | frozenset) else frozenset(known)


def holds_apex_ns(cls: type[Any]) -> bool:
    """Whether the NS records at the zone's own name can be ours."""
    return cls.SUPPORTS_ROOT_NS is True and "NS" in types_of(cls)


def _is_writable(type_: str) -> bool:
    try:
        return RRset.checked_type(type_) == type_
    except InvalidRecord:
        return False


def _how_to_install(missing: str) -> str:
    package = missing.partition(".")[0]
    if package == "octodns":
        return (
            f"octoDNS has no {missing}: providers are packages of their own, "
            "such as octodns_cloudflare.CloudflareProvider"
        )
    return f"{package} is not installed: pip install {package.replace('_', '-')}"
