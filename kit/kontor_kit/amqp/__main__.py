"""The receiver's process: `python -m kontor_kit.amqp SERVICE WANTED`, started by `python -m kontor_<service> receive`."""

import sys

import eventlet

if __name__ == "__main__":
    eventlet.monkey_patch()
    from kontor_kit.amqp.receiver import run

    sys.exit(run(*sys.argv[1:]))
