"""`python -m olvido`: the command line, as launchers of several processes start it."""

from olvido.cli import main

if __name__ == "__main__":
    main()
