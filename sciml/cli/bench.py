"""Regenerate the tables of the README.

    sciml bench --suite quick                    step times and a few problems, minutes
    sciml bench --suite full --seeds 3           every shipped problem at its target time
    sciml bench --suite preconditioning          condition numbers of Fourier series, seconds
    sciml bench --suite operator-steps           a step of FNO beside neuraloperator's, a minute
    sciml bench --suite operators-points         operators on points and their baselines, an hour for each seed
    sciml bench --suite meshes                   problems on mesh files beside finite elements, the mesh's matrix
    sciml bench --suite purchases                which measurements to buy, a quarter of an hour
    sciml bench --suite sampling --time 30       samplers side by side, each row shortened
    sciml bench --suite full --only burgers --write README.md
"""

from __future__ import annotations

from pathlib import Path

from ..bench import SUITES, run_suite
from ..errors import look_up

HELP = "regenerate the tables of the README"


def add_arguments(parser) -> None:
    """Arguments of `sciml bench`."""
    parser.add_argument("--suite", default="quick", help=", ".join(SUITES))
    parser.add_argument("--only", nargs="+", help="rows of the suite to run")
    parser.add_argument("--seeds", type=int, help="seeds per row (default: the suite's)")
    parser.add_argument("--time", type=float, help="seconds of training per row (default: the row's)")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", default="runs/bench", help="folder of results; rows found there are kept")
    parser.add_argument("--write", metavar="FILE", help="replace the tables between the markers of this file")


def run(arguments) -> int:
    """Runs `sciml bench`."""
    look_up("suite", arguments.suite, SUITES)
    for line in run_suite(arguments.suite, only=arguments.only, seeds=arguments.seeds, device=arguments.device,
                          out=Path(arguments.out), write=Path(arguments.write) if arguments.write else None,
                          time=arguments.time):
        print(line, flush=True)
    return 0
