"""Measurements that anybody can repeat: each is a command that starts the whole system itself."""
