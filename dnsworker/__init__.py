"""dnsworker: DNS changes as Celery tasks; pushed, verified and remembered."""
