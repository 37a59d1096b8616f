"""`python -m dnsworker`: the same as the `dnsworker` command."""

from dnsworker.cli import main

if __name__ == "__main__":
    main(prog_name="dnsworker")
