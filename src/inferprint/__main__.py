"""`python -m inferprint`."""

from inferprint.cli import main

main()
