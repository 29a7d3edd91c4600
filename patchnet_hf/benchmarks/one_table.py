"""What a measurement that comes to a single table prints."""

from typing import ClassVar

from ..cards.markdown import table as markdown_table
from ..text_table import text_table
from .machine import Machine


class OneTable:
    """
    A base of measurements with a `title()` of their table and its `cells()`.

    Attributes:
        header: names of the table's columns.
        machine: what it ran on.
    """

    header: ClassVar[tuple[str, ...]]
    machine: Machine

    def text(self) -> str:
        """A table for people."""
        return f"{self.machine.text()}\n\n{self.title()}\n{text_table(self.header, self.cells())}"

    def markdown(self) -> str:
        """A table for a document."""
        return f"{self.machine.text()}.\n\n{self.title()}:\n\n{markdown_table(self.header, self.cells())}"
