"""Who may submit what: permissions.yaml, and the judgement of each request by the user that sent it."""

from dnsworker.permissions.demand import Demand, demand_of_question, demands_of
from dnsworker.permissions.file import PermissionsFile, load
from dnsworker.permissions.permissions import Permissions, Placed, Verdict, who
from dnsworker.permissions.rule import WORDS, Rule

__all__ = [
    "WORDS", "Demand", "Permissions", "PermissionsFile", "Placed", "Rule", "Verdict", "demand_of_question",
    "demands_of", "load", "who",
]  # fmt: skip
