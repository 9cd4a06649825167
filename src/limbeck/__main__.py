"""`python -m limbeck` is the command `limbeck`."""

from limbeck.cli.main import main

main()
