"""The listening socket: one for all workers, whose queue outlives each of them."""

import ctypes
import socket
import struct
import sys

# Connections that wait to be taken.
BACKLOG = 4096
# Of Linux (asm-generic/socket.h), which Python does not name.
SO_ATTACH_FILTER = 26


def listening_socket(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises OSError that names the address."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise OSError(error.errno, error.strerror, f"{host}:{port}") from None
    listening.listen(BACKLOG)
    listening.setblocking(False)
    return listening


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
