# SPDX-License-Identifier: Apache-2.0
"""`python -m eulernet_client`: the `eulernet` command."""

from eulernet_core.command_root import main

main(prog_name="eulernet")
