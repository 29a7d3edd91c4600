"""The templates of cards."""

import re

from jinja2 import Environment, PackageLoader, StrictUndefined

from .card_tables import counted_names, listed_names
from .markdown import escaped


def render(template: str, context: dict) -> str:
    """A template of this package filled in; the texts of users in `context` have to be escaped by it or before."""
    found = Environment(
        loader=PackageLoader("patchnet_hf.cards", "."), undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, keep_trailing_newline=False, autoescape=False,
    )  # fmt: skip
    found.filters |= {"md": escaped, "counted": counted_names, "listed": listed_names}
    # What a condition leaves out leaves its empty lines.
    return re.sub(r"\n{3,}", "\n\n", found.get_template(template).render(context))


CITATION = """\
```bibtex
@inproceedings{wang2022patchnet,
  title     = {PatchNet: A Simple Face Anti-Spoofing Framework via Fine-Grained Patch Recognition},
  author    = {Wang, Chien-Yi and Lu, Yu-Ding and Yang, Shang-Ta and Lai, Shang-Hong},
  booktitle = {IEEE/CVF Conference on Computer Vision and Pattern Recognition (CVPR)},
  year      = {2022}
}
```"""
