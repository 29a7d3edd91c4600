"""PyTorch PatchNet model."""

import sys
from copy import deepcopy
from dataclasses import dataclass

import torch
from timm.utils.model import reparameterize_model
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel
from transformers.utils import ModelOutput

from .backbone_patchnet import create_backbone

# What the backbones import, too: of the code in a model's folder transformers takes along what this file imports, but
# not what that imports in turn.
from .cdcn_patchnet import CentralDifferenceNet  # noqa: F401
from .central_difference_patchnet import CentralDifferenceConv2d  # noqa: F401
from .configuration_patchnet import PatchNetConfig
from .dc_cdn_patchnet import DualCrossNet  # noqa: F401
from .losses_patchnet import asymmetric_am_softmax_loss, at_least_float32, view_similarity_loss
from .multi_scale_patchnet import MultiScaleNet  # noqa: F401
from .registration_patchnet import register_once  # noqa: F401
from .weights_patchnet import check_safetensors


@dataclass
class PatchNetModelOutput(ModelOutput):
    """
    Output of [`PatchNetModel`].

    Args:
        embeddings (`torch.FloatTensor` of shape `(B, D)` or `(B, V, D)`):
            Embeddings in float32 at least; of unit length for `head="cosine"`.
    """

    embeddings: torch.FloatTensor | None = None


@dataclass
class PatchNetOutput(ModelOutput):
    """
    Output of [`PatchNetForImageClassification`].

    Args:
        loss (`torch.FloatTensor` of shape `(1,)`, *optional*, returned when `labels` is given):
            `classification_weight * sum over views of asymmetric AM-softmax + similarity_weight * view distance`.
        logits (`torch.FloatTensor` of shape `(B, 2)`):
            Spoof and live; `softmax(logits)` is the mean over views of the summed type probabilities, calibrated if
            the model is. `logits[:, 1] - logits[:, 0]` are the live log-odds, the score to rank and store.
        patch_type_logits (`torch.FloatTensor` of shape `(B, K)` or `(B, V, K)`):
            Scores of every patch type before any margin and calibration.
        embeddings (`torch.FloatTensor` of shape `(B, D)` or `(B, V, D)`):
            As in [`PatchNetModelOutput`].
        loss_dict (`dict[str, torch.FloatTensor]`, *optional*, returned when `labels` is given):
            The parts of the loss, without weights and gradients: `classification`, the mean over views of the
            asymmetric AM-softmax, and `similarity`, the view distance.
    """

    loss: torch.FloatTensor | None = None
    logits: torch.FloatTensor | None = None
    patch_type_logits: torch.FloatTensor | None = None
    embeddings: torch.FloatTensor | None = None
    loss_dict: dict[str, torch.FloatTensor] | None = None


class PatchTypeHead(nn.Module):
    """
    Scores of the K patch types: scaled cosines to one weight vector a type, or for `head="linear"` the plain product.

    Computed in float32 at least, whatever the autocast dtype: bfloat16 cosines times 30 would be off by 0.1.
    """

    def __init__(self, config: PatchNetConfig, embedding_size: int):
        super().__init__()
        self.cosine = config.head == "cosine"
        self.scale = config.scale
        self.live_patch_type_ids = config.live_patch_type_ids
        self.weight = nn.Parameter(torch.empty(len(config.patch_types), embedding_size))
        # (K,) bool, true for the live patch types.
        self.register_buffer("live_mask", torch.zeros(len(config.patch_types), dtype=torch.bool), persistent=False)
        self.reset_parameters()
        self.init_non_persistent_buffers()

    def reset_parameters(self):
        nn.init.xavier_normal_(self.weight)

    def init_non_persistent_buffers(self):
        # Named as timm names it: `from_pretrained` builds on the meta device, and what isn't saved is filled anew.
        self.live_mask.zero_()
        self.live_mask[self.live_patch_type_ids] = True

    def forward(self, embeddings: Tensor) -> Tensor:
        """`(..., D)` embeddings to `(..., K)` patch-type logits."""
        with torch.autocast(embeddings.device.type, enabled=False):
            embeddings, weight = at_least_float32(embeddings), at_least_float32(self.weight)
            if self.cosine:
                return self.scale * F.linear(embeddings, F.normalize(weight, dim=-1))
            return F.linear(embeddings, weight)


