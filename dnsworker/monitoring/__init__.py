"""What a process tells whoever watches over it: metrics for Prometheus, health for a supervisor.

events.py   what happens, counted where it happens
state.py    how things stand, read from the database and the broker by the exporter
sharing.py  the counts of a worker's child processes, where it has some
health.py   whether a process lives, and whether it can work
server.py   the small HTTP server for all of that
"""
