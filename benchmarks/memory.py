"""How much memory a piece of work needs at its peak.

Three ways, and the table says which:

* on a GPU, torch's own count of what is allocated;
* on the CPU, the bytes that torch's allocator hands out for tensors, event by event, as the
  profiler sees them: exact and the same in every run, but blind to what numpy, Python or a
  library allocates for itself;
* for work of which tensors are a small part, the resident size of a fresh process.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

# Where there is no GPU, the profiler says on stderr that it found none.
os.environ.setdefault("KINETO_LOG_LEVEL", "99")

__all__ = ["PeakOfProcess", "peak_of_tensors"]


def peak_of_tensors(run: Callable[[], Any], device: torch.device) -> tuple[int, Any]:
    """Bytes of tensors that exist at the worst moment of ``run``, beyond those before it.

    Returns:
        the bytes, and what ``run`` returned.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        result = run()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before, result
    return _peak_of_events(run)


def _peak_of_events(run: Callable[[], Any]) -> tuple[int, Any]:
    activities = [torch.profiler.ProfilerActivity.CPU]
    # acc_events: it has one cycle, and would warn that it keeps no other.
    with torch.profiler.profile(
        activities=activities, profile_memory=True, acc_events=True
    ) as profiler:
        result = run()
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "trace.json")
        profiler.export_chrome_trace(path)
        events = json.loads(Path(path).read_text(encoding="utf-8"))["traceEvents"]
    memory = [e for e in events if e.get("name") == "[memory]"]
    memory.sort(key=lambda event: event["ts"])
    now = peak = 0
    for event in memory:
        now += event["args"]["Bytes"]
        peak = max(peak, now)
    return peak, result


class PeakOfProcess:
    """The largest resident size of this process, beyond that at the time of construction."""

    def __init__(self) -> None:
        self._is_linux = os.path.exists("/proc/self/clear_refs")
        if self._is_linux:
            Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
            self._before = _status("VmRSS")
        else:
            self._before = _largest()

    def bytes(self) -> int:
        now = _status("VmHWM") if self._is_linux else _largest()
        return max(now - self._before, 0)


def _status(key: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {key}")


def _largest() -> int:
    return resident_bytes(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def resident_bytes(ru_maxrss: int) -> int:
    """``ru_maxrss`` in bytes: macOS counts in bytes, Linux in KiB."""
    return ru_maxrss if sys.platform == "darwin" else ru_maxrss * 1024
