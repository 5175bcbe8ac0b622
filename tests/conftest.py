"""Hypothesis profiles, chosen by HYPOTHESIS_PROFILE: "ci" (the default) draws the same examples every time;
"search" draws new ones, and more of them.
"""

import os

from hypothesis import settings

settings.register_profile("ci", derandomize=True, deadline=None)
settings.register_profile("search", max_examples=1000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))
