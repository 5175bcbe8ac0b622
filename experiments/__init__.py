"""Running, keeping and judging: the experiment file, its cells, the engines that compute them, the store of
results, and the claims judged on these.
"""

from typing import TYPE_CHECKING

from ratelab.theory import names

if TYPE_CHECKING:
    from ratelab.experiments.dialects import *
    from ratelab.experiments.execute import *
    from ratelab.experiments.file import *
    from ratelab.experiments.judging.claims import *
    from ratelab.experiments.judging.outcome import *
    from ratelab.experiments.methods import *
    from ratelab.experiments.sources import *
    from ratelab.experiments.spec import *
    from ratelab.experiments.store import *
else:
    __getattr__, __dir__, __all__ = names.lazily(
        __name__, __name__, f"{__name__}.dialects", f"{__name__}.judging"
    )
