"""How rows are read and written: one module per noun, functions over a SQLAlchemy connection.

The only place, with `dnsworker.tables`, that speaks SQL. Nothing here decides anything about DNS.
"""
