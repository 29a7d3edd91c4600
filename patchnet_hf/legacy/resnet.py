"""Names of ResNet-18 as a sequence of torchvision's layers and in timm."""

# The layers of torchvision's model in order, its activation and pooling among them, without the classifier.
LAYERS = {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"}


def timm_name(name: str) -> str | None:
    """
    What timm calls a tensor; `None` if it has none of that name.

    >>> timm_name("nets.4.0.bn2.running_mean"), timm_name("nets.9.weight")
    ('layer1.0.bn2.running_mean', None)
    """
    kind, _, rest = name.partition(".")
    number, _, leaf = rest.partition(".")
    return f"{LAYERS[number]}.{leaf}" if kind == "nets" and number in LAYERS else None
