"""The `evaluate` module over these metrics; its folder is what `evaluate.load` takes and what a Space holds."""

from .presentation_attack_detection import PresentationAttackDetection

__all__ = ["PresentationAttackDetection"]
