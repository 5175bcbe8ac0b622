"""What figures share: tables, claims, style, venues, scripts, the gallery, the figures of results."""

from typing import TYPE_CHECKING

from ratelab.theory import names

if TYPE_CHECKING:
    from ratelab.paper_figures.house.make import *
    from ratelab.paper_figures.house.results import *
else:
    __getattr__, __dir__, __all__ = names.lazily(__name__)
