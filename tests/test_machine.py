"""What the process may use of the machine."""

import subprocess
import sys

import pytest

PINNED = """
import sys
from faceswap_pipeline.machine import return_large_blocks

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 1e6

if sys.argv[1] == "1":
    return_large_blocks(1_500_000)
bytes(3_000_000)  # freed at once: from then on glibc keeps such blocks in its heap
blocks, pins = [], []
for _ in range(100):
    blocks.append(b"x" * 2_000_000)
    pins.append(b"y" * 100_000)
before = resident()
del blocks[::2]
print(before - resident())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc alone is told")
def test_large_blocks_go_back_to_the_system_though_small_ones_lie_between():
    freed = [
        float(subprocess.run([sys.executable, "-c", PINNED, told], capture_output=True, text=True, check=True).stdout)
        for told in "01"
    ]
    assert freed[1] > 90 and freed[1] > freed[0] + 50
