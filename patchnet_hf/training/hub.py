"""How a training pushes its model to the Hub: once, at its end, and nothing but what scripts/push_to_hub.py pushes."""

from concurrent.futures import Future

from huggingface_hub import CommitInfo, HfApi

from ..errors import InputError
from ..hub.hub_errors import hub_errors
from ..hub.model_upload import model_upload
from ..hub.push import push
from .cards import card_metadata


class PushMixin:
    """
    How [`PatchNetTrainer`] pushes.

    The Trainer's own push brings up all that lies in `output_dir`. Here only what is on the list of
    [`patchnet_hf.hub.model_files`] goes up, and nothing once a file holds a path, a token or a name of this machine.
    """

    def init_hf_repo(self, *args, **kwargs) -> None:
        """
        As [`transformers.Trainer.init_hf_repo`].

        Raises:
            InputError: the Hub can't be reached or refuses.
        """
        with hub_errors(self.args.hub_model_id or self.args.output_dir):
            super().init_hf_repo(*args, **kwargs)

    def push_to_hub(
        self,
        commit_message: str | None = "End of training",
        blocking: bool = True,
        token: str | None = None,
        revision: str | None = None,
        private: bool | None = None,
        license: str | None = None,
        **kwargs,
    ) -> CommitInfo | Future | None:
        """
        Saves the model and pushes it with its image processor, code, card and results, in one commit.

        Args:
            commit_message, blocking, token, revision, private: as for [`transformers.Trainer.push_to_hub`].
            license, **kwargs: of the card's metadata, as for `create_model_card`.

        Returns:
            What was committed, or with `blocking=False` a future of it; `None` on all processes but the first.

        Raises:
            InputError: as for [`patchnet_hf.hub.model_upload.model_upload`] and [`patchnet_hf.hub.push.push`].
        """
        if self.hub_model_id is None:
            self.init_hf_repo(token=token)
        self.save_model(_internal_call=True)
        if not self.is_world_process_zero():
            return None
        upload = model_upload(
            self.args.output_dir, self.hub_model_id, license=license, metadata=card_metadata(**kwargs)
        )
        options = {
            "private": bool(self.args.hub_private_repo if private is None else private),
            "revision": revision or self.args.hub_revision,
            "token": token or self.args.hub_token,
            "message": commit_message or "End of training",
        }
        return push(upload, **options) if blocking else HfApi().run_as_future(push, upload, **options)


def push_hint(error: InputError, folder: str, repo: str) -> str:
    """What to say where a finished run couldn't be pushed."""
    return f"{error}. The run is whole in {folder}: python scripts/push_to_hub.py --model {folder} --repo {repo}"
