"""The front door: `import ratelab` has the public names of all rooms, each loaded when it is asked for."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ratelab.experiments import *
    from ratelab.paper_figures.house import *
    from ratelab.problems import *
    from ratelab.theory import *
else:
    from functools import cache

    @cache
    def _door():
        from ratelab.theory import names  # NumPy takes a moment, which `ratelab --help` need not

        rooms = (
            "theory",
            "problems",
            "experiments",
            "experiments.dialects",
            "experiments.judging",
            "paper_figures.house",
        )
        return names.lazily(__name__, *(f"{__name__}.{room}" for room in rooms))

    def __getattr__(name):
        attribute, _, everything = _door()
        return everything if name == "__all__" else attribute(name)

    def __dir__():
        return _door()[2]


__version__ = "0.1.0"
