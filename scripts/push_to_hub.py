"""Pushes a trained model, or a converted dataset, to the Hugging Face Hub.

A model goes up with its image processor, its code, a card that is written from the run, and the results in its folder;
checkpoints, logs and whatever else lies there stay. A dataset goes up as Parquet with its card. Every file is searched
for paths of this machine, tokens, user and host first.
"""

from patchnet_hf.command_line import CommandParser, run_command

EXAMPLES = """examples:
  python scripts/push_to_hub.py --model outputs/demo --repo OWNER/NAME --dry-run
  python scripts/push_to_hub.py --model outputs/demo --repo OWNER/NAME --evaluation outputs/demo-evaluation \\
      --license apache-2.0 --private
  python scripts/push_to_hub.py --dataset data/demo-arrow --repo OWNER/NAME
"""


def main() -> int:
    parser = CommandParser(prog="push_to_hub.py", description=__doc__, epilog=EXAMPLES)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--model", metavar="DIR", help="folder of a trained model")
    source.add_argument("--dataset", metavar="DIR", help="folder written by scripts/convert_dataset.py")
    parser.add_argument("--repo", required=True, metavar="OWNER/NAME", help="where it goes; made where it is missing")
    parser.add_argument(
        "--evaluation",
        nargs="+",
        default=[],
        metavar="DIR",
        help="with --model: folders written by scripts/evaluate.py, for the card",
    )
    parser.add_argument("--license", metavar="ID", help="licence for the card, such as apache-2.0 (default: none)")
    parser.add_argument("--private", action="store_true", help="make the repository private")
    parser.add_argument("--revision", metavar="BRANCH", help="branch, made where it is missing (default: main)")
    parser.add_argument(
        "--dry-run", action="store_true", help="show what would go up, and the card; asks nothing of the Hub"
    )
    parser.add_argument(
        "--overwrite-card",
        action="store_true",
        help="write the card anew though it was edited, in DIR or on the Hub; DIR keeps its own",
    )
    parser.add_argument(
        "--allow",
        nargs="+",
        default=[],
        metavar="TEXT",
        help="what the search for leaks found and is harmless, such as a user's name that means something else there",
    )
    arguments = parser.parse_args()
    if arguments.dataset and arguments.evaluation:
        parser.error("--evaluation is for --model")

    # Imported only now, so that --help and a wrong option answer at once.
    from patchnet_hf.hub.dataset_push import dataset_upload, push_dataset
    from patchnet_hf.hub.model_upload import model_upload
    from patchnet_hf.hub.push import push

    common = {"overwrite_card": arguments.overwrite_card, "allowed": arguments.allow}
    if arguments.model:
        upload = model_upload(arguments.model, arguments.repo, arguments.evaluation, arguments.license, **common)
    else:
        upload = dataset_upload(arguments.dataset, arguments.repo, arguments.license, allowed=arguments.allow)
    print(upload.table())
    if arguments.model and upload.card_note:
        print(upload.card_note)
    if arguments.dry_run:
        print(f"\n{upload.card}")
        print("nothing was pushed (--dry-run)")
        print("next: the same command without --dry-run")
        return 0
    push_it = push if arguments.model else push_dataset
    done = push_it(
        upload, private=arguments.private, revision=arguments.revision, overwrite_card=arguments.overwrite_card
    )
    print(f"pushed to {done.repo_url}, commit {done.oid[:12]}")
    revision = f" --revision {arguments.revision}" if arguments.revision else ""
    if arguments.model:
        print(f"next: python scripts/predict.py --model {arguments.repo}{revision} IMAGE...")
    else:
        name = f", revision={arguments.revision!r}" if arguments.revision else ""
        print(f'next: datasets.load_dataset("{arguments.repo}"{name}) in Python')
    return 0


if __name__ == "__main__":
    run_command(main)
