"""The messages that submitters send: one model per task, validated the same way on both ends.

The keyword arguments of a task are exactly the fields of its model; `dnsworker schema` prints them.
"""
