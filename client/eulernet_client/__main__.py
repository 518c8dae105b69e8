"""`python -m eulernet_client`: the `eulernet` command."""

from eulernet_client.cli import main

main(prog_name="eulernet")
