"""Faults at random while work goes on, and what must be true of the system afterwards."""
