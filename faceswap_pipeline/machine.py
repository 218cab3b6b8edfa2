"""What this process may use of the machine, as far as a container or a scheduler lets it.

Apart from `backend`, so that asking loads no network library.
"""

import ctypes
import os
import sys
from pathlib import Path

_MMAP_THRESHOLD = -3
"""glibc's number of that parameter."""


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory_bytes() -> float:
    """Main memory of this machine in bytes, or what a container's limit leaves of it."""
    limits = []
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        text = Path(path).read_text().strip() if Path(path).is_file() else ""
        if text.isdigit():
            limits.append(float(text))
    if hasattr(os, "sysconf"):
        limits.append(float(os.sysconf("SC_PAGE_SIZE")) * os.sysconf("SC_PHYS_PAGES"))
    return min(limits, default=8e9)


def return_large_blocks(least: int) -> None:
    """Have memory in blocks of `least` bytes and more go back to the system as soon as it is freed.

    By itself glibc does so only until the first such block was freed, and then keeps what films need in pieces, some
    hundred megabytes. Other C libraries are left as they are. For the whole process (mallopt(3)).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, least)
