"""`python -m CovidLungQuantLib.cli`, as torchrun starts it."""

import sys

from CovidLungQuantLib.cli import main

sys.exit(main())
