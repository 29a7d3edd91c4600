"""
What a training run can be told that isn't transformers' own, each option with its help.

Imports nothing that takes time, so that help comes at once.
"""

import json
from dataclasses import dataclass, field

from ..errors import InputError

# Names of precisions with accelerate's; auto is whatever the machine is good at.
PRECISIONS = {"auto": None, "float32": "no", "bfloat16": "bf16", "float16": "fp16"}
# True and false on a command line: what transformers takes for its options, YAML's words, and nothing.
TRUE = ("true", "t", "yes", "y", "1", "on")
FALSE = ("false", "f", "no", "n", "0", "off", "none", "null", "")


@dataclass
class ModelArguments:
    """The network and its loss."""

    _argument_group_name = "model"

    backbone: str = field(
        default="resnet18", metadata={"help": "Any timm architecture, for example resnet18 or fastvit_t8."}
    )
    backbone_kwargs: str | None = field(
        default=None,
        metadata={"help": 'Further arguments of timm.create_model, as JSON or a YAML mapping: {"img_size": 160}.'},
    )
    pretrained_backbone: str | None = field(
        default=None,
        metadata={
            "help": "Start from a pretrained backbone. true: timm's weights, downloaded from the Hub; FILE: weights "
            "in the names of timm, or of the authors of EfficientFormerV2 or FastViT (.safetensors, .pth, .pt, .bin).",
            # Without a value it is true, as options that know no other are.
            "nargs": "?",
            "const": "true",
        },
    )
    init_from: str | None = field(
        default=None,
        metadata={
            "help": "Start from the weights of this PatchNet model: a folder, a checkpoint or a model of the Hub."
        },
    )
    init_revision: str | None = field(
        default=None, metadata={"help": "With init_from, of a model of the Hub: branch, tag or commit."}
    )
    strict: bool = field(
        default=True,
        metadata={
            "help": "With init_from: stop if anything doesn't match; false takes what matches and lists the rest."
        },
    )
    embedding_size: int | None = field(
        default=None, metadata={"help": "Size of the embedding; by default that of the backbone's features."}
    )
    dropout: float = field(default=0.0, metadata={"help": "Dropout on the pooled features."})
    drop_path_rate: float = field(default=0.0, metadata={"help": "Stochastic depth rate of the backbone."})
    scale: float = field(default=30.0, metadata={"help": "Scale of the AM-softmax."})
    margin_live: float = field(default=0.4, metadata={"help": "AM-softmax margin of the live patch types."})
    margin_spoof: float = field(default=0.1, metadata={"help": "AM-softmax margin of the attack patch types."})
    classification_weight: float = field(default=1.0, metadata={"help": "Weight of the AM-softmax loss."})
    similarity_weight: float = field(
        default=1.0, metadata={"help": "Weight of the squared distance between the embeddings of two views."}
    )

    def __post_init__(self):
        self.pretrained_backbone = pretrained_choice(self.pretrained_backbone)
        if isinstance(self.backbone_kwargs, str):
            try:
                self.backbone_kwargs = json.loads(self.backbone_kwargs)
            except json.JSONDecodeError as error:
                raise InputError(f"backbone_kwargs is no JSON mapping: {self.backbone_kwargs!r} ({error})") from error
        if self.backbone_kwargs is not None and not isinstance(self.backbone_kwargs, dict):
            raise InputError(f"backbone_kwargs is {self.backbone_kwargs!r}; expected a mapping of names to values")


