"""`python -m crm_models`: the command line."""

import sys

from crm_models.cli.commands import main

if __name__ == "__main__":
    sys.exit(main())