def live_spoof_logits(patch_type_logits: Tensor, live_mask: Tensor) -> Tensor:
    """
    Log-probabilities of spoof and live, averaged as probabilities over views.

    Args:
        patch_type_logits: `(B, V, K)` in float32 at least.
        live_mask: `(K,)` bool, true for the live patch types.

    Returns:
        `(B, 2)`, such that its `softmax` is the mean over V of the softmax over K summed within each class. Each
        class has its own log-sum-exp, so the live log-odds keep their digits where the probabilities saturate.
    """
    lowest = torch.finfo(patch_type_logits.dtype).min
    spoof = torch.logsumexp(patch_type_logits.masked_fill(live_mask, lowest), dim=-1)
    live = torch.logsumexp(patch_type_logits.masked_fill(~live_mask, lowest), dim=-1)
    total = torch.logsumexp(patch_type_logits, dim=-1)
    log_probabilities = torch.stack([spoof - total, live - total], dim=-1)
    # Counted in tensors: exporters then keep the number of views open, where `shape[1]` would become a constant.
    views = torch.ones_like(log_probabilities).sum(dim=1)
    return torch.logsumexp(log_probabilities, dim=1) - views.log()


class PatchNetPreTrainedModel(PreTrainedModel):
    """Weight initialisation and what else all PatchNet models share."""

    config_class = PatchNetConfig
    base_model_prefix = "patchnet"
    main_input_name = "pixel_values"
    supports_gradient_checkpointing = True
    _no_split_modules = []
    # The loss is a mean over the batch: the Trainer has nothing to pass for it.
    accepts_loss_kwargs = False

    def _init_weights(self, module: nn.Module):
        # Reached for modules that a checkpoint didn't fill: a fresh backbone is marked as initialised by timm.
        if hasattr(module, "init_non_persistent_buffers"):
            module.init_non_persistent_buffers()
        own = list(module.parameters(recurse=False))
        loaded = any(getattr(parameter, "_is_hf_initialized", False) for parameter in own)
        if own and not loaded and hasattr(module, "reset_parameters"):
            module.reset_parameters()

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, *args, **kwargs):
        """
        As [`transformers.PreTrainedModel.from_pretrained`], over any timm backbone; never downloads a backbone, and
        never loads a pickle.

        Raises:
            ValueError: there are no weights in safetensors, but pickled ones.
        """
        check_safetensors(pretrained_model_name_or_path, **kwargs)
        kwargs["use_safetensors"] = True
        loaded = super().from_pretrained(pretrained_model_name_or_path, *args, **kwargs)
        # transformers 4.57 leaves buffers that a backbone computes, and no checkpoint holds, on the meta device.
        for module in (loaded[0] if isinstance(loaded, tuple) else loaded).modules():
            lost = [name for name, buffer in module.named_buffers(recurse=False) if buffer.is_meta]
            for name in lost:
                module._buffers[name] = torch.empty_like(module._buffers[name], device="cpu")
            if lost and not hasattr(module, "init_non_persistent_buffers"):
                raise RuntimeError(
                    f"{type(module).__name__} has buffers that no checkpoint holds ({', '.join(lost)}) and no "
                    "init_non_persistent_buffers() to compute them anew"
                )
            if lost:
                module.init_non_persistent_buffers()
        return loaded

    def _set_gradient_checkpointing(self, enable: bool = True, *args, **kwargs):
        backbone = self.backbone if isinstance(self, PatchNetModel) else self.patchnet.backbone
        try:
            backbone.set_grad_checkpointing(enable)
        except (AssertionError, AttributeError) as error:
            # timm's way to say no; the others of its architectures don't have the method.
            raise ValueError(f"backbone {self.config.backbone!r} doesn't support gradient checkpointing") from error


