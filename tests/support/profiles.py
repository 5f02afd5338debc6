"""This module makes images for networks that are profiled, and reads the rows of a profile."""

import minidl as md


def images(n=4):
    return md.randn(n, 6, 6, 8)


def rows(p, by="operations"):
    return {(row.name, row.phase): row for row in getattr(p.summary, by)}
