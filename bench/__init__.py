"""Asks, runs, records and shows: the program around devices, methods and tasks."""

__version__ = "0.1.0"
