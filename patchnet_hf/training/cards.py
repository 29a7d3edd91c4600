"""The card that a training leaves beside its model."""

import logging
from pathlib import Path

from ..cards.card import CARD_FILE, write_card
from ..cards.model_card import model_card
from ..errors import InputError

logger = logging.getLogger(__name__)


def leave_card(folder: str | Path) -> str:
    """
    Writes the card of a finished run, unless its folder has a README.md of somebody else or an edited one.

    A card that can't be written doesn't end a run whose model is saved.

    Returns:
        What became of it, in a line.
    """
    try:
        if write_card(model_card(folder), folder):
            return f"its card is {Path(folder) / CARD_FILE}"
    except InputError as error:
        return f"no card: {error}"
    return f"{Path(folder) / CARD_FILE} is no card as it was written here, and stays; remove it for a new one"


def card_metadata(
    language=None, tags=None, model_name=None, finetuned_from=None, tasks=None, dataset_tags=None, dataset=None,
    dataset_args=None,
) -> dict:  # fmt: skip
    """What the Trainer calls entries of a card's metadata as they are called there; see [`ModelCardMixin`]."""
    return {
        "language": language,
        "tags": tags,
        "base_model": finetuned_from,
        "datasets": dataset_tags,
        "model_name": model_name,
    }


class ModelCardMixin:
    """Makes a Trainer write cards of PatchNet models."""

    def create_model_card(
        self,
        language=None,
        license=None,
        tags=None,
        model_name=None,
        finetuned_from=None,
        tasks=None,
        dataset_tags=None,
        dataset=None,
        dataset_args=None,
    ) -> None:
        """
        Writes the model's card and its pictures into `output_dir`, where the model has been saved before; a README.md
        that somebody has edited stays as it is.

        Args:
            language, license, tags: of the card's metadata.
            model_name: of the model; by default that of its repository or folder.
            finetuned_from: id on the Hub of the model that the training started from; by default as the run's record
                has it.
            tasks: not taken; the task is image classification.
            dataset_tags: ids on the Hub of datasets that it was trained on.
            dataset, dataset_args: not taken; the record of the run has them.

        Raises:
            InputError: `output_dir` holds no model, or the card can't be written.
        """
        if not self.is_world_process_zero():
            return
        repo = getattr(self, "hub_model_id", None) or self.args.hub_model_id
        metadata = card_metadata(
            language=language,
            tags=tags,
            model_name=model_name,
            finetuned_from=finetuned_from,
            dataset_tags=dataset_tags,
        )
        card = model_card(
            self.args.output_dir, repo=repo if repo and "/" in repo else None, license=license, metadata=metadata
        )
        if not write_card(card, self.args.output_dir):
            logger.warning("%s is no card as it was written here, and stays", Path(self.args.output_dir) / CARD_FILE)
