"""`python -m ratelab` is `ratelab`."""

from ratelab.main import main

main()
