"""Measurements of the promises that are numbers: `make bench`."""
