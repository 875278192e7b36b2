"""The command line that the ask_*.py scripts share: [WHAT] CASES OUT [--models DIR]."""
import argparse


def parse(doc, what=None, models=False):
    """doc: of the script. what: choices of a first argument; None = there is none. models: --models is needed."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    if what:
        parser.add_argument("what", choices=what)
    parser.add_argument("cases")
    parser.add_argument("out")
    if models:
        parser.add_argument("--models", required=True)
    return parser.parse_args()
