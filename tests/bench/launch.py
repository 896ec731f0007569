"""Runs a command from a small process and prints its wall time, peak memory, exit code and
processor time.

A process counts what its parent held when it was started as memory of its own, so a large parent
must not start what it measures.
"""

import os
import sys
import time

if __name__ == "__main__":
    log = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    began = time.perf_counter()
    child = os.posix_spawnp(
        sys.argv[2],
        sys.argv[2:],
        os.environ,
        file_actions=[(os.POSIX_SPAWN_DUP2, log, 1), (os.POSIX_SPAWN_DUP2, log, 2)],
    )
    _, status, usage = os.wait4(child, 0)
    wall_s, cpu_s = time.perf_counter() - began, usage.ru_utime + usage.ru_stime
    print(wall_s, usage.ru_maxrss, os.waitstatus_to_exitcode(status), cpu_s)
