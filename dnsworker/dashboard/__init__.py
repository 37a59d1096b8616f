"""The status page: a small read-only web site over the database, for people.

Separate from the rest because only `dnsworker dashboard` needs it. Who looks never costs more than one
reading of the database per page and interval, however many look; when nobody does, nothing is read.

    site ──► shared ──► reading ──► overview, zones, operations ──► reports, store
      └────► login, words, plots, diffs                              (one snapshot of the database)
"""
