"""What Flower shows, read by `celery -A dnsworker.app flower` from the folder that it is started in.

Its login and the address of RabbitMQ's management are secrets: FLOWER_BASIC_AUTH and FLOWER_BROKER_API in its
environment.
"""

#: An operation's id and, in a few words, what it asks for (`kwargs`); what came of it.
tasks_columns = "name,uuid,state,kwargs,result,received,runtime,worker"
natural_time = True
