"""What this process may use of the machine, as far as a container or a scheduler lets it.

Apart from `backend`, so that asking loads no network library.
"""

import ctypes
import os
import shutil
import sys
from pathlib import Path
from typing import Any

_MMAP_THRESHOLD = -3
"""glibc's number of that parameter."""


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def has_nvidia_card() -> bool:
    """Whether there is a card that a backend may compute on: by its driver, which loads nothing."""
    return Path("/dev/nvidiactl").exists() or shutil.which("nvidia-smi") is not None


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
    mallopt = _of_libc("mallopt")
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, least)


def return_free_memory() -> None:
    """Have all that glibc holds freed go back to the system, after much was made that is no more (malloc_trim(3))."""
    trim = _of_libc("malloc_trim")
    if trim is not None:
        trim(0)


def _of_libc(name: str) -> Any:
    """A function of the C library; None where there is none."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
