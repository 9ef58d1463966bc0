"""`python -m nmt`: the `nmt` command."""

import sys

from nmt.cli import main

sys.exit(main())
