"""Memory figures of Windows, which has neither /proc nor the module `resource`, by ctypes.

The structures are those of psapi.h (PROCESS_MEMORY_COUNTERS) and sysinfoapi.h (MEMORYSTATUSEX).
"""

import ctypes
import sys
from ctypes import wintypes
from typing import Any, ClassVar

# A DWORD is written as uint32: ctypes takes it for a C long, which has 64 bits elsewhere.


class ProcessMemory(ctypes.Structure):
    """PROCESS_MEMORY_COUNTERS: what a process holds, in bytes."""

    _fields_: ClassVar = [
        ("cb", ctypes.c_uint32),
        ("PageFaultCount", ctypes.c_uint32),
        ("PeakWorkingSetSize", ctypes.c_size_t),
        ("WorkingSetSize", ctypes.c_size_t),
        ("QuotaPeakPagedPoolUsage", ctypes.c_size_t),
        ("QuotaPagedPoolUsage", ctypes.c_size_t),
        ("QuotaPeakNonPagedPoolUsage", ctypes.c_size_t),
        ("QuotaNonPagedPoolUsage", ctypes.c_size_t),
        ("PagefileUsage", ctypes.c_size_t),
        ("PeakPagefileUsage", ctypes.c_size_t),
    ]


class MachineMemory(ctypes.Structure):
    """MEMORYSTATUSEX: what the machine has, in bytes."""

    _fields_: ClassVar = [
        ("dwLength", ctypes.c_uint32),
        ("dwMemoryLoad", ctypes.c_uint32),
        ("ullTotalPhys", ctypes.c_ulonglong),
        ("ullAvailPhys", ctypes.c_ulonglong),
        ("ullTotalPageFile", ctypes.c_ulonglong),
        ("ullAvailPageFile", ctypes.c_ulonglong),
        ("ullTotalVirtual", ctypes.c_ulonglong),
        ("ullAvailVirtual", ctypes.c_ulonglong),
        ("ullAvailExtendedVirtual", ctypes.c_ulonglong),
    ]


def kernel32() -> Any:
    """The library of Windows that answers; OSError elsewhere."""
    if sys.platform != "win32":
        raise OSError("kernel32 is a library of Windows")
    return ctypes.WinDLL("kernel32", use_last_error=True)


def process_memory(library: Any) -> ProcessMemory:
    """What this process holds and has held. Raises OSError."""
    counters = ProcessMemory()
    counters.cb = ctypes.sizeof(counters)
    # A handle has 64 bits; without its type ctypes would cut it to 32.
    current_process = library.GetCurrentProcess
    current_process.restype = wintypes.HANDLE
    query = library.K32GetProcessMemoryInfo
    query.argtypes = [wintypes.HANDLE, ctypes.POINTER(ProcessMemory), wintypes.DWORD]
    if not query(current_process(), ctypes.byref(counters), counters.cb):
        raise OSError("Windows does not tell the memory of this process")
    return counters


def machine_memory(library: Any) -> MachineMemory:
    """What the machine has, and has free. Raises OSError."""
    status = MachineMemory()
    status.dwLength = ctypes.sizeof(status)
    if not library.GlobalMemoryStatusEx(ctypes.byref(status)):
        raise OSError("Windows does not tell the memory of this machine")
    return status
