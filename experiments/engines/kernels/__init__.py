"""Compiled inner loops of the engines."""
