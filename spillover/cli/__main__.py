"""`python -m spillover.cli`, `spillover` and `kubectl spillover`."""

import sys

from spillover.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
