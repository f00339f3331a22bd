"""`python -m sojourn` is the command `sojourn`."""

from sojourn.cli.app import main

main()
