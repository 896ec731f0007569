"""`python -m quarl`."""

from quarl.cli import main

main()
