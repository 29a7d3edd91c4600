"""PatchNet model configuration."""

import math

from transformers import PretrainedConfig

NUMBERS = ("scale", "margin_live", "margin_spoof", "similarity_weight", "classification_weight")
HEADS = ("cosine", "linear")
ID2LABEL = {0: "spoof", 1: "live"}


class PatchNetConfig(PretrainedConfig):
    r"""
    Configuration of a [`PatchNetModel`] or [`PatchNetForImageClassification`] (Wang et al., "PatchNet: A Simple Face
    Anti-Spoofing Framework via Fine-Grained Patch Recognition", CVPR 2022, arXiv 2203.14325).

    Args:
        backbone (`str`, *optional*, defaults to `"resnet18"`):
            Name of any timm architecture, with or without a pretrained tag. Weights are never downloaded here.
        backbone_kwargs (`dict`, *optional*, defaults to `{}`):
            Further arguments of `timm.create_model`, for example `{"img_size": 160}` for Swin and ViT.
        embedding_size (`int`, *optional*):
            Size D of the embedding, reached by a linear projection without bias. `None`: the backbone's pooled
            features are the embedding.
        dropout (`float`, *optional*, defaults to 0.0):
            Dropout probability on the pooled features.
        drop_path_rate (`float`, *optional*, defaults to 0.0):
            Stochastic depth rate of the backbone, for the architectures that have it.
        patch_types (`list[str]`, *optional*, defaults to `["spoof", "live"]`):
            Names of the K patch types (capture device x presented material); the position is the training label.
        live_patch_types (`list[str]`, *optional*, defaults to `["live"]`):
            The patch types that are bona fide. At least one type must be live and at least one must not.
        image_size (`int`, *optional*, defaults to 160):
            Side in pixels of the patches that the model is trained on.
        num_channels (`int`, *optional*, defaults to 3):
            Channels of `pixel_values`.
        scale (`float`, *optional*, defaults to 30.0):
            Factor s on the cosines, before the softmax.
        margin_live (`float`, *optional*, defaults to 0.4):
            Margin m of the live types in the asymmetric AM-softmax loss.
        margin_spoof (`float`, *optional*, defaults to 0.1):
            Margin m of the other types.
        similarity_weight (`float`, *optional*, defaults to 1.0):
            Weight of the squared distance between the embeddings of two views of a capture.
        classification_weight (`float`, *optional*, defaults to 1.0):
            Weight of the asymmetric AM-softmax loss.
        head (`str`, *optional*, defaults to `"cosine"`):
            `"cosine"`: patch-type logits are `scale * cos(theta)`. `"linear"`: the plain product of embeddings and
            class weights, for the scores of imported checkpoints only; it can't be trained.
        decision_threshold (`float`, *optional*, defaults to 0.5):
            A capture is accepted as live when P(live) is at least this.
        calibration (`dict[str, float]`, *optional*):
            `{"scale": a, "bias": b}` on the live log-odds z, applied inside `forward`: P(live) = sigmoid(a z + b).

    Raises:
        ValueError: a value is outside its range, or the patch types don't hold both a live and an attack type.

    Example:

    ```python
    >>> from patchnet_hf import PatchNetConfig
    >>> config = PatchNetConfig(patch_types=["phone/live", "phone/print"], live_patch_types=["phone/live"])
    >>> config.id2label
    {0: 'spoof', 1: 'live'}
    >>> config.live_patch_type_ids
    [0]

    ```
    """

    model_type = "patchnet"
    # Predictions are the two-class logits alone; a Trainer need not gather the rest.
    keys_to_ignore_at_inference = ["patch_type_logits", "embeddings", "loss_dict"]

    def __init__(
        self,
        backbone: str = "resnet18",
        backbone_kwargs: dict | None = None,
        embedding_size: int | None = None,
        dropout: float = 0.0,
        drop_path_rate: float = 0.0,
        patch_types: list[str] | None = None,
        live_patch_types: list[str] | None = None,
        image_size: int = 160,
        num_channels: int = 3,
        scale: float = 30.0,
        margin_live: float = 0.4,
        margin_spoof: float = 0.1,
        similarity_weight: float = 1.0,
        classification_weight: float = 1.0,
        head: str = "cosine",
        decision_threshold: float = 0.5,
        calibration: dict[str, float] | None = None,
        **kwargs,
    ):
        self.backbone = backbone
        self.backbone_kwargs = dict(backbone_kwargs or {})
        self.embedding_size = embedding_size
        self.dropout = dropout
        self.drop_path_rate = drop_path_rate
        self.patch_types = ["spoof", "live"] if patch_types is None else list(patch_types)
        self.live_patch_types = ["live"] if live_patch_types is None else list(live_patch_types)
        self.image_size = image_size
        self.num_channels = num_channels
        self.scale = scale
        self.margin_live = margin_live
        self.margin_spoof = margin_spoof
        self.similarity_weight = similarity_weight
        self.classification_weight = classification_weight
        self.head = head
        self.decision_threshold = decision_threshold
        self.calibration = None if calibration is None else dict(calibration)
        self._check()
        # Whatever the patch types, the model's classes are these two: consumers of `logits` need to know no others.
        kwargs.pop("num_labels", None)
        kwargs.pop("label2id", None)
        kwargs["id2label"] = dict(ID2LABEL)
        kwargs["label2id"] = {label: index for index, label in ID2LABEL.items()}
        kwargs.setdefault("problem_type", "single_label_classification")
        super().__init__(**kwargs)

    def _check(self):
        if self.head not in HEADS:
            raise ValueError(f"head is {self.head!r}; expected one of {', '.join(HEADS)}")
        if "checkpoint_path" in self.backbone_kwargs:
            # timm would load it whenever the model is built, were it a pickle on the machine of whoever loads it.
            raise ValueError("backbone_kwargs holds checkpoint_path; weights come from the model's safetensors alone")
        if len(set(self.patch_types)) != len(self.patch_types):
            raise ValueError(f"patch_types holds a name twice: {self.patch_types}")
        unknown = [name for name in self.live_patch_types if name not in self.patch_types]
        if unknown:
            raise ValueError(f"live_patch_types {unknown} are not among patch_types {self.patch_types}")
        if not self.live_patch_types:
            raise ValueError(f"no live patch type among {self.patch_types}; at least one must be live")
        if set(self.live_patch_types) == set(self.patch_types):
            raise ValueError(f"no attack patch type: all of {self.patch_types} are live")
        if not 0 < self.decision_threshold < 1:
            raise ValueError(f"decision_threshold is {self.decision_threshold}; expected a probability in (0, 1)")
        if self.embedding_size is not None and self.embedding_size < 1:
            raise ValueError(f"embedding_size is {self.embedding_size}; expected at least 1, or none")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is {self.dropout}; expected a probability in [0, 1)")
        for name in NUMBERS:
            if not math.isfinite(getattr(self, name)):
                raise ValueError(f"{name} is {getattr(self, name)}; expected a finite number")
        if self.scale <= 0:
            raise ValueError(f"scale is {self.scale}; expected a positive number")
        if self.calibration is not None and set(self.calibration) != {"scale", "bias"}:
            raise ValueError(f"calibration has keys {sorted(self.calibration)}; expected scale and bias")
        if self.calibration is not None and not all(map(math.isfinite, self.calibration.values())):
            raise ValueError(f"calibration is {self.calibration}; expected finite numbers")
        if self.calibration is not None and not self.calibration["scale"] > 0:
            raise ValueError(f"calibration scale is {self.calibration['scale']}; a positive one keeps the ranking")

    @property
    def live_patch_type_ids(self) -> list[int]:
        """Positions of the live types in `patch_types`."""
        return [index for index, name in enumerate(self.patch_types) if name in self.live_patch_types]


__all__ = ["PatchNetConfig"]
