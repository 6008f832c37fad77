"""The transport `amqp`: changes travel over RabbitMQ.

envelope    an event as a message, and back
broker      the connection, and the exchange and queues that everybody declares alike
relay       tells the broker what is in the change log; runs in `work`
receiver    puts what comes from the broker into the inbox: nameko, in a process of its own that is patched
starting    becomes that process
"""
