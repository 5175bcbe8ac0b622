"""Who says a sentence, where, and of what: what a sentence that fails says of its source.

A source is wrong only where it says the sentence of the very setting that is measured. Said of another
setting (a network, Adam, test errors), the sentence does not hold in this model; said by nobody, it is a
conjecture of ours that fails.
"""

from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from ratelab.theory.arrays import InputError

__all__ = ["Source"]

SaidOf: TypeAlias = Literal["this setting", "another setting", "ours"]
Seen: TypeAlias = Literal["full text", "abstract", "second hand"]
No: TypeAlias = Literal["source wrong", "not in this model", "conjecture fails", "fails"]
"""What a sentence that is refuted is called; "fails" where its source does not say of what it is said."""


@dataclass(frozen=True)
class Source:
    """Who says a sentence, where, and of what.

    work: author and year, or the page, of a sentence of ours where it comes from; place: section, figure,
    table, or file and line of a public repository. said_of: "this setting", the one that is measured, and
    `setting` says why it is the source's; "another setting"; or "ours", for what nobody says and we ask.
    seen: what was read of the work. words: its own qualifiers ("often", "for most"), in our words.
    """

    work: str = ""
    place: str = ""
    said_of: SaidOf | None = None
    seen: Seen | None = None
    words: str = ""
    setting: str = ""

    def __post_init__(self) -> None:
        if self.said_of in ("this setting", "another setting"):
            missing = [name for name in ("work", "place", "seen") if not getattr(self, name)]
            if missing:
                raise InputError(
                    f'said_of = "{self.said_of}" needs work, place and seen: what was read, and where; '
                    f"missing: {', '.join(missing)}"
                )
        if (self.said_of == "this setting") != bool(self.setting):
            raise InputError(
                f'setting = "{self.setting}" with said_of = "{self.said_of or ""}"; say why the setting that '
                'is measured is the source\'s where said_of = "this setting", and only there'
            )

    def at(self, place: str, words: str = "") -> "Source":
        """Another place of the same work."""
        return replace(self, place=place, words=words)

    @property
    def no(self) -> No:
        """What it means that the sentence fails; a source is wrong only where its full text was read."""
        match self.said_of:
            case "this setting" if self.seen == "full text":
                return "source wrong"
            case "another setting":
                return "not in this model"
            case "ours":
                return "conjecture fails"
        return "fails"

    def __str__(self) -> str:
        """Work and place, with the source's qualifiers, and what was read where that is not all."""
        place = f", {self.place}" if self.place else ""
        words = f" ({self.words})" if self.words else ""
        seen = "" if self.seen in (None, "full text", self.place) else f"; {self.seen}"
        return f"{self.work}{place}{words}{seen}"


UNSAID = Source()
"""Of a sentence that stands for itself."""
