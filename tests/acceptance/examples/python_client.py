from dnsworker import Change, Client, OperationFailed

dns = Client()  # DNSWORKER_BROKER_URL, DNSWORKER_RESULT_URL
dns.create_zone("example.org", email="hostmaster@example.org")
dns.create_record("example.org", "www", "A", ["192.0.2.1", "192.0.2.2"], ttl=300)
mail = [Change.put("mail", "A", ["192.0.2.25"]), Change.put("@", "MX", ["10 mail.example.org."])]
op = dns.change_zone("example.org", mail)  # all or nothing
try:
    print(op.wait(timeout=30).status)  # ACTIVE: every nameserver answers with it
except OperationFailed as error:
    print(error)  # RecordRejected: and the reason
