"""The commands of the terminal, grouped by subject; `ratelab.main` lists them in the order of their help.

`ratelab --help` reads the modules with commands, so these import what is heavy (NumPy, and with it every
room) inside the functions that need it. What commands share (`opened`, `computed`, `report`) imports at its
top, and is itself imported inside.
"""
