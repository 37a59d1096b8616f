"""Real servers for tests and demos: private, on free loopback ports, in a temporary folder."""

from dev.servers.bind import Bind
from dev.servers.knot import Knot
from dev.servers.mariadb import MariaDB
from dev.servers.nsd import Nsd
from dev.servers.postgresql import PostgreSQL
from dev.servers.powerdns import PowerDNS
from dev.servers.process import Process, ServerError
from dev.servers.rabbitmq import RabbitMQ
from dev.servers.redis import Redis
from dev.servers.route53 import Route53
from dev.servers.server import Server, start_all
from dev.servers.sqlite import SQLite

__all__ = [
    "Bind",
    "Knot",
    "MariaDB",
    "Nsd",
    "PostgreSQL",
    "PowerDNS",
    "Process",
    "RabbitMQ",
    "Redis",
    "Route53",
    "SQLite",
    "Server",
    "ServerError",
    "start_all",
]
