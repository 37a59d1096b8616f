"""What people who work on dnsworker run: private servers, the whole stack, what must be installed for it."""
