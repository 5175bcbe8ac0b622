"""Running, keeping and judging: methods, the engines that simulate them (by steps or by jumps), the
experiment file, the store of results, the statistics that turn them into verdicts, and the claims judged.
"""

from typing import TYPE_CHECKING

from ratelab.theory import names

if TYPE_CHECKING:
    from ratelab.experiments.claims import *
    from ratelab.experiments.dialects import *
    from ratelab.experiments.execute import *
    from ratelab.experiments.file import *
    from ratelab.experiments.methods import *
    from ratelab.experiments.outcome import *
    from ratelab.experiments.spec import *
    from ratelab.experiments.store import *
else:
    __getattr__, __dir__, __all__ = names.lazily(__name__, __name__, f"{__name__}.dialects")