@dataclass
class DataArguments:
    """The captures and how views are taken from them."""

    _argument_group_name = "data"

    dataset: str | None = field(
        default=None,
        metadata={
            "help": "A folder written by scripts/convert_dataset.py, a CSV list or a folder with lists, a folder for "
            "datasets.load_dataset, or OWNER/NAME[@REVISION] on the Hub: its split `train` is trained on, every other "
            "split is an evaluation set of its own. docs/data.md has examples."
        },
    )
    train: list[str] | None = field(
        default=None,
        metadata={
            "help": "Instead of --dataset: one or more of them to train on, each with :SPLIT where it has several; "
            "patch types are united by name."
        },
    )
    eval: list[str] | None = field(
        default=None, metadata={"help": "Instead of --dataset: one or more of the same kind, each evaluated by name."}
    )
    streaming: bool = field(
        default=False,
        metadata={
            "help": "Read training captures as they come instead of fetching all beforehand; needs --max_steps. "
            "Evaluation sets are fetched."
        },
    )
    shuffle_buffer: int = field(
        default=1000,
        metadata={"help": "With streaming: captures that wait in memory, as files, to be drawn from at random."},
    )
    allow_shared_images: bool = field(
        default=False,
        metadata={"help": "Go on although an image that is trained on is in an evaluation set, too (same bytes)."},
    )
    train_filter: str | None = field(
        default=None,
        metadata={
            "help": 'Train on these captures only, as JSON or a YAML mapping: {"device": {"not": "phone6"}, '
            '"subject": "1-20"}; docs/protocols.md tells the notation. {} takes all, whatever the YAML file says.'
        },
    )
    eval_filter: str | None = field(
        default=None, metadata={"help": "Evaluate these captures of the evaluation sets only, written alike."}
    )
    recipe: str = field(
        default="patches",
        metadata={
            "help": "patches: non-distorted patches at native resolution, as in the paper. resize: the whole face "
            "resized, then cropped.",
            "choices": ["patches", "resize"],
        },
    )
    patch_size: int = field(default=160, metadata={"help": "Side of a patch in pixels."})
    grid: int = field(default=3, metadata={"help": "Evaluation averages over GRID x GRID patches."})
    resize_size: int = field(default=232, metadata={"help": "Recipe resize: side that the face is resized to."})
    resampling: str = field(
        default="bilinear",
        metadata={
            "help": "Recipe resize: bilinear, or area, as OpenCV's INTER_AREA and fas-patchnet resize.",
            "choices": ["bilinear", "area"],
        },
    )
    face_expand: float = field(default=1.3, metadata={"help": "Factor on the sides of a face box."})
    augmentation: str | None = field(
        default=None,
        metadata={
            "help": "JSON file of albumentations' transforms that make the training views of a face, instead of the "
            "recipe's random crops: configs/augmentation/medium2.json, or one of your own; docs/augmentation.md."
        },
    )
    balance: str = field(
        default="none",
        metadata={
            "help": "Draw groups of training captures equally often: none, label, patch_type, attack_type, source, "
            "device, subject, session, video, or several joined by + (label+source) for their combinations."
        },
    )
    balance_length: str = field(
        default="max",
        metadata={
            "help": "Captures in a balanced epoch: max (the largest group once, others oversampled to its size), min "
            "(of each group as many as the smallest has), or a number."
        },
    )

    def __post_init__(self):
        # Only now: `datasets` takes a second to import, which help doesn't have.
        from ..data.filters import CaptureFilter

        for name in ("train_filter", "eval_filter"):
            given = getattr(self, name)
            if given == {} or (isinstance(given, str) and given.strip() in ("{}", "null")):
                # On the command line there is no other way to leave a filter of the YAML file out.
                setattr(self, name, None)
            elif given is not None and not isinstance(given, CaptureFilter):
                setattr(self, name, CaptureFilter.parse(given, name))
        if self.shuffle_buffer < 1:
            raise InputError(f"shuffle_buffer is {self.shuffle_buffer}; expected at least 1")


