"""Convex problems that know their minimiser, their constants and, where there is one, their exact law:
quadratics and least squares, the spectra, noises and tables they are made of, and the random numbers drawn.
"""
