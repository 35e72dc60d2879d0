"""Run the command line with `python -m ulmfit_lab`."""

import sys

from ulmfit_lab.cli import main

sys.exit(main())
