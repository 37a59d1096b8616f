import os
import uuid

from celery import Celery

app = Celery(broker=os.environ["DNSWORKER_BROKER_URL"])
app.conf.task_routes = {"dnsworker.*": {"exchange": "dns.submit", "routing_key": "intake"}}
app.conf.broker_transport_options = {"confirm_publish": True}

arguments = {"zone": "example.org", "name": "celery", "type": "A", "data": ["192.0.2.3"]}
app.send_task(
    "dnsworker.put_record", kwargs=arguments, task_id=str(uuid.uuid4()), ignore_result=True, mandatory=True
)
