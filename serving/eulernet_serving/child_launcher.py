# SPDX-License-Identifier: Apache-2.0
"""Becomes a program that ends with its parent, and whose shared memory other users can't read if it is private.

It is run by path, with the standard library alone. The code can't run between fork and exec instead: gRPC's threads in
the parent make that unsafe.

Triton's library creates shared memory with the mode 0644 and then sets this mode again by `fchmod`, past the umask. A
filter of the kernel (seccomp, BPF) lets this one call succeed without an effect. A later chmod alone would come too
late: whoever has opened the file meanwhile can go on reading.
"""

from __future__ import annotations

import ctypes
import os
import signal
import struct
import sys
from collections.abc import Sequence

_PRIVATE = "private"
_PR_SET_PDEATHSIG = 1
_PUBLIC_MODE = 0o644
_PR_SET_NO_NEW_PRIVS = 38
_SYS_SECCOMP, _SYS_FCHMOD = 317, 91  # on x86-64, the only machine that the server's binary runs on
_AUDIT_ARCH_X86_64 = 0xC000003E
_SET_MODE_FILTER, _SPEC_ALLOW = 1, 4  # the flag keeps the kernel from slowing the process down
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _ERRNO_0 = 0x7FFF0000, 0x00050000
_NUMBER_AT, _ARCH_AT, _MODE_AT = 0, 4, 24  # in struct seccomp_data

# (operation, jump if true, jump if false, operand)
_PROGRAM = (
    (_LOAD, 0, 0, _ARCH_AT),
    (_EQUAL, 0, 5, _AUDIT_ARCH_X86_64),
    (_LOAD, 0, 0, _NUMBER_AT),
    (_EQUAL, 0, 3, _SYS_FCHMOD),
    (_LOAD, 0, 0, _MODE_AT),
    (_EQUAL, 0, 1, _PUBLIC_MODE),
    (_RETURN, 0, 0, _ERRNO_0),
    (_RETURN, 0, 0, _ALLOW),
)


class _Filter(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("program", ctypes.c_char_p))


_LIBC = ctypes.CDLL(None)


def launched(command: Sequence[str], *, private: bool) -> list[str]:
    """The command line that starts a command through this file, as a child of this process."""
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), _PRIVATE if private else "", *command]


def main(parent: int, mode: str, command: list[str]) -> None:
    """Replaces this process. Raises: OSError where the command can't be run."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)  # for a parent that is killed by a signal that it can't handle
    if os.getppid() != parent:
        sys.exit("the parent has ended")
    if mode == _PRIVATE:
        os.umask(0o077)
        keep_files_private()
    os.execvp(command[0], command)


def keep_files_private() -> None:
    """From now on `fchmod(file, 0644)` has no effect in this process. Where the kernel refuses, nothing changes."""
    code = b"".join(struct.pack("<HBBI", *line) for line in _PROGRAM)
    filtered = _Filter(len(_PROGRAM), code)
    _LIBC.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    _LIBC.syscall(_SYS_SECCOMP, _SET_MODE_FILTER, _SPEC_ALLOW, ctypes.byref(filtered))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3:])
