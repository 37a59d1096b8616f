"""OpenTelemetry: one trace of an operation, from the span in which it was submitted to its end.

context.py     where an operation belongs in a trace, told by its row alone
submitting.py  the submitter's span, and what the message carries of it
tracing.py     what a worker notes as it goes: one object for each process, off unless somebody exports
trails.py      what was noted, with the rows that it is about, made into spans
spans.py       OpenTelemetry's SDK, which the extra `otel` brings, set up by its own environment variables
"""
