#!/usr/bin/env python
"""Writes the card of a model, its README.md, into the model's folder.

The card tells data, recipe, results with confidence intervals, threshold, intended use, limits and licence, as far as
the folder and the evaluations that are given say. Training writes one by itself; here evaluations can be added to it.
"""

import os
import shlex

from patchnet_hf.command_line import CommandParser, run_command

EXAMPLES = """examples:
  python scripts/write_card.py --model outputs/demo --evaluation outputs/demo-evaluation
  python scripts/write_card.py --model outputs/demo --repo someone/patchnet-demo --license cc-by-nc-4.0
"""


def main() -> int:
    parser = CommandParser(prog="write_card.py", description=__doc__, epilog=EXAMPLES)
    parser.add_argument("--model", required=True, metavar="DIR", help="folder of the model")
    parser.add_argument(
        "--evaluation", nargs="+", default=[], metavar="DIR", help="evaluations of it by scripts/evaluate.py"
    )
    parser.add_argument("--repo", metavar="OWNER/NAME", help="where the model is or will be on the Hub")
    parser.add_argument("--license", metavar="ID", help="of the weights, such as apache-2.0 (default: none is stated)")
    parser.add_argument("--overwrite", action="store_true", help="replace a README.md that was edited or is no card")
    arguments = parser.parse_args()

    # Imported only now, so that --help and a wrong option answer at once.
    from patchnet_hf.cards.card import CARD_FILE, write_card
    from patchnet_hf.cards.model_card import model_card
    from patchnet_hf.errors import InputError

    card = model_card(arguments.model, arguments.evaluation, arguments.repo, arguments.license)
    if not write_card(card, arguments.model, arguments.overwrite):
        raise InputError(
            f"{os.path.join(arguments.model, CARD_FILE)} isn't a card as it was written here, but edited or of "
            "another origin; --overwrite replaces it"
        )
    print(f"written to {arguments.model}: {', '.join([CARD_FILE, *card.pictures])}")
    repo = arguments.repo or "OWNER/NAME"
    print(f"next: python scripts/push_to_hub.py --model {shlex.quote(arguments.model)} --repo {repo}")
    return 0


if __name__ == "__main__":
    run_command(main)
