"""Runs a program so that it ends with its supervisor, as another user where one is given.

Called as `python -I -S launch.py PARENT SIGNAL UID GID PROGRAM ARGUMENT...`; UID is -1 to stay who one is. A program of
its own because Python code between fork and exec is not safe in a supervisor that has threads.
"""

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Changes user, arranges to be told of the parent's death, and becomes the program."""
    parent, death_signal, uid, gid = (int(argument) for argument in sys.argv[1:5])
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if uid >= 0:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    # After the change of user, which takes the signal back.
    if libc is not None:
        libc.prctl(PR_SET_PDEATHSIG, death_signal)
    if os.getppid() != parent:
        sys.exit("launch: the supervisor is gone")
    os.execv(sys.argv[5], sys.argv[5:])


if __name__ == "__main__":
    main()
