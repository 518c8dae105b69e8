# SPDX-License-Identifier: Apache-2.0
"""Loads libeulernet_kernels.so (`plugins/diirf/kernels_c.h`) with its functions' types. Imports no torch."""

import ctypes
from ctypes import c_char_p, c_int, c_void_p
from pathlib import Path

KERNEL_LIBRARY, PLUGIN_LIBRARY = "libeulernet_kernels.so", "libeulernet_plugins.so"  # of `make plugin`
# Pointers, then sizes and flags, then the stream, in the header's order; a test compares them with the header.
SIGNATURES = {
    "eulernet_diirf": [c_void_p] * 7 + [c_int] * 6 + [c_void_p],
    "eulernet_diirf_gate": [c_void_p] * 9 + [c_int] * 8 + [c_void_p],
}


class KernelError(Exception):
    """The library can't be loaded, or it refused a call; the message contains its error."""


class KernelLibrary:
    """The loaded library."""

    def __init__(self, path: Path) -> None:
        """Raises: KernelError if the library can't be loaded."""
        try:
            self._library = ctypes.CDLL(str(path))
        except OSError as error:
            raise KernelError(f"{path}: can't be loaded ({error}); build it with make plugin") from None
        for name, kinds in SIGNATURES.items():
            function = getattr(self._library, name)
            function.argtypes, function.restype = kinds, c_int
        self._library.eulernet_error_string.argtypes = [c_int]
        self._library.eulernet_error_string.restype = c_char_p

    def error_string(self, code: int) -> str:
        """Text of a return value."""
        text: bytes = self._library.eulernet_error_string(code)
        return text.decode()

    def call(self, name: str, *arguments: int | None) -> None:
        """Calls one function; pointers as addresses. Raises: KernelError if it does not return 0."""
        code = getattr(self._library, name)(*arguments)
        if code:
            raise KernelError(f"{name}: {self.error_string(code)}")
