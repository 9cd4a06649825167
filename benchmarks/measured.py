"""Run one command under limits, and say how it ended: status, seconds of the processor, peak memory.

    python -I -S benchmarks/measured.py REPORT SECONDS BYTES COMMAND ...

Writes a line of JSON to the open file descriptor of the number REPORT. It is a program of its own because a process inherits the
peak of whoever starts it: started from here, that is the 10 MB of a bare interpreter. `seconds`: after
so many on the clock the command is killed, and its status is null. `bytes`: what it may allocate.
"""

import json
import os
import resource
import signal
import sys
import time


def main() -> None:
    """Run the command, and report."""
    report, seconds, most_bytes = int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
    command = sys.argv[4:]
    child = os.fork()
    if not child:
        os.setpgid(0, 0)
        os.close(report)
        resource.setrlimit(resource.RLIMIT_DATA, (most_bytes, most_bytes))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.execv(command[0], command)
    ends = time.monotonic() + seconds
    status: int | None = None
    while time.monotonic() < ends:
        ended, raw, usage = os.wait4(child, os.WNOHANG)
        if ended:
            status = os.waitstatus_to_exitcode(raw)
            break
        time.sleep(0.01)
    else:
        os.kill(child, signal.SIGKILL)
        _, _, usage = os.wait4(child, 0)
    told = {
        "status": status,
        "seconds": usage.ru_utime + usage.ru_stime,
        "mb": usage.ru_maxrss / 1024,
    }
    os.write(report, json.dumps(told).encode())


if __name__ == "__main__":
    main()
