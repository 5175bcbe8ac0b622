"""Compiled inner loops of the engines that train networks."""