@dataclass
class TrainingOptions:
    """Options of [`PatchNetTrainingArguments`] that are its own, or that it has other defaults of."""

    _argument_group_name = "training"

    output_dir: str = field(default="outputs/run", metadata={"help": "Where the model, its metrics and logs go."})
    overwrite: bool = field(
        default=False, metadata={"help": "Train into output_dir even if it already holds a finished or broken run."}
    )
    precision: str = field(
        default="auto",
        metadata={
            "help": "auto: bfloat16 where the GPU or the processor computes in it, else float32.",
            "choices": list(PRECISIONS),
        },
    )
    channels_last: bool = field(
        default=True, metadata={"help": "Keep the network in channels-last memory, faster for convolutions."}
    )
    sync_batch_norm: bool = field(
        default=False,
        metadata={
            "help": "Batch normalisation over the joint batch of all processes, instead of each process's own part of "
            "it. Worth its cost where a process has few captures a step."
        },
    )
    cpu_threads: int | None = field(
        default=None,
        metadata={
            "help": "Threads of a process that trains on the CPU. By default the machine's cores shared evenly among "
            "its processes; accelerate launch alone would leave each process a single one."
        },
    )
    lr_scheduler_type: str = field(
        default="linear",
        metadata={
            "help": "Schedule: linear, cosine, cosine_warm_restarts (lr_scheduler_kwargs {T_0: EPOCHS, T_mult: 2, "
            "eta_min: 0}), or any other that transformers knows."
        },
    )
    decay_norms_and_biases: bool = field(
        default=False, metadata={"help": "Weight decay for norms, biases and position embeddings, too."}
    )
    ema_decay: float | None = field(
        default=None,
        metadata={"help": "Evaluate and save an exponential moving average of the weights, for example 0.999."},
    )
    ema_warmup: bool = field(
        default=True, metadata={"help": "Let ema_decay grow with the steps: short runs forget their first weights."}
    )
    hub_strategy: str = field(
        default="end",
        metadata={
            "help": "end: push_to_hub pushes the finished model, as scripts/push_to_hub.py does. Nothing else is "
            "offered."
        },
    )
    logging_nan_inf_filter: bool = field(
        default=False, metadata={"help": "Left off: it waits for the device in each step, and hides a divergence."}
    )
    dataloader_persistent_workers: bool | None = field(
        default=None,
        metadata={
            "help": "Keep data workers from epoch to epoch. By default those of training captures: to start one takes "
            "longer than many steps."
        },
    )
    remove_unused_columns: bool = field(
        default=False, metadata={"help": "Left off: views need columns that the model doesn't take."}
    )
    ddp_find_unused_parameters: bool | None = field(
        default=False, metadata={"help": "Left off: every parameter takes part in every step."}
    )
    eval_strategy: str = field(default="epoch", metadata={"help": "When to evaluate: no, steps or epoch."})
    save_strategy: str = field(default="epoch", metadata={"help": "When to save: no, steps, epoch or best."})
    save_total_limit: int | None = field(default=2, metadata={"help": "Checkpoints to keep."})
    load_best_model_at_end: bool = field(default=True, metadata={"help": "End with the best checkpoint."})
    metric_for_best_model: str | None = field(
        default="eval_total_acer", metadata={"help": "What makes a checkpoint the best."}
    )
    report_to: None | str | list[str] = field(
        default="tensorboard", metadata={"help": "tensorboard, wandb, none and others, as transformers knows them."}
    )
    per_device_eval_batch_size: int = field(default=16, metadata={"help": "Captures (of GRID x GRID patches)."})
    telegram: bool = field(
        default=False,
        metadata={
            "help": "Report to Telegram chats. TELEGRAM_TOKEN and TELEGRAM_CHAT_ID come from the environment or .env, "
            "never from an option; docs/telegram.md tells how."
        },
    )


def pretrained_choice(value: str | bool | int | None) -> str | bool:
    """
    `pretrained_backbone` as true, false or the path that it is. None, null and an empty text are false.

    Raises:
        InputError: it is a list, a mapping or a number.

    >>> pretrained_choice("True"), pretrained_choice("n"), pretrained_choice(None), pretrained_choice("no.pth")
    (True, False, False, 'no.pth')
    """
    if value is None or isinstance(value, str | bool | int):
        written = str(value).strip().lower()
        if written in TRUE or written in FALSE:
            return written in TRUE
        if isinstance(value, str):
            return value
    raise InputError(f"pretrained_backbone is {value!r}; expected true, false, or a file of weights")


def resume_choice(value: str | bool | None) -> str | bool | None:
    """`resume_from_checkpoint` as the Trainer takes it: "true", "false" and "no" as booleans, a path as it is."""
    if isinstance(value, str) and value.lower() in ("true", "false", "no"):
        return value.lower() == "true"
    return value
