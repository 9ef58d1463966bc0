"""Train a translator: `python train.py --config configs/… --workdir …`; see --help."""

import json
import sys
from pathlib import Path

from nmt import parallel
from nmt.cli import run
from nmt.config import parse_command_line
from nmt.training.loop import train

DEFAULT = Path(__file__).parent / "configs" / "grammar_en_pt.py"


def main() -> None:
    """Parses the command line, trains, prints the summary."""
    config, workdir = parse_command_line(None, DEFAULT)
    parallel.join_hosts()
    summary = train(config, workdir)
    if parallel.is_first_host():
        print(json.dumps(summary, indent=2))


if __name__ == "__main__":
    sys.exit(run(main))