class PatchNetModel(PatchNetPreTrainedModel):
    """
    A timm backbone that turns patches into embeddings.

    Args:
        config ([`PatchNetConfig`]): the model's configuration.
    """

    def __init__(self, config: PatchNetConfig):
        super().__init__(config)
        self.backbone = create_backbone(config)
        features = getattr(self.backbone, "head_hidden_size", None) or self.backbone.num_features
        self.dropout = nn.Dropout(config.dropout)
        if config.embedding_size is None:
            self.projection = nn.Identity()
            self.embedding_size = features
        else:
            self.projection = nn.Linear(features, config.embedding_size, bias=False)
            self.embedding_size = config.embedding_size
        if not any(parameter.is_meta for parameter in self.backbone.parameters()):
            # timm has initialised the backbone its own way; the pass in `post_init` must leave it so.
            for module in self.backbone.modules():
                module._is_hf_initialized = True
        self.post_init()

    def forward(
        self, pixel_values: Tensor, return_dict: bool | None = None, **kwargs
    ) -> PatchNetModelOutput | tuple[Tensor]:
        """
        Args:
            pixel_values (`torch.FloatTensor` of shape `(B, C, H, W)` or `(B, V, C, H, W)`):
                Normalised patches; with V, the views of the same capture. All views pass in one batch.
            return_dict (`bool`, *optional*):
                Whether to return a [`PatchNetModelOutput`] instead of a tuple.

        Returns:
            Embeddings `(B, D)` or `(B, V, D)`.

        Raises:
            ValueError: `pixel_values` has neither 4 nor 5 dimensions.
        """
        if pixel_values.ndim not in (4, 5):
            raise ValueError(
                f"pixel_values has shape {tuple(pixel_values.shape)}; expected (batch, channels, height, width) or "
                "(batch, views, channels, height, width)"
            )
        leading = pixel_values.shape[:-3]
        patches = pixel_values.reshape(-1, *pixel_values.shape[-3:])
        embeddings = self.embed(self.backbone(patches)).reshape(*leading, self.embedding_size)
        if return_dict if return_dict is not None else self.config.return_dict:
            return PatchNetModelOutput(embeddings=embeddings)
        return (embeddings,)

    def embed(self, features: Tensor) -> Tensor:
        """The embeddings `(N, D)` of patches whose pooled backbone features are `(N, F)`."""
        embeddings = at_least_float32(self.projection(self.dropout(features)))
        return F.normalize(embeddings, dim=-1) if self.config.head == "cosine" else embeddings


