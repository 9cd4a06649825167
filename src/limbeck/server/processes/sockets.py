"""The listening socket: one for all workers, whose queue outlives each of them."""

import ctypes
import errno
import os
import socket
import struct
import sys

# Connections that wait to be taken.
BACKLOG = 4096
SPARE_FILES = 16
# Why an address cannot be listened at, and what to say instead.
REFUSALS = {
    errno.EADDRINUSE: "it is in use already, by another server perhaps. Name another port: --port",
    errno.EADDRNOTAVAIL: "this machine has no such address. Name one that it has: --host",
    errno.EACCES: "ports below 1024 are the system's. Name another one: --port",
}
# Of Linux (asm-generic/socket.h), which Python does not name.
SO_ATTACH_FILTER = 26


def listening_socket(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises ValueError for an address that is taken, or is none of this
    machine's, and OSError that names the address for any other reason."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        if error.errno in REFUSALS:
            raise ValueError(f"{host}, port {port}: {REFUSALS[error.errno]}") from None
        raise OSError(error.errno, error.strerror, f"{host}:{port}") from None
    listening.listen(BACKLOG)
    listening.setblocking(False)
    return listening


def connections_within(most: int) -> int:
    """How many connections this process can hold, of `most`: each is a file to the system, which
    bounds them (`ulimit -n`); as many are asked of it as it grants.

    Raises ValueError where there is room for none.
    """
    try:
        import resource
    except ModuleNotFoundError:
        # A system without POSIX, which bounds no process so.
        return most
    # What is open now, and what is opened on the way: files of a model, of counts, of the log.
    others = num_open_files() + SPARE_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return most
    wanted = most + others
    if soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft <= others:
        raise ValueError(
            f"`ulimit -n` lets a process open {soft:,} files, and {others:,} are open before the "
            "first connection: raise it"
        )
    return min(most, soft - others)


def num_open_files() -> int:
    """How many files this process has open."""
    # A root file system may be without /dev, and systems other than Linux are without /proc.
    folder = next(path for path in ("/proc/self/fd", "/dev/fd") if os.path.isdir(path))
    return len(os.listdir(folder))


def let_nobody_in(listening: socket.socket) -> None:
    """Have the system drop whatever asks for a new connection, so that the queue runs dry.

    A socket that is closed resets the connections that wait in its queue, though they count as
    made where they came from. Those dropped here are asked for again by themselves, a second
    later, of who listens then. Linux alone can do it; elsewhere the few that wait are reset.
    """
    if sys.platform != "linux":
        return
    # One instruction of the Berkeley packet filter: keep 0 bytes of every packet.
    instruction = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))
    program = struct.pack("HP", 1, ctypes.addressof(instruction))
    listening.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)
