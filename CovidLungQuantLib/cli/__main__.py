"""`python -m CovidLungQuantLib.cli`, as torchrun starts it."""

import sys

from CovidLungQuantLib.cli.program import main

sys.exit(main())