class PatchNetForImageClassification(PatchNetPreTrainedModel):
    """
    PatchNet with a patch-type head: trained on patch types, read as spoof and live.

    Args:
        config ([`PatchNetConfig`]): the model's configuration.
    """

    def __init__(self, config: PatchNetConfig):
        super().__init__(config)
        self.patchnet = PatchNetModel(config)
        self.classifier = PatchTypeHead(config, self.patchnet.embedding_size)
        self.post_init()

    def forward(
        self,
        pixel_values: Tensor,
        labels: Tensor | None = None,
        return_dict: bool | None = None,
        **kwargs,
    ) -> PatchNetOutput | tuple[Tensor, ...]:
        """
        Args:
            pixel_values (`torch.FloatTensor` of shape `(B, C, H, W)` or `(B, V, C, H, W)`):
                Normalised patches; with V, the views of the same capture.
            labels (`torch.LongTensor` of shape `(B,)`, *optional*):
                Patch-type ids, positions in `config.patch_types`.
            return_dict (`bool`, *optional*):
                Whether to return a [`PatchNetOutput`] instead of a tuple.

        Returns:
            [`PatchNetOutput`]

        Raises:
            ValueError: `labels` are given to a model with `head="linear"`, which can't be trained.
        """
        embeddings = self.patchnet(pixel_values, return_dict=True).embeddings
        patch_type_logits = self.classifier(embeddings)
        live_mask = self.classifier.live_mask
        many = pixel_values.ndim == 5
        by_view = patch_type_logits if many else patch_type_logits.unsqueeze(1)
        logits = self.calibrate(live_spoof_logits(by_view, live_mask))
        loss, loss_dict = None, None
        if labels is not None:
            embeddings_by_view = embeddings if many else embeddings.unsqueeze(1)
            loss, loss_dict = self.loss(by_view, embeddings_by_view, labels, live_mask)
        if return_dict if return_dict is not None else self.config.return_dict:
            return PatchNetOutput(
                loss=loss,
                logits=logits,
                patch_type_logits=patch_type_logits,
                embeddings=embeddings,
                loss_dict=loss_dict,
            )
        outputs = (logits, patch_type_logits, embeddings)
        return outputs if loss is None else (loss, *outputs, loss_dict)

    def loss(
        self, patch_type_logits: Tensor, embeddings: Tensor, labels: Tensor, live_mask: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """
        The training loss of `(B, V, K)` patch-type logits and `(B, V, D)` embeddings, in float32 at least, and its
        parts as in [`PatchNetOutput`].
        """
        if self.config.head != "cosine":
            raise ValueError('head="linear" only reproduces the scores of an imported checkpoint; train with "cosine"')
        views = patch_type_logits.shape[1]
        classification = asymmetric_am_softmax_loss(
            patch_type_logits.flatten(0, 1) / self.config.scale,
            labels.repeat_interleave(views),
            live_mask,
            scale=self.config.scale,
            margin_live=self.config.margin_live,
            margin_spoof=self.config.margin_spoof,
        )
        similarity = view_similarity_loss(embeddings)
        # The mean over all B x V patches times V is the sum over views of the means over the batch.
        loss = self.config.classification_weight * views * classification + self.config.similarity_weight * similarity
        return loss, {"classification": classification.detach(), "similarity": similarity.detach()}

    def calibrate(self, logits: Tensor) -> Tensor:
        """`(B, 2)` logits whose live log-odds z are moved to `scale * z + bias`, if the model is calibrated."""
        if self.config.calibration is None:
            return logits
        log_odds = logits[:, 1] - logits[:, 0]
        log_odds = self.config.calibration["scale"] * log_odds + self.config.calibration["bias"]
        return torch.stack([F.logsigmoid(-log_odds), F.logsigmoid(log_odds)], dim=-1)

    def reparameterized(self) -> "PatchNetForImageClassification":
        """
        A copy that answers as this model does in evaluation mode, with fewer layers where its backbone allows that.

        FastViT, RepVGG, MobileOne, RepGhostNet, RepViT, TinyViT and others of timm train parallel branches and batch
        norms that are one convolution once they are trained; each module with a method `fuse()`, `reparameterize()`
        or `switch_to_deploy()` is asked to be that. Other backbones stay as they are.

        Returns:
            A copy in evaluation mode, of the same device and dtype. Its configuration describes the unmerged
            backbone: it is there to be run or exported, not to be trained or saved.

        Example:

        ```python
        >>> from patchnet_hf import PatchNetConfig, PatchNetForImageClassification
        >>> model = PatchNetForImageClassification(PatchNetConfig(backbone="repvgg_a0", image_size=32))
        >>> def norms(model):
        ...     return sum(isinstance(module, nn.BatchNorm2d) for module in model.modules())
        >>> norms(model), norms(model.reparameterized())
        (61, 0)

        ```
        """
        # Branches are added up in float32 at least: in half precision their sum would be off by more than its parts.
        # Mode, device and dtype are set at the end, because some of timm's layers make new ones in training mode, in
        # float32 or on the processor.
        copy = deepcopy(self).eval().to(torch.promote_types(self.dtype, torch.float32))
        return reparameterize_model(copy, inplace=True).eval().to(device=self.device, dtype=self.dtype)


if "optimum.exporters.onnx.convert" in sys.modules:
    # Where `optimum-cli export onnx --trust-remote-code` runs without our package, it imports this file, and it has to
    # know how to export the model once it has loaded it.
    from .onnx_patchnet import PatchNetOnnxConfig  # noqa: F401

__all__ = [
    "PatchNetForImageClassification",
    "PatchNetModel",
    "PatchNetModelOutput",
    "PatchNetOutput",
    "PatchNetPreTrainedModel",
]
