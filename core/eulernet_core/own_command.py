# SPDX-License-Identifier: Apache-2.0
"""The command line that runs `eulernet` in another process of the same Python."""

import sys

# Without the working directory, which `-c` and `-m` put first: its files could hide installed modules.
_PROGRAM = "import sys; sys.path = [each for each in sys.path if each]; import eulernet_core.__main__"


def own_command(name: str, *arguments: str) -> list[str]:
    """`eulernet NAME ARGUMENTS`, as the installed command runs it."""
    return [sys.executable, "-c", _PROGRAM, name, *arguments]
